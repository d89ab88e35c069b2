package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"thaw"
	"thaw/agent"
	"thaw/instance"
	"thaw/internal/uuid"
)

// takeSnapshot boots the version, lets its function start and serve the sample events,
// and publishes a snapshot of that; of few at a time: a guest that boots is a core at
// work.
func (p *publication) takeSnapshot(ctx context.Context) (err error) {
	free, err := p.queueUp(ctx)
	if err != nil {
		return err
	}
	defer free()
	v := &p.record.Version
	v.Snapshot, v.Problem = "", ""
	var o *instance.Origin
	defer func() {
		if o != nil {
			err = errors.Join(err, o.Close())
		}
	}()
	if err := p.step(ctx, thaw.StepBoot, func() (_ string, err error) {
		if o, err = p.daemon.starter.Origin(*v, len(v.Prime) > 0); err != nil {
			return "", err
		}
		return "the guest is up", o.Boot(ctx)
	}); err != nil {
		return err
	}
	if err := p.step(ctx, thaw.StepInit, func() (string, error) { return "the function is ready", o.Init(ctx) }); err != nil {
		return err
	}
	if len(v.Prime) > 0 {
		if err := p.step(ctx, thaw.StepPrime, func() (string, error) { return p.prime(ctx, o) }); err != nil {
			return err
		}
	}
	if err := p.step(ctx, thaw.StepQuiesce, func() (string, error) { return "hooks have run, the guest is silent", o.Quiesce(ctx) }); err != nil {
		return err
	}
	return p.save(ctx, o)
}

// queueUp waits until few others boot.
func (p *publication) queueUp(ctx context.Context) (free func(), err error) {
	d := p.daemon
	if len(d.booting) == cap(d.booting) {
		p.say("waiting for others that boot")
	}
	select {
	case d.booting <- struct{}{}:
		return func() { <-d.booting }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// save publishes the snapshot, whose id is noted before anybody can see it.
func (p *publication) save(ctx context.Context, o *instance.Origin) error {
	p.record.Version.Snapshot = o.SnapshotID()
	return p.step(ctx, thaw.StepSnapshot, func() (string, error) {
		m, err := o.Publish(ctx)
		return fmt.Sprintf("%d MiB of %d MiB guest memory are in use", m.NonZeroPages*thaw.PageSize>>20, m.MemoryBytes>>20), err
	})
}

// samples returns up to n sample events.
func (p *publication) samples(n int) []agent.Invocation {
	var all []agent.Invocation
	for _, event := range p.record.Version.Prime[:min(n, len(p.record.Version.Prime))] {
		all = append(all, agent.Invocation{RequestID: uuid.New(), Payload: event})
	}
	return all
}

// prime runs the sample events. One that fails fails the publish, with the end of what
// the function wrote meanwhile.
func (p *publication) prime(ctx context.Context, o *instance.Origin) (string, error) {
	events := p.samples(thaw.MaxPrimeEvents)
	for i, event := range events {
		p.say(fmt.Sprintf("event %d of %d", i+1, len(events)))
		tail := p.daemon.logs.capture(thaw.Invocation{ID: event.RequestID}, true)
		result, err := o.Prime(ctx, event)
		written := tail.end()
		if err == nil {
			err = instance.FailedEvent(i, len(events), result)
		}
		if err != nil {
			return "", withOutput(err, written)
		}
	}
	return plural(len(events), "event"), nil
}

// withOutput adds the end of what the function wrote to its error.
func withOutput(err error, written []byte) error {
	if len(written) == 0 || thaw.CodeOf(err) != thaw.CodeFunction {
		return err
	}
	return thaw.Errorf(thaw.CodeFunction, "%w\nthe last it wrote:\n%s", err, written)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// verify proves the snapshot by a restore, in which the guest confirms its clock,
// entropy and identity, and by an invocation with the first sample event, if there is
// one. A snapshot that fails is put in quarantine, and the version boots.
func (p *publication) verify(ctx context.Context) error {
	return p.step(ctx, thaw.StepVerify, func() (string, error) {
		start := time.Now()
		in, events, err := p.prove(ctx, instance.Way{Policy: thaw.PolicyVanilla}, 1)
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if err := p.daemon.explainFull(err); thaw.CodeOf(err) == thaw.CodeUnavailable {
			return "", err // that is not the snapshot's fault
		}
		if err != nil {
			return "FAILED, every start will be a boot: " + err.Error(), p.giveUp(err)
		}
		in.Close()
		text := fmt.Sprintf("restored in %d ms, clock right within %.1f ms, entropy and identity its own", time.Since(start).Milliseconds(), ms(in.Resumed.ClockError))
		if events > 0 {
			text += "; it replies to prime event 1"
		}
		return text, nil
	})
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// prove restores the version and invokes it with up to n sample events, once more if
// that failed by bad luck. The caller closes the instance.
func (p *publication) prove(ctx context.Context, way instance.Way, n int) (in *instance.Instance, events int, err error) {
	d, v := p.daemon, p.record.Version
	for range 2 {
		samples := p.samples(n)
		in, err = d.starter.Prove(ctx, v, way, samples)
		if err == nil || !again(ctx, err) {
			return in, len(samples), err
		}
	}
	return in, 0, err
}

// giveUp has the version do without its snapshot, loudly.
func (p *publication) giveUp(reason error) error {
	d, v := p.daemon, &p.record.Version
	id := v.Snapshot
	v.Snapshot, v.Problem = "", fmt.Sprintf("its snapshot could not be verified: %v", reason)
	d.log.Error("snapshot is put in quarantine, every start will be a boot", "function", v.Function, "version", v.Number, "snapshot", id, "error", reason)
	return d.snapshots.Quarantine(id, reason)
}

// recordSet restores the snapshot once more, invokes it with the sample events, and
// records what that touches, so that the first cold start of a user has a working set
// already. Without events this is what every clone touches before its function runs;
// the next starts learn the rest. What goes wrong here costs the set only.
func (p *publication) recordSet(ctx context.Context) error {
	v := p.record.Version
	if v.Snapshot == "" || v.SkipRecord {
		return nil
	}
	return p.step(ctx, thaw.StepRecord, func() (string, error) {
		pages, events, err := p.recordOnce(ctx)
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if err != nil {
			p.daemon.log.Warn("no working set is recorded, the first cold start will", "function", v.Function, "version", v.Number, "error", err)
			return "not recorded, the first cold start will: " + err.Error(), nil
		}
		by := "by a restore alone, as there are no prime events"
		if events > 0 {
			by = "by " + plural(events, "prime event")
		}
		return fmt.Sprintf("%d pages, %s", pages, by), nil
	})
}

func (p *publication) recordOnce(ctx context.Context) (pages, events int, err error) {
	in, events, err := p.prove(ctx, instance.Way{Policy: thaw.PolicyThaw, Record: true}, thaw.MaxPrimeEvents)
	if err != nil {
		return 0, 0, err
	}
	defer in.Close()
	m, set, ok := in.StopRecording()
	if !ok {
		return 0, 0, errors.New("nothing was recorded")
	}
	p.daemon.learning.lock(m.ID)
	defer p.daemon.learning.unlock(m.ID)
	pages, err = p.daemon.publishSet(m, set, true)
	return pages, events, err
}
