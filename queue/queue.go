// Package queue keeps asynchronous invocations until they are done, in one bbolt
// file that survives a kill.
//
// What was accepted is on the disk before the caller hears of it. It is then
// executed at least once, or it becomes a dead letter with the reason; a dead
// letter stays until it is redriven or purged. Which version an alias names is
// decided by each attempt, as in Lambda; the attempt notes it. An item that was under way when
// the daemon ended is executed again after the next start. Functions must bear
// that, as Lambda's must.
//
// # Format
//
// The file holds four top-level buckets:
//
//	meta       "format" → "thaw queue", "schema" → "1"
//	items      id → record of a thaw.QueueItem as JSON
//	payloads   id → record of the payload, byte for byte
//	schedules  id → record of a thaw.Schedule as JSON
//
// A record is, in bytes:
//
//	0      the version of the format, 1
//	1..4   CRC-32C of the rest, big endian
//	5..    the JSON or the payload
//
// The fields of the JSON are documented beside [thaw.QueueItem] and
// [thaw.Schedule]. An item in state running is a lease: its last attempt began
// and has not ended. Every change is one transaction, synced before it counts. An
// item whose record is damaged becomes a dead letter.
package queue

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"thaw"
	"thaw/internal/uuid"
)

// Invoker runs functions; a failure of the function itself is a reply whose
// FunctionError is set, or a [thaw.CodeFunction] error.
type Invoker interface {
	Invoke(ctx context.Context, r thaw.InvokeRequest) (thaw.Reply, error)
}

// Deliverer posts results to callback URLs. It bounds the time it takes.
type Deliverer interface {
	Deliver(ctx context.Context, d thaw.Delivery) error
}

// Clock tells the time. It may jump.
type Clock interface {
	Now() time.Time
	// At returns a channel that receives once when it is t, at once if that is over.
	At(t time.Time) <-chan time.Time
}

// Limits bound a queue.
type Limits struct {
	// Items is the most that is kept, PerFunction of one function; dead letters
	// count. Bytes bounds all payloads.
	Items, PerFunction int
	Bytes              int64
	// Event is the largest event in bytes.
	Event int
	// Workers is how many items are attempted at once, WorkersPerFunction of one
	// function.
	Workers, WorkersPerFunction int
}

// DefaultLimits returns the defaults: an event as large as Lambda had it, 256 KiB;
// the rest is a choice, so that neither disk nor machine is one function's.
func DefaultLimits() Limits {
	return Limits{Items: 10_000, PerFunction: 2_500, Bytes: 512 << 20, Event: 256 << 10, Workers: 16, WorkersPerFunction: 8}
}

// Config is how a queue is set up. All but Clock and Chance are required.
type Config struct {
	Path    string
	Invoker Invoker
	Deliver Deliverer
	Limits  Limits
	Retry   Retry
	// Clock is the system's if nil.
	Clock Clock
	// Chance returns a random number from 0 up to 1; math/rand's if nil.
	Chance func() float64
	// Logger hears of dead letters and of a disk that fails.
	Logger *slog.Logger
}

// Queue is an open queue. Its methods may be called concurrently. Close ends it.
type Queue struct {
	cfg   Config
	store *store

	// work is cancelled when attempts must end now.
	work    context.Context
	cancel  context.CancelFunc
	changed chan struct{} // holds one: the dispatcher is to look again
	stop    chan struct{}
	running sync.WaitGroup // the dispatcher and attempts

	mu        sync.Mutex // held while an item changes state, the disk included
	closed    bool
	items     map[string]*thaw.QueueItem
	schedules map[string]thaw.Schedule
	kept      map[string]int // items by function
	bytes     int64
	order     *order
	busy      int // attempts under way
}

