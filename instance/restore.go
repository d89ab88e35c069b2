package instance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"thaw"
	"thaw/plan"
	"thaw/restore"
	"thaw/snapshot"
	"thaw/vmm"
	"thaw/workingset"
)

// Way is how to restore.
type Way struct {
	Policy thaw.Policy
	// Reason says why Policy was chosen, "" when it was asked for.
	Reason string
	// OnDemand has a VMM started for it, though one may be waiting.
	OnDemand bool
	// Record has the working set recorded again, though there is one.
	Record bool
}

// Restore makes an instance of v out of its snapshot by way. Besides the
// errors of Boot, it returns one that wraps [snapshot.ErrCorrupt] or
// [snapshot.ErrStale] when the snapshot cannot be used.
func (s *Starter) Restore(ctx context.Context, v thaw.Version, way Way, t *Timeline) (*Instance, error) {
	in := s.newInstance(v, thaw.StartCold, way.Policy)
	in.Reason = way.Reason
	ctx, cancel := context.WithTimeoutCause(ctx, s.RestoreTimeout, errRestoreTimeout)
	defer cancel()
	err := s.restore(ctx, in, way, t)
	if err == nil {
		return in, nil
	}
	err = in.abandon(err)
	if errors.Is(err, workingset.ErrCorrupt) {
		err = errors.Join(err, s.Snapshots.QuarantineSet(in.set, err))
	}
	return nil, err
}

func (s *Starter) restore(ctx context.Context, in *Instance, way Way, t *Timeline) error {
	if err := s.gather(ctx, in, way, t); err != nil {
		return err
	}
	if err := t.Phase(thaw.PhaseLayout, func() error { return s.layout(ctx, in) }); err != nil {
		return err
	}
	start := time.Now()
	installed := func() { t.Add(thaw.PhasePrefetch, time.Since(start)) }
	if err := in.memory.Serve(s.Limits, installed, in.fail); err != nil {
		return err
	}
	if err := t.Phase(thaw.PhaseState, func() error { return in.vm.LoadState(ctx, in.opened.State) }); err != nil {
		return err
	}
	return t.Phase(thaw.PhaseResume, func() error {
		if err := in.memory.Watch(); err != nil {
			return err
		}
		if err := s.run(ctx, in); err != nil {
			return err
		}
		return s.resume(ctx, in, true)
	})
}

// gather does side by side what needs nothing of each other: starting a VMM,
// verifying the snapshot, and beginning to bring its pages in.
func (s *Starter) gather(ctx context.Context, in *Instance, way Way, t *Timeline) error {
	g, err := s.guest(in.Version)
	if err != nil {
		return err
	}
	m, err := s.Snapshots.Manifest(in.Version.Snapshot)
	if err != nil {
		return err
	}
	var work errgroup.Group
	work.Go(func() error {
		return t.Phase(thaw.PhaseVMM, func() error { return s.takeVMM(ctx, in, g, way) })
	})
	work.Go(func() error {
		return t.Phase(thaw.PhasePlan, func() error { return s.open(ctx, in, m) })
	})
	work.Go(func() error {
		return t.Phase(thaw.PhasePrefetch, func() error { return s.prefetch(in, m, way) })
	})
	return work.Wait()
}

// takeVMM gets a VMM that waits for a snapshot and gives it the guest's disks. One
// that was waiting may have died unseen: then another is started.
func (s *Starter) takeVMM(ctx context.Context, in *Instance, g vmm.Guest, way Way) (err error) {
	if !way.OnDemand {
		in.vm = s.VMMs.Take(g.MemoryBytes)
	}
	if in.vm != nil {
		if err := in.vm.AttachDisks(ctx, g.Disks); err == nil {
			in.Prestarted = true
			return nil
		}
		in.vm.Close()
	}
	if in.vm, err = s.Driver.Prestart(ctx, g.MemoryBytes, disksPerGuest, false); err != nil {
		return err
	}
	return in.vm.AttachDisks(ctx, g.Disks)
}

// open verifies the snapshot for this machine.
func (s *Starter) open(ctx context.Context, in *Instance, m thaw.Manifest) error {
	machine, err := s.machine(ctx, in.Version)
	if err != nil {
		return err
	}
	in.opened, err = s.Snapshots.Open(ctx, m, machine)
	return err
}

// prefetch plans the restore and begins to bring pages in. A set that cannot be
// trusted is put in quarantine, and this restore records it anew.
func (s *Starter) prefetch(in *Instance, m thaw.Manifest, way Way) error {
	in.set = s.setOf(m, in.Policy)
	err := s.begin(in, m, way.Record)
	if !errors.Is(err, workingset.ErrCorrupt) {
		return err
	}
	in.Reason = fmt.Sprintf("its %s was put in quarantine and is recorded again: %v", in.set.Name(), err)
	if err := s.Snapshots.QuarantineSet(in.set, err); err != nil {
		return err
	}
	return s.begin(in, m, true)
}

// setOf is the set that policy brings pages in by; none if it needs none, or there is none.
func (s *Starter) setOf(m thaw.Manifest, policy thaw.Policy) (set snapshot.SetFile) {
	need := plan.Needs(policy)
	if name := need.Loading + need.Working; name != "" { // one of them at most
		set, _ = s.Snapshots.SetFile(m, name) // reading it fails with more to say
	}
	return set
}

// begin makes the plan and starts it.
func (s *Starter) begin(in *Instance, m thaw.Manifest, record bool) (err error) {
	in.prefetch, in.release, err = Sources{s.Snapshots, s.Resident}.Begin(m, in.Policy, record)
	return err
}

// layout arranges guest memory in the VMM that waits for its state.
func (s *Starter) layout(ctx context.Context, in *Instance) error {
	base, err := in.vm.GuestMemory(in.opened.MemoryBytes)
	if err != nil {
		return err
	}
	in.memory, err = restore.Map(ctx, in.vm, base, in.opened.MemoryBytes, in.prefetch, in.opened.Memory)
	return err
}
