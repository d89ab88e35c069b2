// Package restore carries out a plan on a VMM process: it reads ahead what the
// plan brings in, lays guest memory out by remote control, installs pages, serves
// the page faults that the plan traps, records, and measures how good all that
// was.
package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"thaw/plan"
	"thaw/resident"
	"thaw/uffd"
	"thaw/workingset"
)

// Target is the VMM process whose guest memory is laid out. Its main thread
// must be safe to stop for a millisecond.
type Target interface {
	PID() int
	// GiveFD passes a file to the process and returns its number there.
	GiveFD(context.Context, *os.File) (int, error)
	// TakeFD duplicates a descriptor of the process into this one.
	TakeFD(int) (int, error)
	// FaultDevice is the number there of an open /dev/userfaultfd, or -1.
	FaultDevice() int
}

// Memory is the memory of one restored guest. It owns the userfaultfd, what
// serves it, and the prefetch. Close it after the process has ended, never before:
// a thread that waits for a page would see zeroes.
type Memory struct {
	plan     plan.Plan
	pid      int
	base     uint64 // of guest memory in the process
	size     int64
	file     *os.File // the guest memory file, borrowed
	prefetch *Prefetch
	server   *uffd.Server // nil when nothing is trapped
	misses   *misses
	recorder *recorder // nil when nothing is recorded
	// exact says that write protection is on where it is of use.
	exact bool

	watched int64 // pages installed before Watch

	reads  threadReads
	filled atomic.Int64 // bytes that misses of an image read
	cancel context.CancelFunc
	failed func(error) // set by Serve
	served sync.WaitGroup
}

// Map lays out guest memory, size bytes from address base of target, as the plan
// of prefetch says. The guest must not run yet. file is the guest memory file; it
// is borrowed until Close. The result owns prefetch; after an error the caller
// still does.
func Map(ctx context.Context, target Target, base uint64, size int64, prefetch *Prefetch, file *os.File) (*Memory, error) {
	m := &Memory{
		plan: prefetch.plan, pid: target.PID(), base: base, size: size, file: file, prefetch: prefetch,
		misses: newMisses(), cancel: func() {},
	}
	remoteFD, err := m.layOut(ctx, target)
	if err != nil {
		return nil, err
	}
	if m.plan.Traps() {
		if err := m.trap(target, remoteFD); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Serve installs what the plan brings in, serves faults and records, in
// goroutines of its own, until Close. installed is called once everything is in
// place. failed is called if a fault cannot be served, or if the guest may have
// seen wrong memory: it must end the process, whose threads would wait for ever.
func (m *Memory) Serve(limits workingset.Limits, installed func(), failed func(error)) error {
	if err := m.record(limits); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.failed = failed
	if m.server != nil {
		m.start("serve page faults", func() error { return m.serve(ctx, installed) })
	}
	if m.plan.MapsImage() {
		m.start("install pages", func() error { return m.installBeside(ctx, installed) })
		m.start("share an image", func() error { return m.prefetch.contents.Image.Watch(ctx) })
	}
	if m.plan.Fetch == plan.FetchAheadLoading {
		m.start("read the loading set", func() error { return m.prefetch.Wait(ctx) })
	}
	return nil
}

// start has work done until Close.
func (m *Memory) start(what string, work func() error) {
	m.served.Go(func() {
		if err := alive(work()); err != nil {
			m.failed(fmt.Errorf("%s: %w", what, err))
		}
	})
}

// serve keeps one thread, so that what it reads from the disk can be told from
// what others read.
func (m *Memory) serve(ctx context.Context, installed func()) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := m.reads.begin(); err != nil {
		return err
	}
	defer m.reads.end()
	if m.prefetch.whole != nil {
		if err := m.server.Install(m.prefetch.whole); err != nil {
			return err
		}
		m.prefetch.drop()
		installed()
	}
	return m.server.Serve(ctx)
}

// installBeside gives the guest its pages while faults may be served already.
func (m *Memory) installBeside(ctx context.Context, installed func()) error {
	defer m.prefetch.contents.Close() // the reading is over then, the guest goes on
	pages := m.prefetch.contents.Pages()
	pieces := pages.Pieces()
	var lanes errgroup.Group
	for range resident.Lanes {
		lanes.Go(func() error { return m.server.InstallBeside(pieces) })
	}
	if err := lanes.Wait(); err != nil {
		return err
	}
	if pages.Wait(ctx) == nil { // else there was no more to install, see PrefetchErr
		installed()
	}
	return nil
}

// fill brings a page into the image. One that is on its way is waited for beside: others
// fault, too, and the kernel may hold a copy back until the server has read the next
// event.
func (m *Memory) fill(offset int64) (later bool, err error) {
	pages := m.prefetch.contents.Pages()
	if !pages.Coming(offset) {
		return false, m.fillImage(offset)
	}
	m.start("wait for a page", func() error {
		if !pages.Await(offset) {
			if err := m.fillImage(offset); err != nil {
				return err
			}
		}
		return m.server.Wake(offset)
	})
	return true, nil
}

func (m *Memory) fillImage(offset int64) error {
	read, err := m.prefetch.contents.Image.Fill(offset)
	m.filled.Add(read)
	return err
}

// alive is err unless it only says that the process has ended, or that we are
// done: its owner knows.
func alive(err error) error {
	if errors.Is(err, uffd.ErrGone) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Settle waits until what the guest has mapped is known to be what was recorded,
// and returns an error when it is not: then no reply of the guest counts.
func (m *Memory) Settle(ctx context.Context) error {
	if m.plan.Fetch == plan.FetchAheadLoading {
		return m.prefetch.Wait(ctx)
	}
	return nil
}

// PrefetchErr returns why not all that the plan brings in was brought in, nil if it was
// or still may be. The guest is well all the same. An error that wraps
// [workingset.ErrCorrupt] says that the loading set is of no use.
func (m *Memory) PrefetchErr() error {
	select {
	case <-m.prefetch.done:
		if err := m.prefetch.err; !errors.Is(err, os.ErrClosed) {
			return alive(err)
		}
	default:
	}
	return nil
}

// Close stops serving and releases everything. The process must have ended.
func (m *Memory) Close() error {
	m.cancel()
	m.stopRecorder()
	m.prefetch.stop()
	m.served.Wait()
	m.prefetch.Close()
	if m.server == nil {
		return nil
	}
	return m.server.FD.Close()
}

// Counters of a guest's memory since it was mapped.
type Counters struct {
	// Trapped faults were served through userfaultfd, Installed pages put in
	// place ahead. Brought pages are in place or in memory, for the kernel to map.
	Trapped, Installed, Brought int64
	// ServerRead is what serving read from the disk, PrefetchRead what was read
	// ahead past the page cache, in bytes.
	ServerRead, PrefetchRead int64
}

// Counters may be called at any time.
func (m *Memory) Counters() Counters {
	c := Counters{PrefetchRead: m.prefetch.BytesRead()}
	if m.server != nil {
		c.Trapped, c.Installed = m.server.Trapped(), m.server.Installed()
		c.ServerRead = m.reads.bytes()
	}
	if m.plan.MapsImage() {
		c.ServerRead = m.filled.Load() // other threads read, too
	}
	c.Brought = m.plan.InstallPages()
	if m.server != nil && !m.plan.MapsImage() {
		c.Brought = c.Installed
	}
	return c
}
