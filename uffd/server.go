package uffd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync/atomic"

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
	// OnFault, when set, is told the memory offset of every page served, in
	// order, before the page is there.
	OnFault func(offset int64)

	trapped, installed atomic.Int64
	removed            []Event
}

// Trapped is how many faults were served.
func (s *Server) Trapped() int64 { return s.trapped.Load() }

// Installed is how many pages Install put in place.
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
		present, err := s.FD.Copy(addr, data, DontWake)
		s.installed.Add(int64(len(data)/pageSize - present))
		if err != nil {
			return err
		}
	}
	return s.wakeAll()
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
	const batch = 64
	buf, page := make([]byte, batch*messageSize), make([]byte, pageSize)
	events := make([]Event, 0, batch)
	for {
		stopped, err := wait(s.FD.fd, stop)
		if err != nil || stopped {
			return err
		}
		if events, err = s.FD.Read(buf, events[:0]); err != nil {
			return err
		}
		for _, e := range events {
			if err := s.handle(e, page); err != nil {
				return err
			}
		}
	}
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

func (s *Server) handle(e Event, page []byte) error {
	switch e.Kind {
	case KindPagefault:
		return s.serve(e.Addr, page)
	case KindRemove, KindUnmap:
		s.removed = append(s.removed, e)
		return nil
	default:
		return fmt.Errorf("userfaultfd event %#x was not asked for", e.Kind)
	}
}

// serve gives the page at addr its contents. A page that is there already was
// installed while the event was on its way: its thread only has to be woken.
func (s *Server) serve(addr uint64, page []byte) error {
	offset, ok := s.offset(addr)
	if !ok {
		return fmt.Errorf("page fault at %#x: outside the registered regions", addr)
	}
	if s.OnFault != nil {
		s.OnFault(offset)
	}
	present, err := s.fill(addr, offset, page)
	if err != nil {
		return fmt.Errorf("serve the page at memory offset %#x: %w", offset, err)
	}
	s.trapped.Add(1)
	if present > 0 {
		return s.FD.WakeRange(addr, pageSize)
	}
	return nil
}

func (s *Server) fill(addr uint64, offset int64, page []byte) (present int, err error) {
	if s.wasRemoved(addr) {
		return s.FD.Zero(addr, pageSize, Wake)
	}
	if n, err := s.Memory.ReadAt(page, offset); n < len(page) {
		return 0, fmt.Errorf("read the memory file: %w", err)
	}
	return s.FD.Copy(addr, page, Wake)
}

// wasRemoved reports pages that the process gave back (madvise(2)): they read
// as zeroes from then on.
func (s *Server) wasRemoved(addr uint64) bool {
	for _, r := range s.removed {
		if addr >= r.Addr && addr < r.End {
			return true
		}
	}
	return false
}

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