// Open opens the file, takes leases back that a kill left, and begins to work.
// The caller closes the queue.
func Open(cfg Config) (*Queue, error) {
	if cfg.Clock == nil {
		cfg.Clock = systemClock{time.Now()}
	}
	if cfg.Chance == nil {
		cfg.Chance = rand.Float64
	}
	s, err := openStore(cfg.Path)
	if err != nil {
		return nil, err
	}
	q := &Queue{
		cfg: cfg, store: s, changed: make(chan struct{}, 1), stop: make(chan struct{}),
		items: map[string]*thaw.QueueItem{}, schedules: map[string]thaw.Schedule{}, kept: map[string]int{},
		order: newOrder(cfg.Limits.WorkersPerFunction),
	}
	if err := q.load(); err != nil {
		_ = s.close() // the first error says more
		return nil, err
	}
	q.work, q.cancel = context.WithCancel(context.Background())
	q.running.Go(q.dispatch)
	return q, nil
}

// load brings in what is on the disk.
func (q *Queue) load() error {
	c, err := q.store.load()
	if err != nil {
		return err
	}
	now := q.cfg.Clock.Now().Round(0)
	dead := q.bury(c.damaged, now)
	if len(dead) > 0 {
		if err := q.store.apply(change{put: dead}); err != nil {
			return err
		}
	}
	for id, err := range c.lost {
		q.cfg.Logger.Error("a schedule cannot be read", "schedule", id, "error", err)
	}
	for _, s := range c.schedules {
		q.schedules[s.ID] = s
	}
	// Those accepted first go first.
	slices.SortFunc(c.items, func(a, b thaw.QueueItem) int { return a.Accepted.Compare(b.Accepted) })
	for _, it := range append(c.items, dead...) {
		q.takeBack(&it, now)
		q.keep(&it)
	}
	return nil
}

// bury makes dead letters of items that cannot be read.
func (q *Queue) bury(damaged map[string]error, now time.Time) []thaw.QueueItem {
	var dead []thaw.QueueItem
	for id, err := range damaged {
		it := thaw.QueueItem{ID: id, Kind: thaw.KindInvoke, Accepted: now, Expires: now}
		kill(&it, "its record on the disk is damaged: "+err.Error(), now)
		q.cfg.Logger.Error("an item of the queue is damaged", "item", id, "error", err)
		dead = append(dead, it)
	}
	return dead
}

// takeBack ends a lease that the daemon before held. An item that ends daemons
// goes slower and slower.
func (q *Queue) takeBack(it *thaw.QueueItem, now time.Time) {
	if it.State == thaw.ItemRunning {
		end(it, now, thaw.Errorf(thaw.CodeUnavailable, "the daemon ended during this attempt"))
		it.State, it.Due = thaw.ItemWaiting, now.Add(q.cfg.Retry.Platform.delay(it.Faults, q.cfg.Chance()))
		it.Faults++
	}
	// The clock may have been set back since.
	if latest := now.Add(max(q.cfg.Retry.Platform.Cap, q.cfg.Retry.Function.Cap)); it.Due.After(latest) {
		it.Due = latest
	}
	if latest := now.Add(q.cfg.Retry.MaxAge); it.Expires.After(latest) {
		it.Expires = latest
	}
}

// keep adds an item that is on the disk. The caller holds mu, or is Open.
func (q *Queue) keep(it *thaw.QueueItem) {
	q.items[it.ID] = it
	q.kept[it.Function]++
	q.bytes += int64(it.Bytes)
	if it.State == thaw.ItemWaiting {
		q.order.add(it.Function, it.ID, it.Due)
	}
}

// drop forgets an item that is off the disk. The caller holds mu.
func (q *Queue) drop(it *thaw.QueueItem) {
	delete(q.items, it.ID)
	q.bytes -= int64(it.Bytes)
	if q.kept[it.Function]--; q.kept[it.Function] == 0 {
		delete(q.kept, it.Function)
	}
}

