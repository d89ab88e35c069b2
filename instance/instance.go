package instance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"thaw"
	"thaw/agent"
	"thaw/procstat"
	"thaw/remote"
	"thaw/restore"
	"thaw/snapshot"
	"thaw/uffd"
	"thaw/vmm/qemu"
	"thaw/workingset"
)

// Instance is a running VM of one version that serves as many requests at once as
// that allows. Close ends it and releases everything; an error in it ends it, too.
type Instance struct {
	ID      string
	Version thaw.Version
	Start   thaw.Start
	Policy  thaw.Policy
	// Reason says why Start or Policy is not what was asked for.
	Reason  string
	Created time.Time
	// Prestarted says that its VMM was waiting for it.
	Prestarted bool
	// Resumed is what the guest has confirmed before it served.
	Resumed agent.Resumed

	vm       *qemu.VM
	conn     *agent.Conn
	prefetch *restore.Prefetch // nil after a boot, memory's once that is there
	memory   *restore.Memory   // nil after a boot
	opened   *snapshot.Opened  // nil after a boot
	set      snapshot.SetFile  // that its pages are brought in by, if there is one
	told     atomic.Bool       // why they were not
	release  func()            // of the image that it shares, nil without
	counters *procstat.Process // of the VMM
	base     usage             // when the virtual CPU began to run

	served atomic.Int64 // invocations

	mu    sync.Mutex
	cause error // why it was killed, if it was
	once  sync.Once
}

// fail kills the VM because of err, which becomes the error of whatever is
// under way.
func (in *Instance) fail(err error) {
	in.mu.Lock()
	if in.cause == nil {
		in.cause = err
	}
	in.mu.Unlock()
	in.vm.Kill()
}

// Close ends the VM. Calling it again is harmless.
func (in *Instance) Close() {
	in.once.Do(func() {
		// The VM goes first: a page must never be missing while it runs.
		if in.vm != nil {
			in.vm.Close()
		}
		if in.conn != nil {
			_ = in.conn.Close() // always nil
		}
		if in.counters != nil {
			_ = in.counters.Close() // read only
		}
		in.closeMemory()
		if in.opened != nil {
			_ = in.opened.Close() // read only
		}
	})
}

// closeMemory lets go of guest memory, which nobody sees any more.
func (in *Instance) closeMemory() {
	if in.memory != nil {
		_ = in.memory.Close() // nothing is left to lose
	} else if in.prefetch != nil {
		in.prefetch.Close()
	}
	if in.release != nil {
		in.release()
	}
}

// Done is closed when the VM has ended; it is nil without a VM.
func (in *Instance) Done() <-chan struct{} {
	if in.vm == nil {
		return nil
	}
	return in.vm.Done()
}

// PID is the VMM's process id.
func (in *Instance) PID() int { return in.vm.PID() }

// explain turns an error into what happened to the VM: what killed it or, when
// the guest is gone, how the VM ended.
func (in *Instance) explain(err error) error {
	gone := errors.Is(err, agent.ErrGone) || errors.Is(err, remote.ErrGone) || errors.Is(err, uffd.ErrGone)
	if gone {
		select {
		case <-in.vm.Done():
		case <-time.After(time.Second): // its end may be on its way
		}
	}
	in.mu.Lock()
	cause := in.cause
	in.mu.Unlock()
	if cause != nil {
		return cause
	}
	select {
	case <-in.vm.Done():
		if gone {
			return in.vm.Exited()
		}
	default:
	}
	return err
}

// grace is how much later than the agent the host gives up on an invocation.
const grace = 2 * time.Second

// Invoke runs the function once; i's deadline is set by the version's timeout. A [thaw.CodeInstance] error means that the
// instance is of no further use, as does Finished in the result.
func (in *Instance) Invoke(ctx context.Context, i agent.Invocation) (agent.Result, error) {
	if in.Version.Protocol() == thaw.ProtocolHTTP {
		return in.invokeServer(ctx, i)
	}
	in.served.Add(1)
	i.Deadline = time.Now().Add(in.Version.Timeout)
	ctx, cancel := context.WithDeadlineCause(ctx, i.Deadline.Add(grace), errHung)
	defer cancel()
	result, err := in.conn.Invoke(ctx, i)
	if err == nil {
		err = in.settle(ctx)
	}
	if err == nil || thaw.CodeOf(err) != thaw.CodeInternal {
		return result, err
	}
	return result, thaw.Errorf(thaw.CodeInstance, "instance %s failed: %w", in.ID, in.explain(err))
}

