package plan

import (
	"thaw"
	"thaw/workingset"
)

// maxLoadingMappings bounds the extents of FaaSnap's loading set, each of which
// becomes a mapping; without joins the paper had over 1,000 (section 4.6).
const maxLoadingMappings = 1024

// Arranged is a loading set and the name of its file.
type Arranged struct {
	Name string
	workingset.LoadingSet
}

// Arrange lays the pages of set out for each policy that wants them in an order of
// its own. Memory, MemoryPages and WorkingSet of the results are the caller's to
// fill in. Of a set whose pages are all zero nothing may be left to lay out.
func Arrange(set workingset.Set, nonZero []workingset.Run) (sets []Arranged) {
	if set.Source == workingset.HostPages {
		return nonEmpty(faasnapSet(set, workingset.BitsOf(set.MemoryPages, nonZero)))
	}
	// Zero pages that the layout swallows are of the image, too.
	image, _ := workingset.MergeGaps(nonZero, workingset.GapFaaSnap)
	return nonEmpty(
		Arranged{thaw.FileLoadingSetReap, workingset.LoadingSet{Order: workingset.OrderAddress, Extents: set.ByAddress()}},
		Arranged{thaw.FileLoadingSetThaw, workingset.LoadingSet{Order: workingset.OrderTouch, Extents: set.ByTouch(workingset.BitsOf(set.MemoryPages, image))}},
	)
}

// faasnapSet joins over larger gaps where there would be too many mappings.
func faasnapSet(set workingset.Set, nonZero workingset.Bits) Arranged {
	for gap := uint32(workingset.GapFaaSnap); ; gap *= 2 {
		extents, swallowed := set.ByGroup(nonZero, gap)
		if len(extents) <= maxLoadingMappings {
			return Arranged{thaw.FileLoadingSetFaaSnap, workingset.LoadingSet{
				Order: workingset.OrderGroup, Extents: extents, Swallowed: uint32(swallowed),
			}}
		}
	}
}

func nonEmpty(sets ...Arranged) (kept []Arranged) {
	for _, s := range sets {
		if len(s.Extents) > 0 {
			kept = append(kept, s)
		}
	}
	return kept
}

// SetName is the file name of a set that was recorded by source.
func SetName(source workingset.Source) string {
	if source == workingset.HostPages {
		return thaw.FileHostPages
	}
	return thaw.FileWorkingSet
}
