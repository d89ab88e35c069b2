package resident

import (
	"slices"

	"thaw/workingset"
)

const (
	// firstWindow is how many pages are brought in at a miss, aligned: Linux's
	// default readahead of 128 KiB. Where misses follow each other the window
	// doubles each time, up to largestWindow.
	firstWindow, largestWindow = 32, 512
	// maxStreams is how many sequences of misses are told apart.
	maxStreams = 16
)

// stream is a sequence of misses that follow each other.
type stream struct {
	next   uint32 // page after what was read last
	window uint32 // pages that were read last
}

// streams are the sequences seen last, the latest first. The zero value is ready.
type streams struct{ recent []stream }

// miss returns what to read because of a miss, in a memory of so many pages: now,
// which holds the page, and later, which begins where now ends and may be empty.
func (s *streams) miss(page, pages uint32) (now, later workingset.Run) {
	first := page / firstWindow * firstWindow
	now = workingset.Run{Page: first, Pages: min(firstWindow, pages-first)}
	window := uint32(firstWindow)
	if i := slices.IndexFunc(s.recent, func(o stream) bool { return page-o.next < o.window }); i >= 0 {
		window = min(2*s.recent[i].window, largestWindow)
		s.recent = slices.Delete(s.recent, i, i+1)
		if n := min(window-firstWindow, pages-now.End()); n > 0 {
			later = workingset.Run{Page: now.End(), Pages: n}
		}
	}
	s.recent = slices.Insert(s.recent, 0, stream{next: now.End() + later.Pages, window: window})
	s.recent = s.recent[:min(len(s.recent), maxStreams)]
	return now, later
}
