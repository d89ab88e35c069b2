// Package bench measures how invocations start. Samples are raw and complete:
// what is compared is interleaved in one run, and a cold start counts as cold
// only when the page cache was seen to be empty.
package bench

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"thaw"
	"thaw/client"
)

// Options choose what is measured.
type Options struct {
	Subjects []Subject
	// N is how many samples of each kind are taken.
	N int
	// Kinds are what takes turns, in this order.
	Kinds []Kind
	// Clones is how many invocations start at the same time.
	Clones int
	// ReadaheadKiB is the disk's readahead while measuring; 0 leaves it.
	// Linux's default is 128; a large one reads a snapshot whole at the first
	// fault and hides what a policy does.
	ReadaheadKiB int
}

// Subject is a function with the event that its working sets are recorded with,
// and the one that is measured.
type Subject struct {
	Function string
	Recorded []byte
	Measured []byte
}

// Sample is one invocation.
type Sample struct {
	Kind  Kind `json:"kind"`
	Round int  `json:"round"`
	// Clone counts those that started at the same time, from 0.
	Clone int `json:"clone,omitempty"`
	// WallMS is the time that the client saw.
	WallMS float64 `json:"wall_ms"`
	thaw.Invocation
}

// Function is what was measured of one function.
type Function struct {
	Name      string `json:"function"`
	MemoryMiB int64  `json:"guest_memory_mib"`
	// SnapshotBytes is what the snapshot occupies on the disk, its sets included.
	SnapshotBytes int64 `json:"snapshot_bytes"`
	// WorkingSetPages is how many pages the trace of first touches held, HostPages
	// how many FaaSnap's recording saw.
	WorkingSetPages int64    `json:"working_set_pages"`
	HostPages       int64    `json:"host_pages"`
	Samples         []Sample `json:"samples"`
}

// Report is a run.
type Report struct {
	Environment Environment `json:"environment"`
	Clones      int         `json:"clones"`
	Functions   []Function  `json:"functions"`
}

// Progress is told of what is done next, after done of total samples.
type Progress func(done, total int, what string)

// Run measures, as root and on the daemon's machine. The disk's readahead is put
// back before Run returns, also when ctx ends it. What was measured until an error
// is returned with it.
func Run(ctx context.Context, c *client.Client, o Options, progress Progress) (r Report, err error) {
	first, err := describe(ctx, c, o.Subjects[0].Function)
	if err != nil {
		return r, err
	}
	r.Clones = max(1, o.Clones)
	putBack, env, err := environment(ctx, c, first, o.ReadaheadKiB)
	if err != nil {
		return r, err
	}
	defer putBack()
	r.Environment = env
	b := bench{client: c, options: o, progress: progress, report: &r}
	if err := b.prepare(ctx); err != nil {
		return r, err
	}
	for round := range o.N {
		if err := b.round(ctx, round+1); err != nil {
			return r, fmt.Errorf("round %d: %w", round+1, err)
		}
	}
	return r, nil
}

// bench is a run under way.
type bench struct {
	client       *client.Client
	options      Options
	progress     Progress
	report       *Report
	descriptions []thaw.Description // by subject
	done         int
}

// tell tells of progress.
func (b *bench) tell(s Subject, what string) {
	b.progress(b.done, b.options.N*len(b.options.Kinds)*len(b.options.Subjects), s.Function+" "+what)
}

// round takes one sample of each kind of each function.
func (b *bench) round(ctx context.Context, round int) error {
	for i, s := range b.options.Subjects {
		for _, k := range b.options.Kinds {
			b.tell(s, string(k))
			samples, err := b.sample(ctx, s, b.descriptions[i], k)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", s.Function, k, err)
			}
			for clone := range samples {
				samples[clone].Round, samples[clone].Clone = round, clone
			}
			b.report.Functions[i].Samples = append(b.report.Functions[i].Samples, samples...)
			b.done++
		}
	}
	return nil
}

// sample takes one sample of each clone.
func (b *bench) sample(ctx context.Context, s Subject, d thaw.Description, k Kind) ([]Sample, error) {
	if err := b.setUp(ctx, s, d, k); err != nil {
		return nil, err
	}
	samples := make([]Sample, b.report.Clones)
	work, ctx := errgroup.WithContext(ctx)
	for i := range samples {
		work.Go(func() (err error) {
			samples[i], err = b.invoke(ctx, s, k)
			return err
		})
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	return samples, check(samples, k)
}

// setUp makes the page cache and the pool what kind k wants them to be, and
// verifies it. Nothing happens between that and the invocation.
func (b *bench) setUp(ctx context.Context, s Subject, d thaw.Description, k Kind) error {
	if k == KindWarm {
		return b.warmUp(ctx, s)
	}
	if err := b.settle(ctx, k); err != nil {
		return err
	}
	if k.cached() {
		return fill(d)
	}
	return chill(d)
}

func (b *bench) invoke(ctx context.Context, s Subject, k Kind) (Sample, error) {
	r := thaw.InvokeRequest{Function: s.Function, Payload: s.Measured, Policy: k.Policy(), Frozen: true}
	if k != KindWarm {
		r.Cold, r.Discard, r.OnDemand = true, true, !k.Pool()
	}
	start := time.Now()
	reply, err := b.client.Invoke(ctx, r)
	wall := time.Since(start)
	if err := failed(reply, err); err != nil {
		return Sample{}, err
	}
	record, err := b.client.Invocation(ctx, reply.ID)
	return Sample{Kind: k, WallMS: float64(wall.Microseconds()) / 1e3, Invocation: record}, err
}

// failed is what went wrong with an invocation, or with its function.
func failed(reply thaw.Reply, err error) error {
	if err == nil && reply.FunctionError != "" {
		return thaw.Errorf(thaw.CodeFunction, "function %s failed: %s: %s", reply.Function, reply.FunctionError, reply.Payload)
	}
	return err
}

// check refuses samples that are not what they should be.
func check(samples []Sample, k Kind) error {
	read := int64(0)
	for _, s := range samples {
		read += s.BytesRead
		switch {
		case s.Start != k.Start():
			return thaw.Errorf(thaw.CodeConflict, "the start was %s, not %s: is something else using the function? %s", s.Start, k.Start(), s.Reason)
		case k.Pool() && !s.Prestarted && len(samples) == 1:
			return thaw.Errorf(thaw.CodeConflict, "somebody else took the VMM that was waiting: is something else using the daemon?")
		case s.Layout != nil && s.Layout.Recording != "":
			return thaw.Errorf(thaw.CodeConflict, "the start recorded %s instead of using its set: %s", s.Layout.Recording, s.Reason)
		}
	}
	if k.Start() == thaw.StartCold && !k.cached() && read == 0 {
		return thaw.Errorf(thaw.CodeConflict, "nothing was read from the disk: is another instance of the function running?")
	}
	return nil
}
