package instance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"thaw"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config() PoolConfig {
	return PoolConfig{
		Idle: time.Hour, Total: 10, PerFunction: 10, QueueDepth: 100, QueueTimeout: time.Minute,
		Guess:   func(thaw.Version) int64 { return 1 << 20 },
		Make:    func(ctx context.Context, _ string, _ int) (Made, error) { return empty(ctx) },
		OnError: func(string, int, error) {},
	}
}

// empty makes an instance without a VM, which a pool does not touch.
func empty(context.Context) (Made, error) { return Made{Instance: &Instance{}}, nil }

// newTestPool returns a pool and a way to use it: acquire returns a lease on an
// instance of a version of f.
func newTestPool(t *testing.T, change func(*PoolConfig)) (p *Pool, acquire func(number int) *Lease) {
	t.Helper()
	cfg := config()
	if change != nil {
		change(&cfg)
	}
	p = NewPool(cfg)
	t.Cleanup(p.Close)
	return p, func(number int) *Lease {
		t.Helper()
		l, err := p.Acquire(t.Context(), thaw.Version{Function: "f", Number: number}, false, empty)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
}

func (p *Pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.members)
}

// TestRetireOneVersion: of two live versions one is retired, neither the older nor
// the newer one is touched by it, and what is retired may come back.
func TestRetireOneVersion(t *testing.T) {
	p, acquire := newTestPool(t, nil)
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
	if l := acquire(1); l.member != busy[1].member {
		t.Error("the instance of version 1 used last is not used again")
	}
	again := acquire(2)
	if again.member == idle[2].member || again.member == busy[2].member {
		t.Error("a retired instance is used")
	}
	p.Release(again, true)
	if l := acquire(2); l.member != again.member {
		t.Error("an instance made after the version was retired is not kept")
	}
}

func TestRemovedVersion(t *testing.T) {
	p, acquire := newTestPool(t, nil)
	busy := acquire(1)
	p.Remove("f", 1)
	if _, err := p.Acquire(t.Context(), thaw.Version{Function: "f", Number: 1}, false, empty); thaw.CodeOf(err) != thaw.CodeNotFound {
		t.Errorf("Acquire of a removed version = %v", err)
	}
	p.Release(busy, true)
	if p.size() != 0 || p.Busy("f", 1) != 0 {
		t.Errorf("%d instances are left", p.size())
	}
	acquire(2) // another one
}

func TestEndIdleOfSomeVersions(t *testing.T) {
	p, acquire := newTestPool(t, nil)
	for _, n := range []int{1, 2, 3} {
		p.Release(acquire(n), true)
	}
	p.EndIdle("f", func(n int) bool { return n != 2 })
	if p.size() != 1 {
		t.Errorf("%d instances are left, want that of version 2", p.size())
	}
}

// TestCrowd has many clients of three functions at two instances each, some of
// which go away or fail: all the others are served, by no more than there may be.
func TestCrowd(t *testing.T) {
	p, _ := newTestPool(t, func(c *PoolConfig) { c.Total, c.PerFunction = 4, 2 })
	var all sync.WaitGroup
	broken := errors.New("it broke")
	for client := range 60 {
		v := thaw.Version{Function: fmt.Sprint("f", client%3), Number: 1}
		all.Go(func() {
			for n := range 20 {
				ctx, cancel := context.WithCancel(t.Context())
				if n%7 == 3 {
					time.AfterFunc(time.Millisecond, cancel)
				}
				l, err := p.Acquire(ctx, v, n%5 == 0, func(ctx context.Context) (Made, error) {
					if n%11 == 10 {
						return Made{}, broken
					}
					return empty(ctx)
				})
				switch {
				case err == nil:
					if load, _ := p.Load(); load.Instances > 4 {
						t.Errorf("%d instances", load.Instances)
					}
					p.Release(l, n%9 != 8)
				case !errors.Is(err, broken) && !errors.Is(err, context.Canceled):
					t.Error(err)
				}
				cancel()
			}
		})
	}
	all.Wait()
	load, _ := p.Load()
	if load.Instances > 4 || len(load.Waiting) > 0 {
		t.Errorf("%+v", load)
	}
}

