// Package conformance is a suite that anyone can run against a running daemon: it
// deploys functions that look around, restores clones of them, several at the same
// time and by each policy, and checks for each hazard of restoring one snapshot
// many times that it does not come true. docs/conformance.md says what the hazards
// are and why they matter.
//
// Observing is apart from judging: the tests are functions of what was seen.
package conformance

import (
	"slices"
	"strings"

	"thaw"
	"thaw/conformance/probe"
)

// The bounds of [Options.Clones].
const (
	MinClones = 2 // one sees no other's writes
	MaxClones = 32
)

// Options choose what is checked.
type Options struct {
	// Runtimes and Policies are what clones are made of, and by.
	Runtimes []thaw.Runtime
	Policies []thaw.Policy
	// Clones is how many start at the same time.
	Clones int
	// Only are the names of the tests to judge by, nil for all.
	Only []string
	// Bootstrap is a static program that is the probe of package probe when it is
	// started as bootstrap: this program.
	Bootstrap string
}

// DefaultPolicies are those that bring memory in by ways of their own.
func DefaultPolicies() []thaw.Policy {
	return []thaw.Policy{thaw.PolicyThaw, thaw.PolicyReap, thaw.PolicyVanilla, thaw.PolicyFaaSnap}
}

// Runtimes returns those that there is a probe for. An HTTP server is restored as the
// language is that it is written in.
func Runtimes() []thaw.Runtime {
	return []thaw.Runtime{thaw.RuntimePython, thaw.RuntimeNode, thaw.RuntimeProvided}
}

// Validate returns a [thaw.CodeInvalid] error that says what is wrong with o.
func (o Options) Validate() error {
	if o.Clones < MinClones || o.Clones > MaxClones {
		return thaw.Errorf(thaw.CodeInvalid, "%d clones at the same time are out of range: choose %d to %d", o.Clones, MinClones, MaxClones)
	}
	if len(o.Policies) == 0 || len(o.Runtimes) == 0 {
		return thaw.Errorf(thaw.CodeInvalid, "name at least one policy and one runtime")
	}
	for _, p := range o.Policies {
		if p == thaw.PolicyBoot {
			return thaw.Errorf(thaw.CodeInvalid, "policy %s restores nothing: there is nothing to check", p)
		}
	}
	for _, r := range o.Runtimes {
		if !slices.Contains(Runtimes(), r) {
			return thaw.Errorf(thaw.CodeInvalid, "there is no probe for runtime %q", r)
		}
	}
	return o.validateOnly()
}

func (o Options) validateOnly() error {
	for _, name := range o.Only {
		if !slices.Contains(TestNames(), name) {
			return thaw.Errorf(thaw.CodeInvalid, "unknown test %q: choose of %s", name, strings.Join(TestNames(), ", "))
		}
	}
	for _, t := range o.tests() {
		if !slices.ContainsFunc(o.Runtimes, t.suits) {
			return thaw.Errorf(thaw.CodeInvalid, "test %s is for runtime %s, which is left out", t.name, t.runtime)
		}
	}
	return nil
}

// tests are those that were asked for, in their order. Of all, those of a runtime
// that is left out are left out as well.
func (o Options) tests() (chosen []test) {
	for _, t := range tests() {
		if slices.Contains(o.Only, t.name) || o.Only == nil && slices.ContainsFunc(o.Runtimes, t.suits) {
			chosen = append(chosen, t)
		}
	}
	return chosen
}

// runtimes are those that the tests asked for look at.
func (o Options) runtimes() (needed []thaw.Runtime) {
	for _, r := range o.Runtimes {
		if slices.ContainsFunc(o.tests(), func(t test) bool { return t.suits(r) }) {
			needed = append(needed, r)
		}
	}
	return needed
}

// FunctionName is the reserved name of the probe for a runtime. What is deployed
// by that name is replaced, and removed at the end.
func FunctionName(r thaw.Runtime) string { return "thaw-conformance-" + string(r) }

// clone is an invocation of a probe and what was asked of it.
type clone struct {
	runtime thaw.Runtime
	policy  thaw.Policy // asked for
	event   probe.Event
	record  thaw.Invocation
	report  probe.Report
	payload string // of which report was made
}

// group are clones that ran at the same time, and then served again, all at the
// same time.
type group struct {
	clones, again []clone
}

// before is the first invocation of the instance that c ran on.
func (g group) before(c clone) (clone, bool) {
	i := slices.IndexFunc(g.clones, func(o clone) bool { return o.record.Instance == c.record.Instance })
	if i < 0 {
		return clone{}, false
	}
	return g.clones[i], true
}

// observed is what all tests judge by.
type observed struct {
	// first is a clone of the first version, whose secret all others must not know.
	first clone
	// groups are those of the second version. A group of one recorded a working set.
	groups []group
	// secrets are the values of [probe.SecretEnv], by version.
	secrets map[version]string
	// given are the values of the secret [probe.SecretName] when clones of a version
	// were made.
	given map[version]string
	// searched are the files that snapshots consisted of in the end, leaked those of
	// them that hold a value of given.
	searched, leaked []string
}

// version is one of a probe.
type version struct {
	runtime thaw.Runtime
	number  int
}

func (c clone) version() version { return version{c.runtime, c.record.Version} }

// clones are all of the groups, each once.
func (o observed) clones() (all []clone) {
	for _, g := range o.groups {
		all = append(all, g.clones...)
	}
	return all
}

// of are those clones that run runtime.
func of(runtime thaw.Runtime, clones []clone) (some []clone) {
	for _, c := range clones {
		if c.runtime == runtime {
			some = append(some, c)
		}
	}
	return some
}
