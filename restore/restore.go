// Package restore carries out a plan on a VMM process: it lays guest memory
// out by remote control, installs what the plan says and serves the page faults
// that the plan traps.
package restore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/plan"
	"thaw/remote"
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

// Memory is the memory of one restored guest. It owns the userfaultfd and the
// goroutine that serves it. Close it after the process has ended, never before:
// a thread that waits for a page would see zeroes.
type Memory struct {
	plan     plan.Plan
	server   *uffd.Server         // nil when nothing is trapped
	recorder *workingset.Recorder // nil when nothing is recorded
	file     *os.File             // borrowed

	reads  threadReads
	cancel context.CancelFunc
	served sync.WaitGroup
}

// Map lays out guest memory, which begins at address base of target, as p says.
// The guest must not run yet. file is the guest memory file; it is borrowed
// until Close.
func Map(ctx context.Context, target Target, base uint64, p plan.Plan, file *os.File) (*Memory, error) {
	m := &Memory{plan: p, file: file, cancel: func() {}}
	calls, err := layoutCalls(ctx, target, base, p, file)
	if err != nil {
		return nil, err
	}
	fault := len(calls)
	if p.Trap {
		calls = append(calls, faultCall(target.FaultDevice()))
	}
	if device := target.FaultDevice(); device >= 0 {
		// A guest that breaks into the VMM must not find it there.
		calls = append(calls, remote.Call{Nr: unix.SYS_CLOSE, Args: [6]uintptr{uintptr(device)}})
	}
	results, err := remote.Run(target.PID(), calls)
	if err != nil {
		return nil, fmt.Errorf("lay out guest memory by remote control: %w", err)
	}
	if !p.Trap {
		return m, nil
	}
	return m, m.trap(target, int(results[fault]), base)
}

// layoutCalls maps each region over what was there before.
func layoutCalls(ctx context.Context, target Target, base uint64, p plan.Plan, file *os.File) ([]remote.Call, error) {
	fd, calls := -1, make([]remote.Call, 0, len(p.Regions)+1)
	for _, r := range p.Regions {
		if r.Backing == plan.MemoryFile && fd < 0 {
			var err error
			if fd, err = target.GiveFD(ctx, file); err != nil {
				return nil, fmt.Errorf("pass the memory file: %w", err)
			}
		}
		calls = append(calls, mapCall(base, r, fd))
	}
	return calls, nil
}

func mapCall(base uint64, r plan.Region, fd int) remote.Call {
	const prot = unix.PROT_READ | unix.PROT_WRITE
	flags, offset := unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE, r.Offset
	if r.Backing == plan.Anonymous {
		flags, fd, offset = flags|unix.MAP_ANONYMOUS, -1, 0
	}
	at := uintptr(base) + uintptr(r.Offset)
	return remote.Call{Nr: unix.SYS_MMAP, Args: [6]uintptr{at, uintptr(r.Len), prot, uintptr(flags), uintptr(fd), uintptr(offset)}}
}

// faultCall creates a userfaultfd in the target. It goes through the device
// where there is one: whoever has it open needs no privilege, and the target
// has none. Faults of the kernel on the target's behalf must be served as well.
func faultCall(device int) remote.Call {
	const flags = unix.O_CLOEXEC | unix.O_NONBLOCK
	if device < 0 {
		return remote.Call{Nr: unix.SYS_USERFAULTFD, Args: [6]uintptr{flags}}
	}
	return remote.Call{Nr: unix.SYS_IOCTL, Args: [6]uintptr{uintptr(device), uffd.IoctlNew, flags}}
}

// trap takes the target's userfaultfd and registers the anonymous regions.
func (m *Memory) trap(target Target, remoteFD int, base uint64) error {
	fd, err := target.TakeFD(remoteFD)
	if err != nil {
		return err
	}
	u, err := uffd.New(fd, uffd.FeatureEventRemove|uffd.FeatureEventUnmap)
	if err != nil {
		return err
	}
	m.server = &uffd.Server{FD: u, Memory: m.file}
	for _, r := range m.plan.Regions {
		if r.Backing != plan.Anonymous {
			continue
		}
		region := uffd.Region{Addr: base + uint64(r.Offset), Len: uint64(r.Len), Offset: r.Offset}
		if err := u.Register(region.Addr, region.Len); err != nil {
			return errors.Join(err, u.Close())
		}
		m.server.Regions = append(m.server.Regions, region)
	}
	return nil
}

// Serve installs pieces, which are the contents of the plan's runs, and then
// serves faults in a goroutine of its own until Close. installed is called once
// the pieces are in place. failed is called, once, if a fault cannot be served:
// it must end the process, whose threads would wait for ever.
func (m *Memory) Serve(pieces iter.Seq2[int64, []byte], limits workingset.Limits, installed func(), failed func(error)) {
	if m.server == nil {
		return
	}
	if m.plan.Record {
		recorder := workingset.NewRecorder(limits)
		m.recorder = recorder
		m.server.OnFault = func(offset int64) { recorder.Touch(uint32(offset / thaw.PageSize)) }
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.served.Go(func() {
		if err := alive(m.serve(ctx, pieces, installed)); err != nil {
			failed(fmt.Errorf("serve page faults: %w", err))
		}
	})
}

// serve keeps one thread, so that what it reads from the disk can be told from
// what others read.
func (m *Memory) serve(ctx context.Context, pieces iter.Seq2[int64, []byte], installed func()) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := m.reads.begin(); err != nil {
		return err
	}
	defer m.reads.end()
	if pieces != nil {
		if err := m.server.Install(pieces); err != nil {
			return err
		}
	}
	installed()
	return m.server.Serve(ctx)
}

// alive is err unless it only says that the process has ended, which its owner
// knows.
func alive(err error) error {
	if errors.Is(err, uffd.ErrGone) {
		return nil
	}
	return err
}

// StopRecording ends the recording and returns the set, or false when nothing
// was being recorded. Faults are served on. The set's Memory and MemoryPages
// are left for the caller to fill in.
func (m *Memory) StopRecording() (workingset.Set, bool) {
	if m.recorder == nil {
		return workingset.Set{}, false
	}
	touches, bound := m.recorder.Stop()
	m.recorder = nil
	return workingset.Set{Touches: touches, Bound: bound}, len(touches) > 0
}

// Close stops serving and releases everything. The process must have ended.
func (m *Memory) Close() error {
	m.cancel()
	m.served.Wait()
	if m.server == nil {
		return nil
	}
	return m.server.FD.Close()
}

// Counters of a guest's memory since it was mapped.
type Counters struct {
	// Trapped faults were served through userfaultfd, Installed pages put in
	// place before.
	Trapped, Installed int64
	// ServerRead is what serving read from the disk, in bytes.
	ServerRead int64
}

// Counters may be called at any time.
func (m *Memory) Counters() Counters {
	if m.server == nil {
		return Counters{}
	}
	return Counters{Trapped: m.server.Trapped(), Installed: m.server.Installed(), ServerRead: m.reads.bytes()}
}
