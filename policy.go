package thaw

import (
	"slices"
	"strings"
)

// Policy names how guest memory is brought in when an instance is made.
type Policy string

const (
	// PolicyBoot starts the guest from scratch, without a snapshot.
	PolicyBoot Policy = "boot"
	// PolicyVanilla maps the guest memory file privately and lets the kernel
	// serve each page fault, as Firecracker's file backend does.
	PolicyVanilla Policy = "vanilla"
	// PolicyReap records the working set on the first restore and prefetches
	// it on later ones (REAP, ASPLOS'21, section 5).
	PolicyReap Policy = "reap"
)

// DefaultPolicy serves invocations that name none.
const DefaultPolicy = PolicyReap

// Policies returns every policy in the order people compare them.
func Policies() []Policy { return []Policy{PolicyBoot, PolicyVanilla, PolicyReap} }

// ParsePolicy returns the policy called s, or [DefaultPolicy] for "".
// An unknown name is a [CodeInvalid] error that lists the known ones.
func ParsePolicy(s string) (Policy, error) {
	if s == "" {
		return DefaultPolicy, nil
	}
	if p := Policy(s); slices.Contains(Policies(), p) {
		return p, nil
	}
	return "", Errorf(CodeInvalid, "unknown policy %q: choose one of %s", s, policyNames())
}

func policyNames() string {
	names := make([]string, 0, len(Policies()))
	for _, p := range Policies() {
		names = append(names, string(p))
	}
	return strings.Join(names, ", ")
}

// Start says how an invocation came by its instance.
type Start string

const (
	// StartBoot made an instance by booting the guest.
	StartBoot Start = "boot"
	// StartCold made an instance by restoring a snapshot.
	StartCold Start = "cold"
	// StartWarm reused an idle instance.
	StartWarm Start = "warm"
)