var errHung = errors.New("the guest did not answer within the function's timeout: it hangs")

// InjectNMI makes the guest's kernel panic, to see where it hangs.
func (in *Instance) InjectNMI(ctx context.Context) error { return in.vm.InjectNMI(ctx) }

// StopRecording ends a recording that this instance's start began.
func (in *Instance) StopRecording() (thaw.Manifest, workingset.Set, bool) {
	if in.memory == nil {
		return thaw.Manifest{}, workingset.Set{}, false
	}
	set, ok := in.memory.StopRecording()
	return in.opened.Manifest, set, ok
}

// Measure says of a restored instance how well the pages brought in fit, and what
// guest memory occupies. nonZero are the runs of the snapshot that count.
func (in *Instance) Measure(nonZero []workingset.Run) (restore.Measured, error) {
	return in.memory.Measure(nonZero)
}

// Served is how many invocations it was given.
func (in *Instance) Served() int64 { return in.served.Load() }

// TakePrefetchErr returns, once, why not all was brought in ahead of the guest, which is
// well all the same, and the set that it was read from. An error that wraps
// [workingset.ErrCorrupt] says that the set is of no use.
func (in *Instance) TakePrefetchErr() (set snapshot.SetFile, err error) {
	if in.memory == nil {
		return set, nil
	}
	if err = in.memory.PrefetchErr(); err == nil || in.told.Swap(true) {
		return set, nil
	}
	return in.set, err
}

// Manifest is that of the snapshot it was restored from; false after a boot.
func (in *Instance) Manifest() (thaw.Manifest, bool) {
	if in.opened == nil {
		return thaw.Manifest{}, false
	}
	return in.opened.Manifest, true
}

// usage is what a VM has cost so far.
type usage struct {
	faults  thaw.Faults
	brought int64 // pages
	read    thaw.BytesRead
}

func (u usage) minus(o usage) usage {
	return usage{
		faults: thaw.Faults{
			Trapped: u.faults.Trapped - o.faults.Trapped,
			Major:   u.faults.Major - o.faults.Major,
			Minor:   u.faults.Minor - o.faults.Minor,
		},
		brought: u.brought - o.brought,
		read: thaw.BytesRead{
			Prefetch: u.read.Prefetch - o.read.Prefetch, Server: u.read.Server - o.read.Server, VMM: u.read.VMM - o.read.VMM,
		},
	}
}

// Meter measures what one invocation costs its VM. It begins with the VM's
// virtual CPU when the instance was made for the invocation, else now.
type Meter struct {
	in   *Instance
	from usage
}

// Meter begins to measure; warm says that the instance has served before.
func (in *Instance) Meter(warm bool) Meter {
	if warm {
		return Meter{in, in.usage()}
	}
	return Meter{in, in.base}
}

// Fill puts what was used so far into the record.
func (m Meter) Fill(record *thaw.Invocation) {
	used := m.in.usage().minus(m.from)
	record.Faults, record.PagesPrefetched = used.faults, used.brought
	record.BytesBySource, record.BytesRead = used.read, used.read.Total()
}

// usage reads the counters of the VMM process and of its page-fault server.
func (in *Instance) usage() usage {
	var u usage
	if in.memory != nil {
		c := in.memory.Counters()
		u.faults.Trapped, u.brought = c.Trapped, c.Brought
		u.read.Prefetch, u.read.Server = c.PrefetchRead, c.ServerRead
	}
	if m, err := in.counters.Memory(); err == nil { // else it has ended
		u.faults.Major, u.faults.Minor = m.MajorFaults, m.MinorFaults
	}
	if n, err := in.counters.ReadBytes(); err == nil {
		u.read.VMM = n
	}
	return u
}

// RSS is the VMM's resident memory in bytes, 0 when it has ended.
func (in *Instance) RSS() int64 {
	m, err := in.counters.Memory()
	if err != nil {
		return 0
	}
	return m.RSSBytes
}

// OwnMemory is what would be free without it, in bytes: see [procstat.Own].
func (in *Instance) OwnMemory() (int64, error) {
	if in.vm == nil {
		return 0, errors.New("the instance has no VM")
	}
	return procstat.Own(in.vm.PID())
}

func (in *Instance) String() string {
	return fmt.Sprintf("%s of %s:%d", in.ID, in.Version.Function, in.Version.Number)
}
