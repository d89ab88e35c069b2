package instance

import (
	"context"
	"sync"
	"time"

	"thaw"
	"thaw/scale"
)

// PoolConfig is how a [Pool] is set up.
type PoolConfig struct {
	// Idle is how long an unused instance is kept unless its function says
	// otherwise.
	Idle time.Duration
	// Total bounds all instances, PerFunction those of one function.
	Total, PerFunction int
	// Memory is the budget in bytes for what all of them occupy, 0 for none.
	Memory int64
	// QueueDepth is how many requests of a function may wait for room, QueueTimeout
	// for how long; with 0 nobody waits.
	QueueDepth   int
	QueueTimeout time.Duration
	// Guess is what an instance of a version is taken to occupy until one was
	// measured, in bytes.
	Guess func(thaw.Version) int64
	// Make makes an instance that no request asks for.
	Make func(ctx context.Context, function string, version int) (Made, error)
	// OnError is told why such a start, or one whose request has gone, failed.
	OnError func(function string, version int, err error)
}

// Made is a new instance with what there is to tell of its start.
type Made struct {
	Instance *Instance
	// Timeline is that of the start, nil where nobody looks at it.
	Timeline *Timeline
	// Cached says that its snapshot was in the page cache.
	Cached bool
}

// Maker makes an instance. It is called once at most, from another goroutine. With an
// error it returns the timeline as well.
type Maker func(context.Context) (Made, error)

// StartError is that of a start, with the time that it took.
type StartError struct {
	Timeline *Timeline
	Err      error
}

// Error is that of the start.
func (e *StartError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.Err }

// Pool keeps track of all instances and hands them out as package scale decides; it
// does what that cannot: locks, clocks, goroutines and processes. Its methods may be
// called concurrently.
type Pool struct {
	cfg    PoolConfig
	ctx    context.Context // of starts that are not for one request alone
	cancel context.CancelFunc
	wake   chan struct{}
	work   sync.WaitGroup

	mu      sync.Mutex
	plan    *scale.Scheduler
	members map[*scale.Instance]*member
	waiters map[*scale.Ticket]*waiter
	ending  int       // instances that the plan has given up and that are not closed yet
	alarm   time.Time // when tend looks next
	closed  bool
}

// member is an instance in the pool.
type member struct {
	place  *scale.Instance
	made   Made // empty while it is being made
	served int
	stale  bool           // its memory may have changed since it was measured
	looks  sync.WaitGroup // those who need it though it is to end
}

// waiter is a request whose ticket waits.
type waiter struct {
	ctx   context.Context
	make  Maker
	done  chan struct{} // closed when lease or err is there
	lease *Lease
	err   error
}

// Lease is one invocation's hold on an instance. Whoever got it from Acquire gives
// it back by Release.
type Lease struct {
	member *member
	fresh  bool
	from   time.Time // it waited, for queued
	queued time.Duration
}

// Instance is the leased instance.
func (l *Lease) Instance() *Instance { return l.member.made.Instance }

// Fresh returns what there is to tell of the instance's start when it was made
// while the holder waited for one, and nobody had it before.
func (l *Lease) Fresh() (Made, bool) { return l.member.made, l.fresh }

// Queued is from when on, and for how long, its holder has waited while no start
// was under way that it got the instance of: for room, or for an instance to be free.
func (l *Lease) Queued() (from time.Time, took time.Duration) { return l.from, l.queued }

