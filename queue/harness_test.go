package queue

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"thaw"
)

// handClock moves only when a test moves it.
type handClock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[chan time.Time]time.Time
}

func newClock() *handClock {
	return &handClock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), timers: map[chan time.Time]time.Time{}}
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) At(t time.Time) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	c.timers[ch] = t
	c.ring()
	return ch
}

func (c *handClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.ring()
}

// ring fires what is due. The caller holds mu.
func (c *handClock) ring() {
	for ch, at := range c.timers {
		if !at.After(c.now) {
			ch <- c.now
			delete(c.timers, ch)
		}
	}
}

// fixture is a queue on a file, with what it invokes.
type fixture struct {
	*Queue
	clock *handClock
	cfg   Config

	mu        sync.Mutex
	calls     []thaw.InvokeRequest
	delivered []thaw.Delivery
	invoke    func(ctx context.Context, r thaw.InvokeRequest) (thaw.Reply, error)
	deliver   func(d thaw.Delivery) error
}

func newFixture(t *testing.T, change func(*fixture)) *fixture {
	t.Helper()
	f := &fixture{clock: newClock()}
	f.cfg = Config{
		Path: filepath.Join(t.TempDir(), "queue.db"), Invoker: f, Deliver: f, Limits: DefaultLimits(), Retry: DefaultRetry(),
		Clock: f.clock, Chance: func() float64 { return 1 }, Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(f)
	}
	f.open(t)
	t.Cleanup(func() { f.close(t) })
	return f
}

func (f *fixture) open(t *testing.T) {
	t.Helper()
	var err error
	if f.Queue, err = Open(f.cfg); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) close(t *testing.T) {
	t.Helper()
	if err := f.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func (f *fixture) Invoke(ctx context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
	f.mu.Lock()
	f.calls = append(f.calls, r)
	invoke := f.invoke
	f.mu.Unlock()
	if invoke == nil {
		return thaw.Reply{Payload: r.Payload}, nil
	}
	return invoke(ctx, r)
}

func (f *fixture) Deliver(_ context.Context, d thaw.Delivery) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delivered = append(f.delivered, d)
	if f.deliver == nil {
		return nil
	}
	return f.deliver(d)
}

func (f *fixture) invoked() []thaw.InvokeRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]thaw.InvokeRequest(nil), f.calls...)
}

func (f *fixture) put(t *testing.T, function, payload string) thaw.QueueItem {
	t.Helper()
	it, err := f.Enqueue(t.Context(), thaw.AsyncRequest{Function: function, Payload: []byte(payload), Source: thaw.SourceLambda})
	if err != nil {
		t.Fatal(err)
	}
	return it
}

// eventually waits for what the dispatcher does.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after 2 min", what)
		}
	}
}

// item waits until an item is in a state after so many attempts.
func (f *fixture) item(t *testing.T, id string, state thaw.ItemState, attempts int) (it thaw.QueueItem) {
	t.Helper()
	eventually(t, "item "+id+" is "+string(state), func() bool {
		it, _, _ = f.Item(id)
		return it.State == state && len(it.Attempts) == attempts
	})
	return it
}

func (f *fixture) empty(t *testing.T) {
	t.Helper()
	eventually(t, "the queue is empty", func() bool { return len(f.Items(thaw.ItemFilter{})) == 0 })
}

func fail(kind string) func(context.Context, thaw.InvokeRequest) (thaw.Reply, error) {
	return func(context.Context, thaw.InvokeRequest) (thaw.Reply, error) {
		return thaw.Reply{Payload: thaw.FunctionError{Type: kind, Message: "why"}.JSON(), Invocation: thaw.Invocation{FunctionError: kind, DurationMS: 7}}, nil
	}
}

func failing(code thaw.Code) func(context.Context, thaw.InvokeRequest) (thaw.Reply, error) {
	return func(context.Context, thaw.InvokeRequest) (thaw.Reply, error) {
		return thaw.Reply{}, thaw.Errorf(code, "because")
	}
}

func TestMain(m *testing.M) {
	if childMain() {
		return
	}
	goleak.VerifyTestMain(m)
}
