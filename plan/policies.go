package plan

import (
	"cmp"
	"slices"

	"thaw"
	"thaw/workingset"
)

// Need says which of a snapshot's files a policy looks at.
type Need struct {
	// NonZero: the regions file.
	NonZero bool
	// Loading and Working are file names, "" for none.
	Loading, Working string
}

// Needs returns what [New] wants to know for policy.
func Needs(policy thaw.Policy) Need {
	switch policy {
	case thaw.PolicyEager:
		return Need{NonZero: true}
	case thaw.PolicyReap, thaw.PolicyReapBuffered, thaw.PolicyReapParallel:
		return Need{Loading: thaw.FileLoadingSetReap}
	case thaw.PolicyConPaging:
		return Need{Working: thaw.FileWorkingSet}
	case thaw.PolicyPerRegion:
		return Need{NonZero: true, Working: thaw.FileHostPages}
	case thaw.PolicyFaaSnap:
		return Need{NonZero: true, Loading: thaw.FileLoadingSetFaaSnap}
	case thaw.PolicyThaw:
		return Need{NonZero: true, Loading: thaw.FileLoadingSetThaw}
	}
	return Need{}
}

// Learns returns what a restore by policy records as long as the set that it
// needs is missing.
func Learns(policy thaw.Policy) Record {
	switch need := Needs(policy); {
	case need.Loading == thaw.FileLoadingSetFaaSnap || need.Working == thaw.FileHostPages:
		return RecordHostPages
	case need.Loading != "" || need.Working != "":
		return RecordTrace
	}
	return RecordNothing
}

// New returns the plan of policy for a snapshot. While the set that the policy
// needs is missing, the plan is to record it. A policy that does not restore a
// snapshot has no plan: that is a [thaw.CodeInvalid] error.
func New(policy thaw.Policy, k Known, l Limits) (Plan, error) {
	p := Plan{Policy: policy}
	if need := Needs(policy); need.Loading != "" && k.Loading == nil || need.Working != "" && k.Working == nil {
		return recording(p, k), nil
	}
	switch policy {
	case thaw.PolicyVanilla:
		p.Regions = whole(k, MemoryFile)
	case thaw.PolicyEager:
		p = eager(p, k)
	case thaw.PolicyReap:
		p = reap(p, k, FetchDirect)
	case thaw.PolicyReapBuffered:
		p = reap(p, k, FetchBuffered)
	case thaw.PolicyReapParallel:
		p = reap(p, k, FetchPages)
	case thaw.PolicyConPaging:
		p = conPaging(p, k)
	case thaw.PolicyPerRegion:
		p = perRegion(p, k, l)
	case thaw.PolicyFaaSnap:
		p = faasnap(p, k, l)
	case thaw.PolicyThaw:
		p = shared(p, k, l)
	default:
		return Plan{}, thaw.Errorf(thaw.CodeInvalid, "policy %s does not restore a snapshot", policy)
	}
	return p, nil
}

// recording is a restore that brings nothing in and notes what is used. A trace
// needs every touch trapped (REAP, section 5.2.1); host pages are seen in the page
// cache of a mapped memory file (FaaSnap, section 4.3).
func recording(p Plan, k Known) Plan {
	p.Record = Learns(p.Policy)
	p.Regions = whole(k, Trapped)
	if p.Record == RecordHostPages {
		p.Regions = whole(k, MemoryFile)
	}
	return p
}

// reap is section 5.2 of the paper: anonymous guest memory, every first touch
// trapped, the working set installed at once before any is answered.
func reap(p Plan, k Known, how Fetch) Plan {
	p.Regions, p.Fetch, p.Extents = whole(k, Trapped), how, k.Loading.Extents
	return p
}

// eager installs whatever is not zero before the guest runs.
func eager(p Plan, k Known) Plan {
	p.Regions, p.Fetch = whole(k, Anonymous), FetchMemory
	for _, r := range k.NonZero {
		p.Regions = append(p.Regions, region(r, Trapped))
		p.Extents = append(p.Extents, workingset.Extent{Run: r})
	}
	return p
}

// groupEmulated is how many pages FaaSnap puts into a group when it makes groups
// out of a trace.
const groupEmulated = 1024

// conPaging is vanilla with the memory file read ahead of the guest.
func conPaging(p Plan, k Known) Plan {
	p.Regions, p.Fetch = whole(k, MemoryFile), FetchAheadMemory
	p.Extents = inGroups(k.Working.InGroupsOf(groupEmulated))
	return p
}

// perRegion besides knows what is zero.
func perRegion(p Plan, k Known, l Limits) Plan {
	p.Regions, p.Merged = overNonZero(k, MemoryFile, l.Mappings)
	p.Fetch, p.Extents = FetchAheadMemory, inGroups(*k.Working)
	return p
}

// inGroups returns the pages of s by group, then by address.
func inGroups(s workingset.Set) []workingset.Extent {
	touches := slices.Clone(s.Touches)
	slices.SortStableFunc(touches, func(a, b workingset.Touch) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Page, b.Page))
	})
	var extents []workingset.Extent
	for _, t := range touches {
		if n := len(extents) - 1; n >= 0 && extents[n].End() == t.Page && extents[n].Group == t.Group {
			extents[n].Pages++
			continue
		}
		extents = append(extents, workingset.Extent{Run: workingset.Run{Page: t.Page, Pages: 1}, Group: t.Group})
	}
	return extents
}

// faasnap is section 4 of the paper: the memory file over what is not zero, the
// loading set file over the working set, and that file read ahead of the guest.
func faasnap(p Plan, k Known, l Limits) Plan {
	p.Regions, p.Merged = overNonZero(k, MemoryFile, l.Mappings)
	p.Merged += int64(k.Loading.Swallowed)
	p.Fetch, p.Extents = FetchAheadLoading, k.Loading.Extents
	at := k.Loading.DataOffset()
	for _, e := range p.Extents {
		r := region(e.Run, LoadingSet)
		r.At = at
		at += r.Len
		p.Regions = append(p.Regions, r)
	}
	return p
}

// shared is thaw's own: what is not zero is an image in memory that all clones
// share, filled from the loading set and, at a miss, from the memory file. A clone
// that is alone has the loading set copied instead: to put a page into an image and to
// map it from there takes longer than to copy it, and saves memory only from the
// second clone on.
func shared(p Plan, k Known, l Limits) Plan {
	p.Regions, p.Merged = overNonZero(k, Image, l.Mappings)
	p.Fetch, p.Extents = FetchShared, k.Loading.Extents
	if k.Alone {
		p.Fetch = FetchOwn
	}
	return p
}

// overNonZero maps b over what is not zero in anonymous memory. Regions are
// joined over gaps of fewer than 32 pages (FaaSnap, section 4.6), and over larger
// ones where there are too many.
func overNonZero(k Known, b Backing, mappings int) ([]Region, int64) {
	merged, swallowed := workingset.MergeGaps(k.NonZero, workingset.GapFaaSnap)
	merged, more := workingset.MergeDownTo(merged, mappings/2) // each leaves a gap
	regions := whole(k, Anonymous)
	for _, r := range merged {
		regions = append(regions, region(r, b))
	}
	return regions, swallowed + more
}

func region(r workingset.Run, b Backing) Region {
	return Region{Offset: int64(r.Page) * thaw.PageSize, Len: int64(r.Pages) * thaw.PageSize, Backing: b}
}

func whole(k Known, b Backing) []Region {
	return []Region{{Offset: 0, Len: k.MemoryBytes, Backing: b}}
}
