package bench

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"thaw"
)

// sample takes one sample of each clone.
func (b *bench) sample(ctx context.Context, s *subject, at Coordinates) ([]Sample, error) {
	if err := b.setUp(ctx, s, at); err != nil {
		return nil, err
	}
	samples, names, in := make([]Sample, at.Clones), s.functions(at), s.input(at)
	work, ctx := errgroup.WithContext(ctx)
	for i := range samples {
		work.Go(func() (err error) {
			samples[i], err = b.invoke(ctx, names[i], in, at)
			return err
		})
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	return samples, check(samples, at)
}

// setUp makes the page cache and the pool what a start at these coordinates wants
// them to be, and verifies it. Nothing happens between that and the invocations.
func (b *bench) setUp(ctx context.Context, s *subject, at Coordinates) error {
	if at.Kind == KindWarm {
		return b.warmUp(ctx, s, at)
	}
	if b.report.Clones > 1 { // many that idle would take memory from those that start
		if err := b.endIdle(ctx, s); err != nil {
			return err
		}
	}
	if err := Settle(ctx, b.client, at.Kind.Pool()); err != nil {
		return err
	}
	for i := range s.descriptions {
		if i > 0 && at.Snapshots == SameSnapshot || i >= at.Clones {
			break
		}
		if err := arrange(s.descriptions[i], at.Kind); err != nil {
			return err
		}
	}
	return nil
}

// arrange makes the page cache what kind k wants for one function.
func arrange(d thaw.Description, k Kind) error {
	if k.cached() {
		return fill(d)
	}
	return chill(d)
}

func (b *bench) invoke(ctx context.Context, function string, in Input, at Coordinates) (Sample, error) {
	r := thaw.InvokeRequest{Function: function, Payload: in.Event, Policy: at.Kind.Policy(), Frozen: true}
	if at.Kind != KindWarm {
		r.Cold, r.Discard, r.OnDemand = true, true, !at.Kind.Pool()
	}
	start := time.Now()
	reply, err := b.client.Invoke(ctx, r)
	wall := time.Since(start)
	if err := in.failed(reply, err); err != nil {
		return Sample{}, err
	}
	record, err := b.client.Invocation(ctx, reply.ID)
	return Sample{Coordinates: at, WallMS: float64(wall.Microseconds()) / 1e3, Invocation: record}, err
}

// failed is what went wrong with an invocation, or with its function.
func (in Input) failed(reply thaw.Reply, err error) error {
	switch {
	case thaw.CodeOf(err) == thaw.CodeThrottled:
		return thaw.Errorf(thaw.CodeThrottled, "%w; thaw serve --max-instances and --max-per-function allow more", err)
	case err != nil:
		return err
	case reply.FunctionError != "":
		return thaw.Errorf(thaw.CodeFunction, "function %s failed: %s: %s", reply.Function, reply.FunctionError, reply.Payload)
	case in.Check == nil:
		return nil
	}
	if err := in.Check(reply.Payload); err != nil {
		return thaw.Errorf(thaw.CodeFunction, "function %s is wrong: %w", reply.Function, err)
	}
	return nil
}

// check refuses samples that are not what they should be.
func check(samples []Sample, at Coordinates) error {
	k, read := at.Kind, int64(0)
	for _, s := range samples {
		read += s.BytesRead
		switch {
		case s.Start != k.Start():
			return thaw.Errorf(thaw.CodeConflict, "the start was %s, not %s: is something else using the function? %s", s.Start, k.Start(), s.Reason)
		case s.PhasesMS[thaw.PhaseQueue] > 0:
			return thaw.Errorf(thaw.CodeThrottled, "a start waited %.1f ms for room; thaw serve --max-instances, --max-per-function and --memory-budget allow more", s.PhasesMS[thaw.PhaseQueue])
		case k.Pool() && !s.Prestarted && len(samples) == 1:
			return thaw.Errorf(thaw.CodeConflict, "somebody else took the VMM that was waiting: is something else using the daemon?")
		case s.Layout != nil && s.Layout.Recording != "":
			return thaw.Errorf(thaw.CodeConflict, "the start recorded %s instead of using its set: %s", s.Layout.Recording, s.Reason)
		case at.Snapshots == DifferentSnapshots && k.reads() && s.BytesRead == 0:
			return thaw.Errorf(thaw.CodeConflict, "nothing was read from the disk of the snapshot of %s: is another instance of it running?", s.Function)
		}
	}
	if k.reads() && read == 0 {
		return thaw.Errorf(thaw.CodeConflict, "nothing was read from the disk: is another instance of the function running?")
	}
	return nil
}