// NewPool returns an empty pool. The caller closes it.
func NewPool(cfg PoolConfig) *Pool {
	waiting := cfg.QueueDepth
	if cfg.QueueTimeout <= 0 {
		waiting = 0
	}
	p := &Pool{
		cfg: cfg, wake: make(chan struct{}, 1), members: map[*scale.Instance]*member{}, waiters: map[*scale.Ticket]*waiter{},
		plan: scale.New(scale.Limits{Instances: cfg.Total, Memory: cfg.Memory, Waiting: waiting}),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.work.Go(p.tend)
	return p
}

// settings are those of v within the daemon's limits.
func (p *Pool) settings(v thaw.Version) scale.Settings {
	s := scale.Settings{Concurrency: max(v.Concurrency, 1), Min: v.MinScale, Max: p.cfg.PerFunction, KeepAlive: scale.KeepAlive{Policy: v.KeepAlive, Idle: p.cfg.Idle}}
	if v.MaxScale > 0 {
		s.Max = min(s.Max, v.MaxScale)
	}
	if v.IdleTimeout > 0 {
		s.KeepAlive.Idle = v.IdleTimeout
	}
	return s
}

// know tells the plan of v, which it has to have been told of before anything else.
func (p *Pool) know(v thaw.Version) {
	key, s := scale.KeyOf(v), p.settings(v)
	p.mu.Lock()
	known := p.plan.Known(key)
	p.mu.Unlock()
	if !known { // which may read files
		s.Need = p.cfg.Guess(v)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan.Know(key, s)
}

// Acquire returns a lease on an instance of v: a free one, or the first that gets
// free or is made for those who wait, in their order. A cold request gets one of its
// own that make makes for it. It fails with [thaw.CodeThrottled] when there is no
// room within the time that a request may wait, [thaw.CodeNotFound] after Remove,
// [thaw.CodeUnavailable] after Close, with the context's error, and with a
// [*StartError].
func (p *Pool) Acquire(ctx context.Context, v thaw.Version, cold bool, make Maker) (*Lease, error) {
	if !cold {
		if l, err := p.take(v); l != nil || err != nil {
			return l, err
		}
	}
	p.know(v)
	return p.join(ctx, v, cold, make)
}

var errClosed = thaw.Errorf(thaw.CodeUnavailable, "the daemon is stopping")

// take returns a lease on a free instance, nil without one.
func (p *Pool) take(v thaw.Version) (*Lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	now := time.Now()
	in := p.plan.Take(now, scale.KeyOf(v))
	if in == nil {
		return nil, nil
	}
	p.measureSoon(now)
	return &Lease{member: p.members[in]}, nil
}

// Release gives a lease back. keep says that its instance may serve again.
func (p *Pool) Release(l *Lease, keep bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	l.member.served++
	l.member.stale = true
	p.plan.Release(now, l.member.place, keep && !p.closed)
	p.measureSoon(now)
	p.apply()
}

// Look keeps the leased instance from being closed until done is called, though it
// may be given up: who measures it needs it behind the reply.
func (p *Pool) Look(l *Lease) (done func()) {
	l.member.looks.Add(1)
	return l.member.looks.Done
}

// Serve makes v the version of its function that is kept at its minimum.
func (p *Pool) Serve(v thaw.Version) {
	p.know(v)
	p.change(func(now time.Time) { p.plan.Serve(now, scale.KeyOf(v)) })
}

// Retire ends the instances that a version has: idle ones now, busy ones after
// their invocation. It may get others.
func (p *Pool) Retire(function string, number int) {
	p.change(func(now time.Time) { p.plan.Retire(now, scale.Key{Function: function, Version: number}) })
}

// Remove retires a version for good: it gets no instance any more.
func (p *Pool) Remove(function string, number int) {
	p.change(func(now time.Time) { p.plan.Remove(now, scale.Key{Function: function, Version: number}) })
}

// EndIdle ends the idle instances of those versions of function that which wants.
func (p *Pool) EndIdle(function string, which func(number int) bool) {
	p.change(func(now time.Time) { p.plan.EndIdle(now, function, which) })
}

// change has the plan take something in, and does what it decides.
func (p *Pool) change(what func(now time.Time)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	what(time.Now())
	p.apply()
}

// Close refuses new leases, ends starts and instances and waits until all are gone.
// Every lease must have been released.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.cancel()
	p.plan.Stop(time.Now())
	p.apply()
	p.mu.Unlock()
	p.work.Wait()
}
