package instance

import (
	"context"
	"time"

	"thaw/scale"
)

// apply does what the plan has decided. The caller holds mu.
func (p *Pool) apply() {
	for _, d := range p.plan.Decisions() {
		switch d.Kind {
		case scale.Begin:
			p.begin(d)
		case scale.Grant:
			l := &Lease{member: p.members[d.Instance], fresh: d.Fresh}
			p.answer(d.Ticket, l, nil)
		case scale.Refuse:
			p.answer(d.Ticket, nil, d.Err)
		case scale.End:
			p.end(d.Instance)
		}
	}
	p.look(p.plan.Wake())
}

// answer ends a request's wait.
func (p *Pool) answer(t *scale.Ticket, l *Lease, err error) {
	w := p.waiters[t]
	delete(p.waiters, t)
	w.lease, w.err = l, err
	close(w.done)
}

// begin has an instance made: by the request that it was begun for, and for as long
// as that wants it if it is for that one alone.
func (p *Pool) begin(d scale.Decision) {
	m := &member{place: d.Instance}
	p.members[d.Instance] = m
	ctx, key := p.ctx, m.place.Key()
	maker := func(ctx context.Context) (Made, error) { return p.cfg.Make(ctx, key.Function, key.Version) }
	if d.Ticket != nil {
		w := p.waiters[d.Ticket]
		maker = w.make
		if d.Ticket.Cold() {
			ctx = w.ctx
		}
	}
	p.work.Go(func() {
		made, err := maker(ctx)
		p.started(m, made, err)
	})
}

// started takes in how a start ended.
func (p *Pool) started(m *member, made Made, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if err != nil {
		err = &StartError{Timeline: made.Timeline, Err: err}
		delete(p.members, m.place)
	} else {
		m.made, m.stale = made, true
		p.watch(m)
		p.measureSoon(now)
	}
	told := p.plan.Started(now, m.place, err)
	p.apply()
	if key := m.place.Key(); err != nil && !told && p.ctx.Err() == nil {
		p.cfg.OnError(key.Function, key.Version, err)
	}
}

// watch tells the plan when a VM ends by itself.
func (p *Pool) watch(m *member) {
	done := m.made.Instance.Done()
	if done == nil {
		return
	}
	p.work.Go(func() {
		<-done
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.members[m.place] != nil {
			p.plan.Died(time.Now(), m.place)
			p.apply()
		}
	})
}

// end closes an instance that the plan has given up, once nobody looks at it.
func (p *Pool) end(in *scale.Instance) {
	m := p.members[in]
	delete(p.members, in)
	p.ending++
	p.work.Go(func() {
		m.looks.Wait()
		m.made.Instance.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ending--
		p.plan.Gone(time.Now(), in)
		p.apply()
	})
}

// measureEvery is how often the memory of an instance that works is looked at.
const measureEvery = time.Second

// measureSoon has instances measured that are at work. The caller holds mu.
func (p *Pool) measureSoon(now time.Time) { p.look(now.Add(measureEvery)) }

// look has tend wake up at t or before, unless that is zero. The caller holds mu.
func (p *Pool) look(t time.Time) {
	if t.IsZero() || !p.alarm.IsZero() && !t.Before(p.alarm) {
		return
	}
	p.alarm = t
	select {
	case p.wake <- struct{}{}:
	default: // it is awake
	}
}

// tend does what is due until the pool is closed.
func (p *Pool) tend() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
			p.measure(p.tick())
		}
		if wait, ok := p.due(); ok {
			timer.Reset(wait)
		}
	}
}

// due is how long it is until tend has something to do.
func (p *Pool) due() (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Until(p.alarm), !p.alarm.IsZero()
}

// tick has the plan do what is due and returns those that are to be measured.
func (p *Pool) tick() (stale []*member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	now := time.Now()
	p.alarm = time.Time{}
	p.plan.Tick(now)
	p.apply()
	for _, m := range p.members {
		busy := m.place.Leases() > 0
		if m.place.State() == scale.Ready && (m.stale || busy) {
			stale = append(stale, m)
			m.stale = busy
		}
	}
	if len(stale) > 0 {
		p.measureSoon(now)
	}
	return stale
}

// measure tells the plan what instances occupy.
func (p *Pool) measure(all []*member) {
	for _, m := range all {
		bytes, err := m.made.Instance.OwnMemory()
		if err != nil {
			continue // it has ended, which watch sees
		}
		p.change(func(now time.Time) { p.plan.Measured(now, m.place, bytes) })
	}
}
