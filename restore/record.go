package restore

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"thaw"
	"thaw/pagecache"
	"thaw/plan"
	"thaw/procstat"
	"thaw/workingset"
)

// maxMisses bounds how many missed pages are told one by one.
const maxMisses = 4096

// misses are the first trapped touches since guest memory was laid out. Its
// methods may be called concurrently.
type misses struct {
	start time.Time

	mu    sync.Mutex
	pages []thaw.Miss
}

func newMisses() *misses { return &misses{start: time.Now()} }

func (m *misses) add(offset int64) {
	after := time.Since(m.start).Microseconds()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.pages) < maxMisses {
		m.pages = append(m.pages, thaw.Miss{Page: uint32(offset / thaw.PageSize), AfterUS: after})
	}
}

func (m *misses) list() []thaw.Miss {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]thaw.Miss(nil), m.pages...)
}

// recorder is a recording under way.
type recorder struct {
	*workingset.Recorder
	source workingset.Source
	// scanner is nil for a trace.
	scanner *scanner
	taken   bool // by StopRecording
}

// record begins what the plan wants recorded.
func (m *Memory) record(limits workingset.Limits) error {
	switch m.plan.Record {
	case plan.RecordTrace:
		trace := workingset.NewRecorder(limits)
		m.recorder = &recorder{Recorder: trace, source: workingset.Trace}
		m.server.OnFault = func(offset int64) {
			m.misses.add(offset)
			trace.Touch(uint32(offset/thaw.PageSize), 0)
		}
	case plan.RecordHostPages:
		pages := workingset.NewRecorder(limits)
		scanner, err := m.newScanner(pages)
		if err != nil {
			return err
		}
		m.recorder = &recorder{Recorder: pages, source: workingset.HostPages, scanner: scanner}
	}
	return nil
}

// onWrite is called by the server's goroutine only.
func (m *Memory) onWrite(offset int64) { m.recorder.Write(uint32(offset / thaw.PageSize)) }

// StopRecording ends the recording and returns the set, or false when nothing
// was being recorded. Faults are served on. The set's Memory and MemoryPages
// are left for the caller to fill in.
func (m *Memory) StopRecording() (workingset.Set, bool) {
	if m.recorder == nil || m.recorder.taken {
		return workingset.Set{}, false
	}
	m.recorder.taken = true
	m.stopRecorder()
	touches, bound := m.recorder.Stop()
	set := workingset.Set{Source: m.recorder.source, Recordings: 1, Touches: touches, Bound: bound}
	if set.Source == workingset.Trace && m.server.OnWrite == nil {
		allWritten(set.Touches) // a kernel that cannot tell
	}
	return set, len(touches) > 0
}

func allWritten(touches []workingset.Touch) {
	for i := range touches {
		touches[i].Written = true
	}
}

// stopRecorder ends the scanning. Calling it again is harmless.
func (m *Memory) stopRecorder() {
	if m.recorder != nil && m.recorder.scanner != nil {
		m.recorder.scanner.stop()
	}
}

const (
	// scanGrowth is by how much the VMM's resident memory grows between scans, in
	// bytes: 1,024 pages make a group (FaaSnap, section 4.3; mincore_size).
	scanGrowth = 1024 * thaw.PageSize
	// scanPause is between looks at that (the FaaSnap daemon's).
	scanPause = 4 * time.Millisecond
)

// scanner records which pages of the memory file come into the page cache, with
// what the kernel reads ahead. Pages that were there before count as seen by the
// first scan: whoever records has emptied the page cache, and what others map
// stays.
type scanner struct {
	pages *workingset.Recorder
	cache *pagecache.Map
	vmm   *procstat.Process
	end   chan struct{}
	once  sync.Once
	work  sync.WaitGroup
	scans uint16
}

// newScanner starts one for m's VMM.
func (m *Memory) newScanner(pages *workingset.Recorder) (*scanner, error) {
	cache, err := pagecache.NewMap(m.file)
	if err != nil {
		return nil, fmt.Errorf("record host pages: %w", err)
	}
	vmm, err := procstat.Open(m.pid)
	if err != nil {
		cache.Close()
		return nil, fmt.Errorf("record host pages: %w", err)
	}
	s := &scanner{pages: pages, cache: cache, vmm: vmm, end: make(chan struct{})}
	s.work.Go(s.run)
	return s, nil
}

// stop scans once more and ends.
func (s *scanner) stop() {
	s.once.Do(func() { close(s.end) })
	s.work.Wait()
}

func (s *scanner) run() {
	defer s.cache.Close()
	defer func() { _ = s.vmm.Close() }() // read only
	grown := int64(0)
	for {
		select {
		case <-s.end:
			_ = s.scan() // what is missing then is served by the kernel
			return
		case <-time.After(scanPause):
		}
		memory, err := s.vmm.Memory()
		if err == nil && memory.RSSBytes >= grown+scanGrowth {
			grown = memory.RSSBytes
			err = s.scan()
		}
		if err != nil || s.pages.Full() {
			return
		}
	}
}

var errTooManyScans = errors.New("too many scans")

// scan notes the pages that have come since the last one.
func (s *scanner) scan() error {
	if s.scans == 1<<16-1 {
		return errTooManyScans
	}
	s.scans++
	vec, err := s.cache.Resident()
	for page, v := range vec {
		if v&1 != 0 {
			s.pages.Touch(uint32(page), s.scans)
		}
	}
	return err
}
