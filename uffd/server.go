package uffd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Region is a registered range of the served process: Len bytes at Addr hold
// what the memory file holds at Offset.
type Region struct {
	Addr, Len uint64
	Offset    int64
}

// Server answers the page faults of one process out of a memory file. Fill in
// the fields, call Install if there is anything to install, then Serve once.
//
// The server owns none of its fields. Its counters may be read at any time.
type Server struct {
	FD      *FD
	Regions []Region
	// Memory holds the pages; Serve reads it one page at a time.
	Memory io.ReaderAt
	// Fill, when set, is used instead of Memory: the regions are private mappings
	// of a file in memory (memfd_create(2)), and it puts the page at a memory offset
	// into that file, from where the kernel maps it. One that is done later calls Wake
	// then.
	Fill func(offset int64) (later bool, err error)
	// OnFault, when set, is told the memory offset of every page served, in
	// order, before the page is there.
	OnFault func(offset int64)
	// OnWrite, when set, is told the memory offset of every page that is written
	// to, once: regions must have been registered for writes.
	OnWrite func(offset int64)

	trapped, installed atomic.Int64

	// What follows belongs to the goroutine that installs and serves.
	buf, page []byte
	events    []Event
	faults    []Event          // that wait to be served
	removed   map[int]*pageSet // by index of the region
}

// Trapped is how many faults were served, the one being served included.
func (s *Server) Trapped() int64 { return s.trapped.Load() }

// Installed is how many pages Install and InstallBeside put in place.
func (s *Server) Installed() int64 { return s.installed.Load() }

// Install puts pieces, each a memory offset and whole pages, in place with one
// copy a piece, then wakes every waiting thread once (REAP, section 5.2.2).
// Call it before Serve: threads that fault meanwhile wait for the wake.
func (s *Server) Install(pieces iter.Seq2[int64, []byte]) error {
	for offset, data := range pieces {
		addr, ok := s.addr(offset, uint64(len(data)))
		if !ok {
			return fmt.Errorf("install %d bytes at memory offset %#x: outside guest memory", len(data), offset)
		}
		present, err := s.insist(func(at int) (int, int, error) {
			return s.FD.Copy(addr+uint64(at), data[at:], DontWake)
		})
		s.installed.Add(int64(len(data)/pageSize - present))
		if err != nil {
			return err
		}
	}
	return s.wakeAll()
}

// insist repeats once, which does a part from an offset on, reading events
// whenever the kernel waits for that.
func (s *Server) insist(once func(at int) (n, present int, err error)) (present int, err error) {
	for at := 0; ; {
		n, there, err := once(at)
		at, present = at+n, present+there
		if !errors.Is(err, ErrAgain) {
			return present, err
		}
		if err := s.read(); err != nil {
			return present, err
		}
	}
}

// Piece is a part of guest memory to be put in place.
type Piece struct {
	// Offset in guest memory, in bytes, and the pages' contents.
	Offset int64
	Data   []byte
	// Shared says that the mapped file has these pages: they are mapped, not copied.
	Shared bool
}

// again is how long InstallBeside leaves Serve to read an event.
const again = 50 * time.Microsecond

// InstallBeside puts pieces in place, and wakes who waits for them, while Serve runs in
// another goroutine, which answers whoever comes for a page before it is there. It may
// be called by several goroutines at the same time.
func (s *Server) InstallBeside(pieces iter.Seq[Piece]) error {
	for p := range pieces {
		addr, ok := s.addr(p.Offset, uint64(len(p.Data)))
		if !ok {
			return fmt.Errorf("install %d bytes at memory offset %#x: outside guest memory", len(p.Data), p.Offset)
		}
		if err := s.place(p, addr); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) place(p Piece, addr uint64) error {
	for at := 0; at < len(p.Data); {
		n, present, err := s.placeFrom(p, addr, at)
		at += n
		s.installed.Add(int64(n/pageSize - present))
		switch {
		case errors.Is(err, ErrAgain):
			time.Sleep(again)
		case p.Shared && errors.Is(err, unix.EINVAL):
			return nil // a kernel that cannot: it maps them at their first touch
		case err != nil:
			return err
		}
	}
	return nil
}

func (s *Server) placeFrom(p Piece, addr uint64, at int) (n, present int, err error) {
	if p.Shared {
		return s.FD.Map(addr+uint64(at), len(p.Data)-at, Wake)
	}
	return s.FD.Copy(addr+uint64(at), p.Data[at:], Wake)
}

func (s *Server) wakeAll() error {
	for _, r := range s.Regions {
		if err := s.FD.WakeRange(r.Addr, r.Len); err != nil {
			return err
		}
	}
	return nil
}

// Serve answers faults until ctx is cancelled, which returns nil, or until one
// cannot be answered. After an error threads of the process wait for ever: end
// the process.
func (s *Server) Serve(ctx context.Context) error {
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("create an eventfd: %w", err)
	}
	signalled := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(signalled)
		_, _ = unix.Write(stop, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // cannot fail before a close
	})
	defer func() {
		if !cancel() {
			<-signalled
		}
		_ = unix.Close(stop)
	}()
	return s.loop(stop)
}

func (s *Server) loop(stop int) error {
	for {
		if err := s.serveAll(); err != nil {
			return err
		}
		stopped, err := wait(s.FD.fd, stop)
		if err != nil || stopped {
			return err
		}
		if err := s.read(); err != nil {
			return err
		}
	}
}

