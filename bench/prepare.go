package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"thaw"
	"thaw/bench/analysis"
	"thaw/client"
	"thaw/snapshot"
	"thaw/workingset"
)

// pin has an alias stand for one version throughout, whatever its weights.
func pin(ctx context.Context, c *client.Client, subjects []Subject) ([]Subject, error) {
	subjects = slices.Clone(subjects)
	for i, s := range subjects {
		ref, err := thaw.ParseRef(s.Function)
		if err != nil {
			return nil, err
		}
		if ref.Qualifier == "" {
			continue
		}
		d, err := Describe(ctx, c, s.Function)
		if err != nil {
			return nil, err
		}
		subjects[i].Function = thaw.RefTo(d.Function, d.Number).String()
	}
	return subjects, nil
}

// prepare records the working sets anew with the readahead that is measured, those
// of copies as well, and leaves an instance that has served.
func (b *bench) prepare(ctx context.Context, s *subject) error {
	// An instance that maps the memory file keeps its pages in memory.
	if err := b.endIdle(ctx, s); err != nil {
		return err
	}
	for i, name := range s.all() {
		d, err := b.learn(ctx, s, name, i == 0)
		if err != nil {
			return err
		}
		s.descriptions = append(s.descriptions, d)
	}
	if err := s.checkCopies(); err != nil {
		return err
	}
	d := s.descriptions[0]
	f := s.report
	f.MemoryMiB, f.SnapshotBytes, f.Files = d.MemoryBytes>>20, d.SnapshotInfo.DiskBytes, d.SnapshotInfo.Files
	f.WorkingSetPages, f.HostPages = d.SnapshotInfo.WorkingSetPages, d.SnapshotInfo.HostPages
	s.cells = b.options.cells(s.Subject, f.MemoryMiB)
	return b.warmUp(ctx, s, s.cells[0])
}

// checkCopies wants copies to be what they are said to be.
func (s *subject) checkCopies() error {
	first := s.descriptions[0]
	for _, d := range s.descriptions[1:] {
		if d.Images != first.Images || d.MemoryBytes != first.MemoryBytes {
			return thaw.Errorf(thaw.CodeInvalid, "function %s is no copy of %s: deploy the same code with the same settings", d.Function, first.Function)
		}
	}
	return nil
}

// learn has the sets of the function called name recorded, looks at what it
// touches if asked to, and describes it.
func (b *bench) learn(ctx context.Context, s *subject, name string, look bool) (d thaw.Description, err error) {
	if d, err = Describe(ctx, b.client, name); err != nil {
		return d, err
	}
	var measured *workingset.Set
	if in := s.Inputs[0]; look && string(in.Event) != string(s.Recorded.Event) {
		if measured, err = b.trace(ctx, s, d, in); err != nil {
			return d, err
		}
	}
	recorded, err := b.trace(ctx, s, d, s.Recorded)
	if err != nil {
		return d, err
	}
	if look {
		if err := s.analyse(d, recorded, measured); err != nil {
			return d, err
		}
	}
	if err := b.record(ctx, s, d, s.Recorded, thaw.PolicyFaaSnap); err != nil {
		return d, err
	}
	return Describe(ctx, b.client, name) // with the sets that are there now
}

// trace records the first touches of an input and reads them.
func (b *bench) trace(ctx context.Context, s *subject, d thaw.Description, in Input) (*workingset.Set, error) {
	if err := b.record(ctx, s, d, in, thaw.PolicyThaw); err != nil {
		return nil, err
	}
	set, err := storeOf(d).WorkingSet(d.SnapshotInfo.Manifest, thaw.FileWorkingSet)
	if err != nil {
		return nil, fmt.Errorf("read what was recorded: %w", err)
	}
	return &set, nil
}

// storeOf is the daemon's store, to be read only.
func storeOf(d thaw.Description) *snapshot.Store {
	return snapshot.View(filepath.Dir(d.SnapshotInfo.Folder))
}

