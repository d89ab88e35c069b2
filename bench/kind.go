package bench

import (
	"slices"
	"strings"

	"thaw"
)

// Kind is one of the things that are compared: a policy in its published form,
// with the VMM started for it, or with +pool as it is shipped, with one that was
// waiting; or [KindWarm].
type Kind string

const (
	// KindWarm reuses an instance.
	KindWarm Kind = "warm"
	// KindCached is vanilla with everything in the page cache: FaaSnap's ideal.
	KindCached Kind = "cached"
	// KindFloor is what no restore from the disk can be faster than: a VMM that is
	// ready and everything in the page cache.
	KindFloor Kind = KindCached + poolSuffix

	poolSuffix = "+pool"
)

// Of is the kind of policy, pooled or in its published form.
func Of(policy thaw.Policy, pool bool) Kind {
	if pool {
		return Kind(policy) + poolSuffix
	}
	return Kind(policy)
}

// Kinds are policies, each in its published form and then with the pool, and warm
// last. What does not restore has one form.
func Kinds(policies []Kind) []Kind {
	var kinds []Kind
	add := func(k Kind) {
		if !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	for _, p := range policies {
		add(p)
	}
	for _, p := range policies {
		if p.Start() == thaw.StartCold && !p.Pool() {
			add(p + poolSuffix)
		}
	}
	add(KindWarm)
	return kinds
}

// Common are the policies that most people compare.
func Common() []Kind {
	return []Kind{Of(thaw.PolicyVanilla, false), Of(thaw.PolicyReap, false), Of(thaw.PolicyFaaSnap, false), Of(thaw.PolicyThaw, false), KindCached}
}

// All is every policy that says itself how it restores.
func All() []Kind {
	var all []Kind
	for _, p := range thaw.Policies() {
		if p != thaw.PolicyAuto && p != thaw.PolicyBoot {
			all = append(all, Kind(p))
		}
	}
	return append(all, KindCached)
}

// ParseKind returns the kind called s. An unknown one is a [thaw.CodeInvalid]
// error that lists what there is.
func ParseKind(s string) (Kind, error) {
	name, _ := strings.CutSuffix(s, poolSuffix)
	for _, k := range append(All(), Kind(thaw.PolicyBoot)) {
		if Kind(s) == k || Kind(name) == k && k.Start() == thaw.StartCold {
			return Kind(s), nil
		}
	}
	names := []string{string(thaw.PolicyBoot)}
	for _, k := range All() {
		names = append(names, string(k))
	}
	return "", thaw.Errorf(thaw.CodeInvalid, "unknown policy %q: choose of %s", s, strings.Join(names, ", "))
}

// Pool says that k takes a VMM that was waiting.
func (k Kind) Pool() bool { return strings.HasSuffix(string(k), poolSuffix) }

// cached says that k finds everything in the page cache.
func (k Kind) cached() bool { return k == KindCached || k == KindFloor }

// reads says that k is to find nothing in the page cache.
func (k Kind) reads() bool { return k.Start() == thaw.StartCold && !k.cached() }

// Policy is that of the new instance, "" for a warm start.
func (k Kind) Policy() thaw.Policy {
	switch {
	case k == KindWarm:
		return ""
	case k.cached():
		return thaw.PolicyVanilla
	}
	return thaw.Policy(strings.TrimSuffix(string(k), poolSuffix))
}

// Start is how an invocation of kind k comes by its instance.
func (k Kind) Start() thaw.Start {
	switch k {
	case Kind(thaw.PolicyBoot):
		return thaw.StartBoot
	case KindWarm:
		return thaw.StartWarm
	}
	return thaw.StartCold
}
