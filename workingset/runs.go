package workingset

import "slices"

// Run is a stretch of contiguous pages.
type Run struct{ Page, Pages uint32 }

// End is the page after the last.
func (r Run) End() uint32 { return r.Page + r.Pages }

// runs joins ascending pages.
func runs(pages []uint32) []Run {
	var runs []Run
	for _, p := range pages {
		if n := len(runs); n > 0 && runs[n-1].End() == p {
			runs[n-1].Pages++
			continue
		}
		runs = append(runs, Run{Page: p, Pages: 1})
	}
	return runs
}

// CountPages is how many pages runs hold.
func CountPages(runs []Run) (n int64) {
	for _, r := range runs {
		n += int64(r.Pages)
	}
	return n
}

// MergeGaps joins ascending runs over gaps of fewer than gap pages, and returns
// how many pages were swallowed.
func MergeGaps(runs []Run, gap uint32) (merged []Run, swallowed int64) {
	for _, r := range runs {
		n := len(merged)
		if n == 0 || r.Page-merged[n-1].End() >= gap {
			merged = append(merged, r)
			continue
		}
		swallowed += int64(r.Page - merged[n-1].End())
		merged[n-1].Pages = r.End() - merged[n-1].Page
	}
	return merged, swallowed
}

// MergeDownTo joins ascending runs over the smallest gaps until there are at most
// limit of them, and returns how many pages were swallowed.
func MergeDownTo(runs []Run, limit int) (merged []Run, swallowed int64) {
	if len(runs) <= max(limit, 1) {
		return runs, 0
	}
	gaps := make([]uint32, 0, len(runs)-1)
	for i, r := range runs[1:] {
		gaps = append(gaps, r.Page-runs[i].End())
	}
	slices.Sort(gaps)
	// All gaps up to this size have to go; those as large go as well.
	return MergeGaps(runs, gaps[len(runs)-max(limit, 1)-1]+1)
}

// Bits is a set of pages of guest memory.
type Bits struct{ words []uint64 }

// NewBits returns an empty set over guest memory of pages pages.
func NewBits(pages uint32) Bits { return Bits{make([]uint64, (int(pages)+63)/64)} }

// BitsOf returns the pages of runs.
func BitsOf(pages uint32, runs []Run) Bits {
	b := NewBits(pages)
	for _, r := range runs {
		b.AddRun(r)
	}
	return b
}

// AddRun adds the pages of r.
func (b Bits) AddRun(r Run) {
	for p := r.Page; p < r.End(); p++ {
		b.Add(p)
	}
}

// Add adds page.
func (b Bits) Add(page uint32) { b.words[page/64] |= 1 << (page % 64) }

// Has says whether page is there.
func (b Bits) Has(page uint32) bool { return b.words[page/64]&(1<<(page%64)) != 0 }
