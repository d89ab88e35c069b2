// Package workingset holds the pages that invocations touch after a restore:
// recording them in first-touch order, merging recordings, laying them out for
// one sequential read, and the files of all that. It touches no process and no
// file beyond io.Reader and io.Writer.
package workingset

import (
	"fmt"
	"slices"
	"time"
)

// Touch is what is known of a page that invocations use.
type Touch struct {
	// Page is the page's index in guest memory.
	Page uint32
	// After is the time from the start of the newest recording that saw it to its
	// first touch, in whole microseconds.
	After time.Duration
	// Group is the number of the scan that saw it first, from 1, in a recording of
	// host pages; 0 in a trace.
	Group uint16
	// Uses is how many of the set's recordings saw it.
	Uses uint16
	// Written says that an invocation wrote to it.
	Written bool
}

// Set is a working set: each page once, in first-touch order.
type Set struct {
	// Memory is the sha256 of the guest memory file that the set belongs to.
	Memory [32]byte
	// MemoryPages is the size of that file.
	MemoryPages uint32
	Source      Source
	// Recordings is how many were merged, at least 1.
	Recordings uint16
	Touches    []Touch
	// Bound says which bound ended the newest recording early, if one did.
	Bound Bound
}

// Source is how a set was recorded.
type Source uint32

const (
	// Trace: page faults seen through userfaultfd, one by one (REAP, section 5.1).
	Trace Source = iota
	// HostPages: pages seen in the host's page cache, scan by scan (FaaSnap,
	// section 4.3); what the kernel read ahead is among them.
	HostPages
)

// String names s for people and records.
func (s Source) String() string {
	switch s {
	case Trace:
		return "trace"
	case HostPages:
		return "host pages"
	}
	return fmt.Sprintf("source %d", uint32(s))
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

// check wants a set that a recording can have made.
func (s Set) check() error {
	if len(s.Touches) == 0 || len(s.Touches) > MaxPages {
		return fmt.Errorf("a working set of %d pages: 1 to %d are allowed", len(s.Touches), MaxPages)
	}
	if s.Recordings == 0 {
		return fmt.Errorf("no recording")
	}
	for _, t := range s.Touches {
		if t.Uses == 0 || t.Uses > s.Recordings {
			return fmt.Errorf("page %d was used in %d of %d recordings", t.Page, t.Uses, s.Recordings)
		}
	}
	return checkPages(s.ascending(), s.MemoryPages)
}

// checkPages wants ascending pages to be inside guest memory and there once.
func checkPages(pages []uint32, memory uint32) error {
	for i, p := range pages {
		if p >= memory {
			return fmt.Errorf("page %d is outside guest memory of %d pages", p, memory)
		}
		if i > 0 && pages[i-1] == p {
			return fmt.Errorf("page %d is there twice", p)
		}
	}
	return nil
}
