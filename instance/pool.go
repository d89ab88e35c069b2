package instance

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"thaw"
)

// PoolLimits bound a [Pool].
type PoolLimits struct {
	// Idle is how long an unused instance is kept.
	Idle time.Duration
	// Total bounds all instances, PerFunction those of one function.
	Total, PerFunction int
}

// Pool keeps track of all instances and hands out idle ones. Its methods may be
// called concurrently.
type Pool struct {
	limits PoolLimits

	mu      sync.Mutex
	leases  map[*Lease]struct{}
	removed map[versionKey]struct{} // never to come back: numbers are not reused
	closed  bool
	watched sync.WaitGroup
}

// Lease is one instance's place in the pool. Whoever got it from Acquire has
// the instance for itself until Release.
type Lease struct {
	version  thaw.Version
	instance *Instance // nil while it is being made
	state    thaw.InstanceState
	since    time.Time // idle since
	expiry   *time.Timer
	served   int
	retired  bool // it ends with its invocation
}

type versionKey struct {
	function string
	number   int
}

func (l *Lease) key() versionKey { return versionKey{l.version.Function, l.version.Number} }

// Instance is the leased instance, nil when the holder is to make it and to
// call Fill.
func (l *Lease) Instance() *Instance { return l.instance }

// NewPool returns an empty pool.
func NewPool(limits PoolLimits) *Pool {
	return &Pool{limits: limits, leases: map[*Lease]struct{}{}, removed: map[versionKey]struct{}{}}
}

// Acquire returns a lease on an idle instance of v, the most recently used one,
// or on the place for a new one, which it always is when cold. It fails with
// [thaw.CodeThrottled] at a limit, [thaw.CodeNotFound] after Remove and
// [thaw.CodeUnavailable] after Close.
func (p *Pool) Acquire(v thaw.Version, cold bool) (*Lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, thaw.Errorf(thaw.CodeUnavailable, "the daemon is stopping")
	}
	if _, gone := p.removed[versionKey{v.Function, v.Number}]; gone {
		return nil, thaw.Errorf(thaw.CodeNotFound, "version %d of function %s has just been removed", v.Number, v.Function)
	}
	if l := p.idle(v); l != nil && !cold {
		l.expiry.Stop()
		l.state = thaw.InstanceBusy
		return l, nil
	}
	if err := p.makeRoom(v.Function); err != nil {
		return nil, err
	}
	l := &Lease{version: v, state: thaw.InstanceStarting, since: time.Now()}
	p.leases[l] = struct{}{}
	return l, nil
}

// idle returns v's most recently used idle instance. The caller holds mu.
func (p *Pool) idle(v thaw.Version) *Lease {
	var best *Lease
	for l := range p.leases {
		if l.state != thaw.InstanceIdle || l.key() != (versionKey{v.Function, v.Number}) {
			continue
		}
		if best == nil || l.since.After(best.since) {
			best = l
		}
	}
	return best
}

// makeRoom applies the limits, giving up idle instances for new ones, the
// longest unused first. The caller holds mu.
func (p *Pool) makeRoom(function string) error {
	own := func(l *Lease) bool { return l.version.Function == function }
	if p.count(own) >= p.limits.PerFunction && !p.evict(own) {
		return thaw.Errorf(thaw.CodeThrottled, "function %s has %d instances at work, its limit: try again in a moment", function, p.limits.PerFunction)
	}
	all := func(*Lease) bool { return true }
	if p.count(all) >= p.limits.Total && !p.evict(all) {
		return thaw.Errorf(thaw.CodeThrottled, "%d instances are at work, the limit of this machine: try again in a moment", p.limits.Total)
	}
	return nil
}

func (p *Pool) count(which func(*Lease) bool) (n int) {
	for l := range p.leases {
		if which(l) {
			n++
		}
	}
	return n
}