// analyse reports what the working set is made of; measured is nil when only one
// input is there.
func (s *subject) analyse(d thaw.Description, recorded, measured *workingset.Set) error {
	nonZero, err := storeOf(d).NonZero(d.SnapshotInfo.Manifest)
	if err != nil {
		return err
	}
	m := analysis.Of(*recorded, nonZero)
	if measured != nil {
		inputs := analysis.Compare(*recorded, *measured)
		m.Inputs = &inputs
	}
	s.report.Memory = &m
	return nil
}

// Describe describes a function that has a snapshot.
func Describe(ctx context.Context, c *client.Client, name string) (thaw.Description, error) {
	d, err := c.Describe(ctx, name)
	if err == nil && d.SnapshotInfo == nil {
		err = thaw.Errorf(thaw.CodeConflict, "function %s has no snapshot to restore: %s", name, d.Problem)
	}
	return d, err
}

// record has the set that policy learns recorded in place of any before, by a start
// from the disk, as the first start of a snapshot is.
func (b *bench) record(ctx context.Context, s *subject, d thaw.Description, in Input, policy thaw.Policy) error {
	b.tell(s.Subject, "recording for "+string(policy))
	if err := chill(d); err != nil {
		return err
	}
	reply, err := Record(ctx, b.client, thaw.RefTo(d.Function, d.Number).String(), in, policy)
	if err != nil {
		return err
	}
	if of, err := thaw.ParseRef(s.Function); err == nil && of.Function == d.Function { // not a copy
		s.report.Recordings = append(s.report.Recordings, recordingOf(in, policy, reply.Invocation))
	}
	return nil
}

// Record has the set that policy learns recorded in place of any before.
func Record(ctx context.Context, c *client.Client, function string, in Input, policy thaw.Policy) (thaw.Reply, error) {
	reply, err := c.InvokeRecorded(ctx, thaw.InvokeRequest{Function: function, Payload: in.Event, Policy: policy, Record: true, Discard: true})
	if err := in.failed(reply, err); err != nil {
		return reply, err
	}
	if reply.PagesRecorded == 0 {
		return reply, thaw.Errorf(thaw.CodeConflict, "no working set of function %s was recorded for %s: see the daemon's log", function, policy)
	}
	return reply, nil
}

// recordingOf splits the time of a recording at the function's reply.
func recordingOf(in Input, policy thaw.Policy, i thaw.Invocation) Recording {
	r := Recording{Policy: policy, Input: in.Name, Pages: i.PagesRecorded, InvocationMS: i.DurationMS}
	for _, span := range i.Spans {
		if span.Phase == thaw.PhaseInvoke {
			r.InvocationMS = float64(span.StartUS+span.DurationUS) / 1e3
		}
	}
	r.PublishMS = i.DurationMS - r.InvocationMS
	return r
}

// warmUp leaves as many idle instances as start at the same time, each of which has
// just served. They were restored by reap, which maps no file whose pages are to be
// dropped.
func (b *bench) warmUp(ctx context.Context, s *subject, at Coordinates) error {
	in, idle := s.input(at), map[string]int{}
	all, err := b.client.Instances(ctx)
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.State == thaw.InstanceIdle {
			idle[i.Function]++
		}
	}
	work, ctx := errgroup.WithContext(ctx)
	for _, name := range s.functions(at) {
		idle[name]--
		r := thaw.InvokeRequest{Function: name, Payload: in.Event, Policy: thaw.PolicyReap, Frozen: true, Cold: idle[name] < 0}
		work.Go(func() error { return in.failed(b.client.Invoke(ctx, r)) })
	}
	return work.Wait()
}

// Settle waits until no VMM is being started to wait for a restore, which would
// be measured along, none ends, which a start could share memory with, and, when pool
// says so, until one waits.
func Settle(ctx context.Context, c *client.Client, pool bool) error {
	for deadline := time.Now().Add(30 * time.Second); ; {
		info, err := c.Info(ctx)
		switch {
		case err != nil:
			return err
		case info.PrestartedFull && info.Ending == 0 && (info.Prestarted > 0 || !pool):
			return nil
		case time.Now().After(deadline):
			return thaw.Errorf(thaw.CodeConflict, "the daemon does not settle: %d VMMs wait (full: %t; start it with --prestarted 1), %d instances are ending", info.Prestarted, info.PrestartedFull, info.Ending)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