// TestClientGone: who goes away gives up its place, and what was begun for it
// serves another.
func TestClientGone(t *testing.T) {
	p, acquire := newTestPool(t, func(c *PoolConfig) { c.PerFunction = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	begun, finish := make(chan struct{}), make(chan struct{})
	gone := make(chan error)
	go func() {
		_, err := p.Acquire(ctx, thaw.Version{Function: "f", Number: 1}, false, func(ctx context.Context) (Made, error) {
			close(begun)
			<-finish
			return Made{Instance: &Instance{}, Timeline: NewTimeline()}, ctx.Err()
		})
		gone <- err
	}()
	<-begun
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("Acquire = %v", err)
	}
	close(finish)
	l := acquire(1)
	if l.member.made.Timeline == nil {
		t.Error("what was begun for a client that has gone is not used")
	}
	p.Release(l, true)
}

// TestColdGone: a start that is for one request alone ends with it.
func TestColdGone(t *testing.T) {
	p, _ := newTestPool(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := p.Acquire(ctx, thaw.Version{Function: "f", Number: 1}, true, func(ctx context.Context) (Made, error) {
		cancel()
		<-ctx.Done()
		return Made{}, ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Acquire = %v", err)
	}
}

// TestQueueTimeout: with no room in time the request is refused, with why.
func TestQueueTimeout(t *testing.T) {
	p, acquire := newTestPool(t, func(c *PoolConfig) { c.PerFunction, c.QueueTimeout = 1, time.Millisecond })
	l := acquire(1)
	_, err := p.Acquire(t.Context(), thaw.Version{Function: "f", Number: 1}, false, empty)
	if want := "function f has 1 instances at work, its limit, and nothing changed that for 1ms: try again"; thaw.CodeOf(err) != thaw.CodeThrottled || err.Error() != want {
		t.Errorf("Acquire = %v", err)
	}
	p.Release(l, true)
}

func TestStartError(t *testing.T) {
	p, _ := newTestPool(t, nil)
	broken, timeline := thaw.Errorf(thaw.CodeFunction, "no such handler"), NewTimeline()
	_, err := p.Acquire(t.Context(), thaw.Version{Function: "f", Number: 1}, false, func(context.Context) (Made, error) {
		return Made{Timeline: timeline}, broken
	})
	failed, ok := errors.AsType[*StartError](err)
	if !ok || failed.Timeline != timeline || !errors.Is(err, broken) || thaw.CodeOf(err) != thaw.CodeFunction || err.Error() != "no such handler" {
		t.Errorf("%v", err)
	}
}

// TestMinScale: instances that nobody asks for are made, and made again.
func TestMinScale(t *testing.T) {
	made := make(chan string, 10)
	p, acquire := newTestPool(t, func(c *PoolConfig) {
		c.Make = func(ctx context.Context, function string, version int) (Made, error) {
			made <- fmt.Sprint(function, version)
			return empty(ctx)
		}
	})
	v := thaw.Version{Function: "f", Number: 1}
	v.MinScale = 2
	p.Serve(v)
	for range 2 {
		if got := <-made; got != "f1" {
			t.Errorf("an instance of %s is made", got)
		}
	}
	p.Release(acquire(1), false) // ends: another one takes its place
	<-made
	if l := acquire(1); l.Instance() == nil {
		t.Error("no lease on one of them")
	}
}

// TestLook: an instance that somebody looks at is closed later.
func TestLook(t *testing.T) {
	p, acquire := newTestPool(t, nil)
	l := acquire(1)
	done := p.Look(l)
	p.Release(l, false)
	if p.size() != 0 {
		t.Error("it may serve again")
	}
	load, _ := p.Load()
	if load.Memory == 0 {
		t.Error("its memory counts as free, though it is not closed")
	}
	done()
}

func TestTimelineJoin(t *testing.T) {
	early := NewTimeline()
	early.Past(thaw.PhaseVMM, early.start, 10*time.Millisecond)
	early.Past(thaw.PhaseState, early.start.Add(20*time.Millisecond), 10*time.Millisecond)
	late := &Timeline{start: early.start.Add(25 * time.Millisecond)}
	late.Join(early)
	if ms := late.Milliseconds(); ms[thaw.PhaseVMM] != 0 || ms[thaw.PhaseState] != 5 {
		t.Errorf("%v: what was before the request is none of it", ms)
	}
	early.Join(late)
	if s := early.Spans(); s[3].StartUS != 25000 || s[3].DurationUS != 5000 {
		t.Errorf("%v", s)
	}
}

// BenchmarkWarm is a lease on a warm instance and its release.
func BenchmarkWarm(b *testing.B) {
	for name, others := range map[string]int{"Alone": 0, "Among64": 63} {
		b.Run(name, func(b *testing.B) {
			cfg := config()
			cfg.Total, cfg.PerFunction, cfg.Memory = 100, 100, 1<<30
			p := NewPool(cfg)
			defer p.Close()
			get := func(function string) *Lease {
				l, err := p.Acquire(b.Context(), thaw.Version{Function: function, Number: 1}, false, empty)
				if err != nil {
					b.Fatal(err)
				}
				return l
			}
			for i := range others {
				p.Release(get(fmt.Sprint("f", i)), true)
			}
			p.Release(get("f"), true)
			b.ReportAllocs()
			for b.Loop() {
				p.Release(get("f"), true)
			}
		})
	}
}