// evict removes the longest unused idle instance, if there is one.
func (p *Pool) evict(which func(*Lease) bool) bool {
	var oldest *Lease
	for l := range p.leases {
		if l.state == thaw.InstanceIdle && which(l) && (oldest == nil || l.since.Before(oldest.since)) {
			oldest = l
		}
	}
	if oldest == nil {
		return false
	}
	p.remove(oldest)
	return true
}

// remove takes l out and ends its instance in the background; Close waits for
// that. The caller holds mu.
func (p *Pool) remove(l *Lease) {
	if l.expiry != nil {
		l.expiry.Stop()
	}
	delete(p.leases, l)
	if in := l.instance; in != nil {
		p.watched.Go(in.Close)
	}
}

// Fill gives a new lease its instance, which the pool owns from now on.
func (p *Pool) Fill(l *Lease, in *Instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.instance, l.state = in, thaw.InstanceBusy
	p.watched.Go(func() { p.watch(l) })
}

// watch removes an idle instance whose VM ends by itself. A busy one is its
// holder's to release.
func (p *Pool) watch(l *Lease) {
	<-l.instance.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, there := p.leases[l]; there && l.state == thaw.InstanceIdle {
		p.remove(l)
	}
}

// Release gives a lease back. keep says that its instance may serve again.
func (p *Pool) Release(l *Lease, keep bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.instance == nil || !keep || p.closed || p.limits.Idle <= 0 || l.retired {
		p.remove(l)
		return
	}
	l.served++
	since := time.Now()
	l.state, l.since = thaw.InstanceIdle, since
	l.expiry = time.AfterFunc(p.limits.Idle, func() { p.expire(l, since) })
}

// expire removes l unless it was used since.
func (p *Pool) expire(l *Lease, since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, there := p.leases[l]; there && l.state == thaw.InstanceIdle && l.since.Equal(since) {
		p.remove(l)
	}
}

// Retire ends the instances that a version has: idle ones now, busy ones after
// their invocation. It may get others.
func (p *Pool) Retire(function string, number int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retire(versionKey{function, number})
}

// retire does it. The caller holds mu.
func (p *Pool) retire(key versionKey) {
	for l := range p.leases {
		if l.key() != key {
			continue
		}
		if l.retired = true; l.state == thaw.InstanceIdle {
			p.remove(l)
		}
	}
}

// Remove retires a version for good: it gets no instance any more.
func (p *Pool) Remove(function string, number int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := versionKey{function, number}
	p.removed[key] = struct{}{}
	p.retire(key)
}

// Busy is how many instances of a version are at work or being made.
func (p *Pool) Busy(function string, number int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count(func(l *Lease) bool {
		return l.key() == versionKey{function, number} && l.state != thaw.InstanceIdle
	})
}

// EndIdle ends the idle instances of those versions of function that which wants.
func (p *Pool) EndIdle(function string, which func(number int) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.leases {
		if l.version.Function == function && which(l.version.Number) && l.state == thaw.InstanceIdle {
			p.remove(l)
		}
	}
}

// Close refuses new leases, ends every instance and waits until all are gone.
// Every lease must have been released or be idle.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	for l := range p.leases {
		p.remove(l)
	}
	p.mu.Unlock()
	p.watched.Wait()
}

// Find returns the instance called id, or nil.
func (p *Pool) Find(id string) *Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.leases {
		if l.instance != nil && l.instance.ID == id {
			return l.instance
		}
	}
	return nil
}

// List describes every instance, oldest first.
func (p *Pool) List() []thaw.Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]thaw.Instance, 0, len(p.leases))
	for l := range p.leases {
		list = append(list, l.describe())
	}
	slices.SortFunc(list, func(a, b thaw.Instance) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return list
}

func (l *Lease) describe() thaw.Instance {
	d := thaw.Instance{Function: l.version.Function, Version: l.version.Number, State: l.state, Created: l.since, Invocations: l.served}
	if in := l.instance; in != nil {
		d.ID, d.Start, d.Policy, d.PID, d.Created, d.RSSBytes = in.ID, in.Start, in.Policy, in.PID(), in.Created, in.RSS()
	}
	return d
}
