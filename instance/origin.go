package instance

import (
	"context"
	"fmt"

	"thaw"
	"thaw/agent"
	"thaw/snapshot"
)

// Origin is the guest that a snapshot is taken of. Its steps are taken in order, each
// once: Boot, Init, Prime any number of times if that was announced, Quiesce, Publish.
// An error of one ends it, as does Close, which its owner calls in any case.
type Origin struct {
	starter *Starter
	in      *Instance
	draft   *snapshot.Draft
	prime   bool
	t       *Timeline
}

// Origin begins a snapshot of v; prime announces sample events. Nothing runs yet.
func (s *Starter) Origin(v thaw.Version, prime bool) (*Origin, error) {
	draft, err := s.Snapshots.Draft(v.MemoryBytes)
	if err != nil {
		return nil, err
	}
	draft.Function, draft.Version = v.Function, v.Number
	return &Origin{starter: s, in: s.newInstance(v, thaw.StartBoot, thaw.PolicyBoot), draft: draft, prime: prime, t: NewTimeline()}, nil
}

// SnapshotID is what the snapshot will be called.
func (o *Origin) SnapshotID() string { return o.draft.ID() }

// Close ends the VM and removes what was not published.
func (o *Origin) Close() error {
	o.in.Close()
	return o.draft.Discard()
}

// bounded runs do for at most the boot's time.
func (o *Origin) bounded(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.starter.BootTimeout, errBootTimeout)
	defer cancel()
	if err := do(ctx); err != nil {
		return o.in.abandon(err)
	}
	return nil
}

// Boot boots the guest. Errors are those of [Starter.Boot], here and below.
func (o *Origin) Boot(ctx context.Context) error {
	return o.bounded(ctx, func(ctx context.Context) error { return o.starter.bootGuest(ctx, o.in, o.draft, o.t) })
}

// Init starts the function, until it waits for work or for the snapshot.
func (o *Origin) Init(ctx context.Context) error {
	return o.bounded(ctx, func(ctx context.Context) error {
		return o.in.init(ctx, agent.Function{SnapStart: true, Prime: o.prime}, o.t)
	})
}

// Prime invokes the function with a sample event.
func (o *Origin) Prime(ctx context.Context, i agent.Invocation) (agent.Result, error) {
	return o.in.Invoke(ctx, i)
}

// Quiesce has the function run its hooks and the guest settle.
func (o *Origin) Quiesce(ctx context.Context) error {
	return o.bounded(ctx, func(ctx context.Context) error {
		if o.prime {
			if err := o.in.conn.Primed(ctx); err != nil {
				return err
			}
		}
		return o.in.conn.Quiesce(ctx)
	})
}

// Publish saves the guest's state, ends its VM, the last one who could write to the
// draft's files, and makes the snapshot visible.
func (o *Origin) Publish(ctx context.Context) (m thaw.Manifest, err error) {
	err = o.bounded(ctx, func(ctx context.Context) error { return o.in.vm.SaveState(ctx, o.draft.State) })
	if err != nil {
		return m, err
	}
	o.in.Close()
	machine, err := o.starter.machine(ctx, o.in.Version)
	if err != nil {
		return m, err
	}
	return o.draft.Publish(ctx, machine, o.in.Version.Images)
}

// Prove restores v by way and invokes it with each event in turn, on the same
// instance, which is returned for what it has recorded, and which the caller closes.
// A failure of the function is a [PrimeError].
func (s *Starter) Prove(ctx context.Context, v thaw.Version, way Way, events []agent.Invocation) (*Instance, error) {
	in, err := s.Restore(ctx, v, way, NewTimeline())
	if err != nil {
		return nil, err
	}
	for i, e := range events {
		result, err := in.Invoke(ctx, e)
		if err == nil {
			err = FailedEvent(i, len(events), result)
		}
		if err != nil {
			in.Close()
			return nil, err
		}
	}
	return in, nil
}

// PrimeError is a sample event that the function fails at. Its code is
// [thaw.CodeFunction].
type PrimeError struct {
	// Event counts from 1 to Of.
	Event, Of int
	thaw.FunctionError
}

// Error names the event, the error's type and message, and its trace.
func (e *PrimeError) Error() string {
	return fmt.Sprintf("prime event %d of %d failed: %s", e.Event, e.Of, agent.Describe(e.FunctionError))
}

// FailedEvent returns a [PrimeError] when result, of event i of n, is a failure of the
// function.
func FailedEvent(i, n int, result agent.Result) error {
	if result.FunctionError == "" {
		return nil
	}
	return thaw.Errorf(thaw.CodeFunction, "%w", &PrimeError{i + 1, n, result.Failure()})
}
