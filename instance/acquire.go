package instance

import (
	"context"
	"time"

	"thaw"
	"thaw/scale"
)

// join gets in line and waits for what comes of it.
func (p *Pool) join(ctx context.Context, v thaw.Version, cold bool, maker Maker) (*Lease, error) {
	w, arrived := &waiter{ctx: ctx, make: maker, done: make(chan struct{})}, time.Now()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errClosed
	}
	t := p.plan.Arrive(arrived, scale.KeyOf(v), cold)
	p.waiters[t] = w
	p.apply()
	p.mu.Unlock()
	p.wait(ctx, t, w)
	if w.err != nil {
		return nil, w.err
	}
	w.lease.from, w.lease.queued = arrived, w.lease.waited(arrived, t)
	return w.lease, nil
}

// waited is how long nothing was done for a request that arrived then: until a start
// was begun for it, or that of the fresh instance which it got, else until now.
func (l *Lease) waited(arrived time.Time, t *scale.Ticket) time.Duration {
	switch {
	case !l.fresh:
		return time.Since(arrived)
	case !t.Begun().IsZero():
		return t.Begun().Sub(arrived)
	}
	return max(0, l.member.place.Begun().Sub(arrived))
}

// wait returns when w has a result: at the latest when its client has gone or its
// time in the queue is over.
func (p *Pool) wait(ctx context.Context, t *scale.Ticket, w *waiter) {
	timeout := time.NewTimer(p.cfg.QueueTimeout)
	defer timeout.Stop()
	for {
		select {
		case <-w.done:
			return
		case <-timeout.C:
			p.change(func(now time.Time) { p.plan.Expire(now, t, p.cfg.QueueTimeout) })
			timeout.Reset(max(p.cfg.QueueTimeout, time.Second)) // a start that is under way is waited for
		case <-ctx.Done():
			p.leave(ctx, t, w)
			return
		}
	}
}

// leave gives up a place in line, or the lease that was granted meanwhile.
func (p *Pool) leave(ctx context.Context, t *scale.Ticket, w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-w.done:
		if w.lease != nil {
			p.plan.Release(time.Now(), w.lease.member.place, true)
		}
	default:
		delete(p.waiters, t)
		p.plan.GiveUp(time.Now(), t)
	}
	w.lease, w.err = nil, gone(ctx)
	p.apply()
}

// gone is why a request's context has ended: that its client went away is nobody's
// failure.
func gone(ctx context.Context) error {
	err := context.Cause(ctx)
	if thaw.CodeOf(err) == thaw.CodeInternal {
		return thaw.Errorf(thaw.CodeUnavailable, "the client went away before there was an instance: %w", err)
	}
	return err
}
