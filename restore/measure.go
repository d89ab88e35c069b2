package restore

import (
	"thaw"
	"thaw/plan"
	"thaw/procstat"
	"thaw/workingset"
)

// Watch makes the pages that are in place look untouched, so that Measure can tell
// those the guest uses. Call it right before the guest runs.
func (m *Memory) Watch() error {
	if m.prefetch.whole == nil && !m.plan.MapsImage() {
		return nil // nothing is mapped yet
	}
	m.watched = m.Counters().Installed
	return procstat.ClearReferenced(m.pid)
}

// Measured is what a guest has used of its memory.
type Measured struct {
	Layout  thaw.Layout
	Quality thaw.Quality
	Use     thaw.MemoryUse
	// Exact says that misses were trapped one by one. Where the kernel serves them,
	// it maps neighbours as well, which count as missed.
	Exact bool
}

// Measure compares the pages that were brought in with those that were used.
// nonZero are the runs that count. The guest should be idle.
//
// A page counts as used when the processor has marked it accessed, as is one that
// userfaultfd puts in place (mfill_atomic_install_pte in mm/userfaultfd.c): those that
// came after Watch are told as unwatched. The kernel maps
// neighbours of a page it finds in the page cache along with it ("fault around"):
// they count, too. Under KVM a page that was in place counts from its first
// access through the second stage of translation on.
func (m *Memory) Measure(nonZero []workingset.Run) (r Measured, err error) {
	end := m.base + uint64(m.size)
	use, err := procstat.UseOf(m.pid, m.base, end)
	if err != nil {
		return r, err
	}
	memory := uint32(m.size / thaw.PageSize)
	brought, counts := workingset.NewBits(memory), workingset.BitsOf(memory, nonZero)
	for _, e := range m.plan.Extents {
		brought.AddRun(e.Run)
	}
	late := int64(0) // mapped, not brought in
	err = procstat.Pages(m.pid, m.base, end, func(page int, p procstat.Page) {
		if !p.Present() || brought.Has(uint32(page)) {
			return
		}
		late++
		if counts.Has(uint32(page)) {
			r.Quality.Misses++
		}
	})
	if err != nil {
		return r, err
	}
	r.Quality.Brought = m.plan.InstallPages()
	r.Quality.Hits = min(max(use.Referenced/thaw.PageSize-late, 0), r.Quality.Brought)
	r.Quality.Unwatched = min(m.Counters().Installed-m.watched, r.Quality.Hits)
	r.Layout, r.Exact = m.Layout(), m.plan.Traps() && (m.exact || !m.plan.MapsImage())
	r.Use = thaw.MemoryUse{Resident: use.Resident, Private: use.Anonymous}
	if m.plan.Record == plan.RecordNothing {
		r.Quality.MissedPages = m.misses.list()
	}
	return r, nil
}

// Layout says how guest memory was arranged.
func (m *Memory) Layout() thaw.Layout {
	return thaw.Layout{Mappings: len(m.plan.Mappings()), MergedPages: m.plan.Merged, Recording: string(m.plan.Record)}
}
