package instance

import (
	"testing"
	"time"

	"thaw"
)

// newTestPool returns a pool and a way to use it: acquire returns a lease whose
// instance is there but has no VM, which the pool does not touch.
func newTestPool(t *testing.T) (p *Pool, acquire func(number int) *Lease) {
	t.Helper()
	p = NewPool(PoolLimits{Idle: time.Hour, Total: 10, PerFunction: 10})
	t.Cleanup(p.Close)
	return p, func(number int) *Lease {
		t.Helper()
		l, err := p.Acquire(thaw.Version{Function: "f", Number: number}, false)
		if err != nil {
			t.Fatal(err)
		}
		if l.instance == nil {
			l.instance, l.state = &Instance{}, thaw.InstanceBusy
		}
		return l
	}
}

func (p *Pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.leases)
}

// TestRetireOneVersion: of two live versions one is retired, neither the older nor
// the newer one is touched by it, and what is retired may come back.
func TestRetireOneVersion(t *testing.T) {
	p, acquire := newTestPool(t)
	idle, busy := map[int]*Lease{}, map[int]*Lease{}
	for _, n := range []int{1, 2, 3} {
		idle[n], busy[n] = acquire(n), acquire(n)
		p.Release(idle[n], true)
	}
	p.Retire("f", 2)
	p.Retire("g", 1)
	if p.size() != 5 || p.Busy("f", 2) != 1 {
		t.Errorf("%d instances are left, %d of version 2 are busy", p.size(), p.Busy("f", 2))
	}
	for _, n := range []int{1, 2, 3} {
		p.Release(busy[n], true)
	}
	if p.size() != 4 {
		t.Errorf("%d instances are left when the busy one of version 2 has ended", p.size())
	}
	if l := acquire(1); l != busy[1] {
		t.Error("the instance of version 1 used last is not used again")
	}
	again := acquire(2)
	if again == idle[2] || again == busy[2] {
		t.Error("a retired instance is used")
	}
	p.Release(again, true)
	if l := acquire(2); l != again {
		t.Error("an instance made after the version was retired is not kept")
	}
}

func TestRemovedVersion(t *testing.T) {
	p, acquire := newTestPool(t)
	busy := acquire(1)
	p.Remove("f", 1)
	if _, err := p.Acquire(thaw.Version{Function: "f", Number: 1}, false); thaw.CodeOf(err) != thaw.CodeNotFound {
		t.Errorf("Acquire of a removed version = %v", err)
	}
	p.Release(busy, true)
	if p.size() != 0 || p.Busy("f", 1) != 0 {
		t.Errorf("%d instances are left", p.size())
	}
	acquire(2) // another one
}

func TestEndIdleOfSomeVersions(t *testing.T) {
	p, acquire := newTestPool(t)
	for _, n := range []int{1, 2, 3} {
		p.Release(acquire(n), true)
	}
	p.EndIdle("f", func(n int) bool { return n != 2 })
	if p.size() != 1 {
		t.Errorf("%d instances are left, want that of version 2", p.size())
	}
}