// Enqueue accepts an invocation. When it returns nil, the invocation is on the
// disk. A queue that is full is a [thaw.CodeThrottled] error.
func (q *Queue) Enqueue(_ context.Context, r thaw.AsyncRequest) (thaw.QueueItem, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it, err := q.admit(r)
	if err != nil {
		return thaw.QueueItem{}, err
	}
	if err := q.store.apply(change{put: []thaw.QueueItem{it}, payloads: map[string][]byte{it.ID: r.Payload}}); err != nil {
		return thaw.QueueItem{}, err
	}
	q.keep(&it)
	q.poke()
	return it, nil
}

// admit makes an item of r if there is room. The caller holds mu.
func (q *Queue) admit(r thaw.AsyncRequest) (thaw.QueueItem, error) {
	l := q.cfg.Limits
	ref, err := thaw.ParseRef(r.Function)
	switch {
	case q.closed:
		return thaw.QueueItem{}, thaw.Errorf(thaw.CodeUnavailable, "the daemon is stopping")
	case err != nil:
		return thaw.QueueItem{}, err
	case len(r.Payload) > l.Event:
		return thaw.QueueItem{}, thaw.Errorf(thaw.CodeTooLarge, "the event is %d bytes: at most %d are allowed of an asynchronous invocation", len(r.Payload), l.Event)
	case len(q.items) >= l.Items || q.bytes+int64(len(r.Payload)) > l.Bytes:
		return thaw.QueueItem{}, thaw.Errorf(thaw.CodeThrottled, "the queue is full: %d items of %d bytes are kept, dead letters included: try again later, or see `thaw queue ls`", len(q.items), q.bytes)
	case q.kept[ref.Function] >= l.PerFunction:
		return thaw.QueueItem{}, thaw.Errorf(thaw.CodeThrottled, "the queue of function %s is full: %d items are kept, dead letters included: try again later, or see `thaw queue ls`", ref.Function, l.PerFunction)
	}
	now := q.cfg.Clock.Now()
	id := uuid.New()
	return thaw.QueueItem{
		ID: id, Function: ref.Function, Qualifier: ref.Qualifier, Kind: thaw.KindInvoke, Source: r.Source, State: thaw.ItemWaiting,
		Accepted: now, Due: now, Expires: now.Add(q.cfg.Retry.MaxAge), Bytes: len(r.Payload),
		Trace: r.Trace, CallID: cmp.Or(r.CallID, id), Callback: r.Callback,
	}, nil
}

// Close takes no more and begins no more, waits until ctx ends for what is under
// way, and closes the file. What is left is done after the next Open.
func (q *Queue) Close(ctx context.Context) error {
	q.mu.Lock()
	already := q.closed
	q.closed = true
	q.mu.Unlock()
	if already {
		return nil
	}
	close(q.stop)
	idle := make(chan struct{})
	go func() { q.running.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	q.cancel()
	<-idle
	return q.store.close()
}

// copyOf returns an item that shares nothing with it.
func copyOf(it *thaw.QueueItem) thaw.QueueItem {
	c := *it
	c.Attempts = slices.Clone(it.Attempts)
	return c
}

// poke has the dispatcher look again.
func (q *Queue) poke() {
	select {
	case q.changed <- struct{}{}:
	default: // it will anyway
	}
}

// String says how much is kept.
func (q *Queue) String() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return fmt.Sprintf("%d items, %d bytes, %d under way", len(q.items), q.bytes, q.busy)
}

// systemClock begins with the wall clock and goes on by the monotonic one: a wall
// clock that is set does not hold up what waits, nor has it expire. What a start of the
// daemon finds is looked at by the wall clock again, see takeBack.
type systemClock struct{ began time.Time }

// Now implements [Clock].
func (c systemClock) Now() time.Time { return c.began.Add(time.Since(c.began)).UTC() }

// At implements [Clock].
func (c systemClock) At(t time.Time) <-chan time.Time { return time.After(t.Sub(c.Now())) }