// read takes in the events that wait: removals at once, so that no fault after
// them is served what was there before, and faults into a queue.
func (s *Server) read() (err error) {
	const batch = 64
	if s.buf == nil {
		s.buf, s.page = make([]byte, batch*messageSize), make([]byte, pageSize)
	}
	if s.events, err = s.FD.Read(s.buf, s.events[:0]); err != nil {
		return err
	}
	for _, e := range s.events {
		switch e.Kind {
		case KindPagefault:
			s.faults = append(s.faults, e)
		case KindRemove, KindUnmap:
			if s.Fill != nil {
				return errors.New("guest memory was given back under a shared mapping: its pages cannot become zero")
			}
			s.remove(e.Addr, e.End)
		default:
			return fmt.Errorf("userfaultfd event %#x was not asked for", e.Kind)
		}
	}
	return nil
}

// serveAll empties the queue of faults, which may grow meanwhile.
func (s *Server) serveAll() error {
	for len(s.faults) > 0 {
		fault := s.faults[0]
		s.faults = s.faults[1:]
		if err := s.serve(fault); err != nil {
			return err
		}
	}
	s.faults = nil
	return nil
}

// wait blocks until fd is readable or stop is.
func wait(fd, stop int) (stopped bool, err error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(stop), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("poll userfaultfd: %w", err)
		}
		if fds[0].Revents&unix.POLLERR != 0 {
			return false, errors.New("poll userfaultfd: descriptor is in an error state")
		}
		return fds[1].Revents != 0, nil
	}
}

// serve answers one fault.
func (s *Server) serve(e Event) error {
	offset, ok := s.offset(e.Addr)
	if !ok {
		return fmt.Errorf("page fault at %#x: outside the registered regions", e.Addr)
	}
	if e.Protected {
		s.wrote(offset)
		_, err := s.insist(func(int) (int, int, error) { return 0, 0, s.FD.AllowWrites(e.Addr, pageSize) })
		return err
	}
	// Counted first, so that there are never more faults told of than counted.
	s.trapped.Add(1)
	if s.OnFault != nil {
		s.OnFault(offset)
	}
	if e.Write {
		s.wrote(offset)
	}
	if err := s.bring(e, offset); err != nil {
		return fmt.Errorf("serve the page at memory offset %#x: %w", offset, err)
	}
	return nil
}

func (s *Server) wrote(offset int64) {
	if s.OnWrite != nil {
		s.OnWrite(offset)
	}
}

// bring gives the page its contents and wakes who waits for it. A page that is
// there already was installed while the event was on its way: its thread only has
// to be woken.
func (s *Server) bring(e Event, offset int64) error {
	if s.Fill != nil {
		if later, err := s.Fill(offset); err != nil || later {
			return err
		}
		return s.FD.WakeRange(e.Addr, pageSize)
	}
	mode := Wake
	if s.OnWrite != nil && !e.Write {
		mode = WriteProtect
	}
	present, err := s.insist(func(int) (int, int, error) { return s.fill(e.Addr, offset, mode) })
	if err != nil || present == 0 {
		return err
	}
	return s.FD.WakeRange(e.Addr, pageSize)
}

// Wake wakes who waits for the page at a memory offset.
func (s *Server) Wake(offset int64) error {
	addr, ok := s.addr(offset, pageSize)
	if !ok {
		return fmt.Errorf("wake for memory offset %#x: outside guest memory", offset)
	}
	return s.FD.WakeRange(addr, pageSize)
}

func (s *Server) fill(addr uint64, offset int64, mode Mode) (n, present int, err error) {
	if s.wasRemoved(addr) {
		return s.FD.Zero(addr, pageSize, Wake)
	}
	if n, err := s.Memory.ReadAt(s.page, offset); n < len(s.page) {
		return 0, 0, fmt.Errorf("read the memory file: %w", err)
	}
	return s.FD.Copy(addr, s.page, mode)
}

// remove notes the pages that the process gave back (madvise(2)): they read as
// zeroes from then on.
func (s *Server) remove(start, end uint64) {
	if s.removed == nil {
		s.removed = map[int]*pageSet{}
	}
	for i, r := range s.Regions {
		from, to := max(start, r.Addr), min(end, r.Addr+r.Len)
		if from >= to {
			continue
		}
		if s.removed[i] == nil {
			s.removed[i] = newPageSet(r.Len / pageSize)
		}
		s.removed[i].add((from-r.Addr)/pageSize, (to-r.Addr)/pageSize)
	}
}

func (s *Server) wasRemoved(addr uint64) bool {
	for i, pages := range s.removed {
		if r := s.Regions[i]; addr >= r.Addr && addr-r.Addr < r.Len {
			return pages.has((addr - r.Addr) / pageSize)
		}
	}
	return false
}

// pageSet is a set of pages of a region, one bit each.
type pageSet struct{ words []uint64 }

func newPageSet(pages uint64) *pageSet { return &pageSet{make([]uint64, (pages+63)/64)} }

// add adds the pages from from up to to.
func (p *pageSet) add(from, to uint64) {
	for n := from; n < to; n++ {
		p.words[n/64] |= 1 << (n % 64)
	}
}

func (p *pageSet) has(n uint64) bool { return p.words[n/64]&(1<<(n%64)) != 0 }

func (s *Server) offset(addr uint64) (int64, bool) {
	for _, r := range s.Regions {
		if addr >= r.Addr && addr-r.Addr < r.Len {
			return r.Offset + int64(addr-r.Addr), true
		}
	}
	return 0, false
}

func (s *Server) addr(offset int64, length uint64) (uint64, bool) {
	for _, r := range s.Regions {
		if at := offset - r.Offset; at >= 0 && uint64(at) <= r.Len && length <= r.Len-uint64(at) {
			return r.Addr + uint64(at), true
		}
	}
	return 0, false
}
