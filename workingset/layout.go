package workingset

import (
	"cmp"
	"slices"
)

// Extent is a run of guest pages that a loading set holds in one piece.
type Extent struct {
	Run
	// Group is the number of the scan or window that it belongs to, from 1; 0
	// without groups.
	Group uint16
	// Written says that invocations write to its pages.
	Written bool
}

// Pages are ordered, and runs of them joined, as the policies lay them out.

// ByAddress is REAP's order: every page of the set, ascending, in the fewest
// runs (papers: section 5.2.1).
func (s Set) ByAddress() []Extent {
	var extents []Extent
	for _, r := range s.Runs() {
		extents = append(extents, Extent{Run: r})
	}
	return extents
}

// GapFaaSnap is the gap over which FaaSnap joins regions, in pages (section 4.6).
const GapFaaSnap = 32

// ByGroup is FaaSnap's order. Pages that are zero in the snapshot are left out;
// regions are joined over gaps of fewer than gap pages; a run belongs to the first
// group of its pages, a join to the last of its runs' (section 4.6, and the
// daemon's createWsRegions); they are sorted by group, then by address. swallowed
// is how many pages the joins added.
func (s Set) ByGroup(nonZero Bits, gap uint32) (extents []Extent, swallowed int64) {
	pages := slices.DeleteFunc(slices.Clone(s.Touches), func(t Touch) bool { return !nonZero.Has(t.Page) })
	slices.SortFunc(pages, func(a, b Touch) int { return cmp.Compare(a.Page, b.Page) })
	for _, r := range groupRuns(pages) {
		n := len(extents)
		if n == 0 || r.Page-extents[n-1].End() >= gap {
			extents = append(extents, r)
			continue
		}
		last := &extents[n-1]
		swallowed += int64(r.Page - last.End())
		last.Pages, last.Group = r.End()-last.Page, max(last.Group, r.Group)
	}
	slices.SortStableFunc(extents, func(a, b Extent) int { return cmp.Compare(a.Group, b.Group) })
	return extents, swallowed
}

// groupRuns joins ascending touches; a run's group is the first of its pages'.
func groupRuns(touches []Touch) (extents []Extent) {
	for _, t := range touches {
		if n := len(extents); n > 0 && extents[n-1].End() == t.Page {
			extents[n-1].Pages++
			extents[n-1].Group = min(extents[n-1].Group, t.Group)
			continue
		}
		extents = append(extents, Extent{Run: Run{t.Page, 1}, Group: t.Group})
	}
	return extents
}

// InGroupsOf numbers the touches of a trace as FaaSnap's emulation of its
// recording does: size at a time, in first-touch order (ablation "con-paging").
func (s Set) InGroupsOf(size int) Set {
	s.Touches = slices.Clone(s.Touches)
	for i := range s.Touches {
		s.Touches[i].Group = uint16(min(i/size+1, 1<<16-1))
	}
	return s
}

// WindowThaw is how many touches thaw's layout sorts at a time, in pages: 1 MiB,
// two reads.
const WindowThaw = 256

// ByTouch is thaw's order: windows of touches in the order they happened, so that
// what is needed first is there first; inside a window what is only read before
// what is written, each ascending and in the fewest runs. Pages that are not among
// those of the image, because they are zero, are left out.
func (s Set) ByTouch(image Bits) (extents []Extent) {
	touches := slices.DeleteFunc(slices.Clone(s.Touches), func(t Touch) bool { return !image.Has(t.Page) })
	group := uint16(0)
	for window := range slices.Chunk(touches, WindowThaw) {
		group++
		var read, written []uint32
		for _, t := range window {
			if t.Written {
				written = append(written, t.Page)
			} else {
				read = append(read, t.Page)
			}
		}
		extents = append(append(extents, ascendingExtents(read, group, false)...), ascendingExtents(written, group, true)...)
	}
	return extents
}

func ascendingExtents(pages []uint32, group uint16, written bool) (extents []Extent) {
	slices.Sort(pages)
	for _, r := range runs(pages) {
		extents = append(extents, Extent{Run: r, Group: group, Written: written})
	}
	return extents
}
