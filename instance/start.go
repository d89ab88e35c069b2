package instance

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"time"

	"thaw"
	"thaw/agent"
	"thaw/image"
	"thaw/procstat"
	"thaw/resident"
	"thaw/snapshot"
	"thaw/vmm"
	"thaw/vmm/qemu"
	"thaw/workingset"
)

// Starter makes instances. Its fields are set once; its methods may be called
// concurrently.
type Starter struct {
	Driver    *qemu.Driver
	VMMs      *Prestarted
	Snapshots *snapshot.Store
	Images    *image.Store
	// Resident are the images that clones share.
	Resident *resident.Cache
	Limits   workingset.Limits
	// BootTimeout bounds a boot and a function's init, RestoreTimeout a
	// restore.
	BootTimeout, RestoreTimeout time.Duration
	// Secrets returns the values of secrets, for guests that no snapshot is made of.
	Secrets func(names []string) ([]thaw.SecretValue, error)
	// OnLog is given each line that a function writes. It must return soon.
	OnLog func(thaw.LogLine)
}

// machine is what snapshots of v made now depend on.
func (s *Starter) machine(ctx context.Context, v thaw.Version) (thaw.Machine, error) {
	m, err := s.Driver.Machine(ctx)
	m.Kernel = v.Images.Kernel
	return m, err
}

// The causes of a start that took too long.
var (
	errBootTimeout    = errors.New("the guest did not boot in time")
	errRestoreTimeout = errors.New("the guest did not come back from its snapshot in time")
)

// Boot makes an instance of v by booting it. Phases go to t. A function that
// fails to start is a [thaw.CodeFunction] error, anything else a
// [thaw.CodeInstance] one.
func (s *Starter) Boot(ctx context.Context, v thaw.Version, t *Timeline) (*Instance, error) {
	in := s.newInstance(v, thaw.StartBoot, thaw.PolicyBoot)
	ctx, cancel := context.WithTimeoutCause(ctx, s.BootTimeout, errBootTimeout)
	defer cancel()
	if err := s.bootGuest(ctx, in, nil, t); err != nil {
		return nil, in.abandon(err)
	}
	if err := in.init(ctx, agent.Function{}, t); err != nil {
		return nil, in.abandon(err)
	}
	return in, nil
}

func (s *Starter) newInstance(v thaw.Version, start thaw.Start, policy thaw.Policy) *Instance {
	return &Instance{ID: newID(), Version: v, Start: start, Policy: policy, Created: time.Now()}
}

// newID is also a host name in the guest.
func newID() string { return "i-" + strings.ToLower(rand.Text()[:16]) }

// abandon closes an instance whose start failed.
func (in *Instance) abandon(err error) error {
	if in.vm != nil {
		err = in.explain(err)
	}
	in.Close()
	if thaw.CodeOf(err) != thaw.CodeInternal {
		return err
	}
	return thaw.Errorf(thaw.CodeInstance, "start of instance %s failed: %w", in, err)
}

// bootGuest fills in a new instance: a guest with its own clock, entropy and
// identity. Its memory is draft's, unless that is nil.
func (s *Starter) bootGuest(ctx context.Context, in *Instance, draft *snapshot.Draft, t *Timeline) error {
	g, err := s.guest(in.Version)
	if err != nil {
		return err
	}
	var memory *os.File
	if draft != nil {
		memory = draft.Memory
	}
	err = t.Phase(thaw.PhaseVMM, func() (err error) { in.vm, err = s.Driver.Boot(ctx, g, memory); return err })
	if err != nil {
		return err
	}
	if err := t.Phase(thaw.PhaseBoot, func() error { return s.run(ctx, in) }); err != nil {
		return err
	}
	return t.Phase(thaw.PhaseResume, func() error { return s.resume(ctx, in, draft == nil) })
}

// init starts the function of a guest that was booted. fn says what comes after.
func (in *Instance) init(ctx context.Context, fn agent.Function, t *Timeline) error {
	fn.Name, fn.Version, fn.Settings, fn.Container = in.Version.Function, in.Version.Number, in.Version.Settings, in.Version.Container
	return t.Phase(thaw.PhaseInit, func() error { return in.conn.Init(ctx, fn) })
}

// guest is the blueprint of v's VM.
func (s *Starter) guest(v thaw.Version) (vmm.Guest, error) {
	f, err := s.Images.Files(v.Images)
	if err != nil {
		return vmm.Guest{}, err
	}
	return vmm.Guest{Kernel: f.Kernel, Initramfs: f.Initramfs, MemoryBytes: v.MemoryBytes, Disks: []string{f.Root, f.Code}}, nil
}

// run starts the virtual CPU and waits for the agent.
func (s *Starter) run(ctx context.Context, in *Instance) error {
	in.conn = agent.NewConn(in.vm.Channel(), s.logger(in))
	counters, err := procstat.Open(in.vm.PID())
	if err != nil {
		return err
	}
	in.counters = counters
	// What the VMM did before is its own, but what was trapped, installed and
	// read is all for the guest.
	in.base = usage{faults: in.usage().faults}
	in.base.faults.Trapped = 0
	if err := in.vm.Cont(ctx); err != nil {
		return err
	}
	return in.conn.Sync(ctx)
}

// resume makes the guest an instance of its own; secret says that it gets its
// function's secrets, before a line of that runs.
func (s *Starter) resume(ctx context.Context, in *Instance, secret bool) (err error) {
	if secret {
		if err := s.give(ctx, in); err != nil {
			return err
		}
	}
	in.Resumed, err = in.conn.Resume(ctx, in.ID)
	return err
}

func (s *Starter) give(ctx context.Context, in *Instance) error {
	values, err := s.Secrets(in.Version.Secrets)
	if err != nil {
		return err
	}
	return in.conn.Secrets(ctx, values)
}

func (s *Starter) logger(in *Instance) func(agent.Log) {
	return func(l agent.Log) {
		s.OnLog(thaw.LogLine{
			Time: l.Time, Function: in.Version.Function, Version: in.Version.Number, Instance: in.ID,
			RequestID: l.RequestID, Stream: l.Stream, Text: l.Text,
		})
	}
}
