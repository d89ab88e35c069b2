package thaw

import (
	"slices"
	"strings"
)

// Policy names how guest memory is brought in when an instance is made.
type Policy string

const (
	// PolicyAuto picks among the others by what was measured.
	PolicyAuto Policy = "auto"
	// PolicyBoot starts the guest from scratch, without a snapshot.
	PolicyBoot Policy = "boot"
	// PolicyVanilla maps the guest memory file privately and lets the kernel
	// serve each page fault, as Firecracker's file backend does.
	PolicyVanilla Policy = "vanilla"
	// PolicyEager brings in all memory that is not zero before the guest runs.
	PolicyEager Policy = "eager"
	// PolicyReapParallel is the second step of the REAP paper's figure 7: the
	// working set is read page by page out of the memory file, by 16 readers.
	PolicyReapParallel Policy = "reap-parallel"
	// PolicyReapBuffered is its third: one read of a working set file, through
	// the page cache.
	PolicyReapBuffered Policy = "reap-buffered"
	// PolicyReap records the working set on the first restore and prefetches
	// it on later ones, past the page cache (REAP, ASPLOS'21, section 5).
	PolicyReap Policy = "reap"
	// PolicyConPaging is FaaSnap's first ablation: the memory file is mapped as
	// by vanilla and read ahead of the guest, in the groups of the recording.
	PolicyConPaging Policy = "con-paging"
	// PolicyPerRegion is its second: besides, what is zero is anonymous memory.
	PolicyPerRegion Policy = "per-region"
	// PolicyFaaSnap maps a loading set file over the working set and reads it
	// ahead of the guest (FaaSnap, EuroSys'22, section 4).
	PolicyFaaSnap Policy = "faasnap"
	// PolicyThaw reads the loading set past the page cache while the VM's state
	// loads, and copies it into a clone that is alone as it comes. From the second
	// on it is read once for all of them: what clones only read they share, what
	// they write is copied before they do.
	PolicyThaw Policy = "thaw"
)

// DefaultPolicy serves invocations that name none.
const DefaultPolicy = PolicyAuto

// Policies returns every policy in the order people compare them.
func Policies() []Policy {
	return []Policy{
		PolicyAuto, PolicyBoot, PolicyVanilla, PolicyEager, PolicyReapParallel, PolicyReapBuffered, PolicyReap,
		PolicyConPaging, PolicyPerRegion, PolicyFaaSnap, PolicyThaw,
	}
}

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
