// Package workingset holds the pages that an invocation touches after a
// restore: recording them in first-touch order, their runs, and the working set
// file. It touches no process and no file beyond io.Reader and io.Writer.
package workingset

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"thaw"
)

// Touch is the first touch of a page.
type Touch struct {
	// Page is the page's index in guest memory.
	Page uint32
	// After is the time since the recording began, in whole microseconds.
	After time.Duration
}

// Set is a working set: each page once, in first-touch order.
type Set struct {
	// Memory is the sha256 of the guest memory file that the set belongs to.
	Memory [32]byte
	// MemoryPages is the size of that file.
	MemoryPages uint32
	Touches     []Touch
	// Bound says which bound ended the recording early, if one did.
	Bound Bound
}

// Bound is why a recording ended.
type Bound uint32

const (
	// BoundNone: the invocation ended.
	BoundNone Bound = iota
	// BoundPages: the recording was full.
	BoundPages
	// BoundTime: the recording took too long.
	BoundTime
)

// String names b for people.
func (b Bound) String() string {
	switch b {
	case BoundNone:
		return "complete"
	case BoundPages:
		return "cut at its size bound"
	case BoundTime:
		return "cut at its time bound"
	}
	return fmt.Sprintf("bound %d", uint32(b))
}

// Run is a stretch of contiguous pages.
type Run struct{ Page, Pages uint32 }

// Runs returns the set's pages as the fewest runs, in ascending order.
func (s Set) Runs() []Run { return runs(s.ascending()) }

// ascending returns the set's pages in ascending order.
func (s Set) ascending() []uint32 {
	pages := make([]uint32, 0, len(s.Touches))
	for _, t := range s.Touches {
		pages = append(pages, t.Page)
	}
	slices.Sort(pages)
	return pages
}

// runs joins ascending pages.
func runs(pages []uint32) []Run {
	var runs []Run
	for _, p := range pages {
		if n := len(runs); n > 0 && runs[n-1].Page+runs[n-1].Pages == p {
			runs[n-1].Pages++
			continue
		}
		runs = append(runs, Run{Page: p, Pages: 1})
	}
	return runs
}

// check wants ascending pages to be inside guest memory and there once.
func (s Set) check(pages []uint32) error {
	for i, p := range pages {
		if p >= s.MemoryPages {
			return fmt.Errorf("page %d is outside guest memory of %d pages", p, s.MemoryPages)
		}
		if i > 0 && pages[i-1] == p {
			return fmt.Errorf("page %d is there twice", p)
		}
	}
	return nil
}

// Limits bound a recording: without a bound, a working set that grows with
// every invocation of a warm instance grows for ever.
type Limits struct {
	Pages int
	Time  time.Duration
}

// DefaultLimits allow 256 MiB in 30 s, over twice the largest working set of
// the REAP paper (99 MB, lr_training, figure 4).
func DefaultLimits() Limits {
	return Limits{Pages: 256 << 20 / thaw.PageSize, Time: 30 * time.Second}
}

// Recorder collects first touches. Its methods may be called concurrently.
type Recorder struct {
	limits Limits
	start  time.Time

	mu      sync.Mutex
	seen    map[uint32]struct{}
	touches []Touch
	bound   Bound
	stopped bool
}

// NewRecorder starts the clock.
func NewRecorder(limits Limits) *Recorder {
	return &Recorder{limits: limits, start: time.Now(), seen: map[uint32]struct{}{}}
}

// Touch notes page if it is new and the recording is not over.
func (r *Recorder) Touch(page uint32) {
	after := time.Since(r.start)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over(after) {
		return
	}
	if _, ok := r.seen[page]; ok {
		return
	}
	r.seen[page] = struct{}{}
	r.touches = append(r.touches, Touch{Page: page, After: after.Truncate(time.Microsecond)})
}

// over applies the bounds. The caller holds mu.
func (r *Recorder) over(after time.Duration) bool {
	if r.stopped || r.bound != BoundNone {
		return true
	}
	if len(r.touches) >= r.limits.Pages {
		r.bound = BoundPages
	}
	if after > r.limits.Time {
		r.bound = BoundTime
	}
	return r.bound != BoundNone
}

// Stop ends the recording and returns it. Later touches are not noted.
func (r *Recorder) Stop() (touches []Touch, bound Bound) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	return r.touches, r.bound
}
