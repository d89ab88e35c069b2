// Package plan decides how a policy brings guest memory in. A [Plan] is a pure
// value made from a snapshot's manifest and working set: it can be printed,
// compared and tested without a VM. Package restore carries it out.
package plan

import (
	"fmt"
	"strings"

	"thaw"
	"thaw/workingset"
)

// Backing is what stands behind a region of guest memory.
type Backing string

const (
	// Anonymous memory reads as zeroes until something is put there.
	Anonymous Backing = "anonymous"
	// MemoryFile is a private mapping of the guest memory file at the same
	// offset; the kernel serves its page faults.
	MemoryFile Backing = "memory file"
)

// Region is a range of guest memory, in bytes from its start.
type Region struct {
	Offset, Len int64
	Backing     Backing
}

// Plan is what a policy decides for one restore.
type Plan struct {
	Policy thaw.Policy
	// Regions cover guest memory once, in ascending order.
	Regions []Region
	// Trap says that first touches of the anonymous regions are served through
	// userfaultfd out of the memory file.
	Trap bool
	// Record says that trapped touches become the snapshot's working set.
	Record bool
	// Install are the runs put in place before the guest asks for them.
	Install []workingset.Run
}

// New returns the plan of policy for a snapshot. set are the runs of its working
// set, none when none was recorded. A policy that needs no snapshot has no plan: that is
// a [thaw.CodeInvalid] error.
func New(policy thaw.Policy, m thaw.Manifest, set []workingset.Run) (Plan, error) {
	switch policy {
	case thaw.PolicyVanilla:
		return Plan{Policy: policy, Regions: whole(m, MemoryFile)}, nil
	case thaw.PolicyReap:
		return reap(m, set), nil
	}
	return Plan{}, thaw.Errorf(thaw.CodeInvalid, "policy %s does not restore a snapshot", policy)
}

// reap is section 5.2 of the paper: anonymous guest memory, every first touch
// trapped; the first time recorded, later the working set installed at once.
func reap(m thaw.Manifest, set []workingset.Run) Plan {
	return Plan{Policy: thaw.PolicyReap, Regions: whole(m, Anonymous), Trap: true, Record: len(set) == 0, Install: set}
}

func whole(m thaw.Manifest, b Backing) []Region {
	return []Region{{Offset: 0, Len: m.MemoryBytes, Backing: b}}
}

// InstallPages is how many pages the plan puts in place.
func (p Plan) InstallPages() int64 {
	var n int64
	for _, r := range p.Install {
		n += int64(r.Pages)
	}
	return n
}

// String describes p on a few lines for people and golden tests.
func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "policy %s: %d region(s)\n", p.Policy, len(p.Regions))
	for _, r := range p.Regions {
		fmt.Fprintf(&b, "  map     %#012x + %d KiB  %s\n", r.Offset, r.Len>>10, r.Backing)
	}
	if p.Trap {
		b.WriteString("  trap    first touches of anonymous regions\n")
	}
	if p.Record {
		b.WriteString("  record  the working set\n")
	}
	if len(p.Install) > 0 {
		fmt.Fprintf(&b, "  install %d pages in %d runs\n", p.InstallPages(), len(p.Install))
	}
	return b.String()
}
