package bench

import (
	"context"
	"time"

	"thaw"
	"thaw/client"
)

// prepare records the working sets anew with the readahead that is measured, and
// leaves an instance that has served.
func (b *bench) prepare(ctx context.Context) error {
	for _, s := range b.options.Subjects {
		// An instance that maps the memory file keeps its pages in memory.
		if err := b.client.EndIdle(ctx, s.Function); err != nil {
			return err
		}
		for _, p := range []thaw.Policy{thaw.PolicyThaw, thaw.PolicyFaaSnap} {
			b.tell(s, "recording for "+string(p))
			if err := b.record(ctx, s, p); err != nil {
				return err
			}
		}
		if err := b.warmUp(ctx, s); err != nil {
			return err
		}
		d, err := describe(ctx, b.client, s.Function)
		if err != nil {
			return err
		}
		b.descriptions = append(b.descriptions, d)
		b.report.Functions = append(b.report.Functions, Function{
			Name: s.Function, MemoryMiB: d.MemoryBytes >> 20, SnapshotBytes: d.SnapshotInfo.DiskBytes,
			WorkingSetPages: d.SnapshotInfo.WorkingSetPages, HostPages: d.SnapshotInfo.HostPages,
		})
	}
	return nil
}

// describe describes a function that has a snapshot.
func describe(ctx context.Context, c *client.Client, name string) (thaw.Description, error) {
	d, err := c.Describe(ctx, name)
	if err == nil && d.SnapshotInfo == nil {
		err = thaw.Errorf(thaw.CodeConflict, "function %s has no snapshot to restore: %s", name, d.Problem)
	}
	return d, err
}

// record has the set that policy learns recorded in place of any before.
func (b *bench) record(ctx context.Context, s Subject, policy thaw.Policy) error {
	reply, err := b.client.InvokeRecorded(ctx, thaw.InvokeRequest{Function: s.Function, Payload: s.Recorded, Policy: policy, Record: true, Discard: true})
	if err := failed(reply, err); err != nil {
		return err
	}
	if reply.PagesRecorded == 0 {
		return thaw.Errorf(thaw.CodeConflict, "no working set of function %s was recorded for %s: see the daemon's log", s.Function, policy)
	}
	return nil
}

// warmUp leaves an instance that has served. It was restored by reap, which maps
// no file whose pages are to be dropped.
func (b *bench) warmUp(ctx context.Context, s Subject) error {
	return failed(b.client.Invoke(ctx, thaw.InvokeRequest{Function: s.Function, Payload: s.Measured, Policy: thaw.PolicyReap, Frozen: true}))
}

// settle waits until no VMM is being started to wait for a restore, which would
// be measured along, and for those kinds that need one, that one waits.
func (b *bench) settle(ctx context.Context, k Kind) error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		info, err := b.client.Info(ctx)
		if err != nil {
			return err
		}
		if info.PrestartedFull && (info.Prestarted > 0 || !k.Pool()) {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return thaw.Errorf(thaw.CodeConflict, "the daemon keeps no VMM waiting: start it with --prestarted 1")
}
