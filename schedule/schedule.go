// Package schedule invokes functions at times, through the queue.
//
// What a schedule is due for is decided from the wall clock each time anew, never
// by counting up from the last time:
//
//   - If slots were missed, because the daemon or the machine was down or the clock
//     was set forward, one invocation catches up on all of them.
//   - If the clock is set back by less than three hours, slots that were fired for
//     are not fired for again; by more, it counts as a correction and they are. So
//     cron(8) has it.
//   - Where daylight saving time skips an hour, what is due in it runs an hour
//     later by the wall; where it repeats one, it runs in both. UTC has neither.
//
// A schedule fires by an invocation and a new due time in one transaction, so a
// kill neither loses a slot nor doubles one; the invocation itself is executed at
// least once, as all of the queue's. When the queue is full the slot is left out,
// and the schedule says so.
package schedule

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"thaw"
)

// correction is by how much a clock must be set back to be believed.
const correction = 3 * time.Hour

// longestNap bounds the time until the wall clock is looked at again: it may have
// been set.
const longestNap = time.Minute

// Advance decides what s is due for at now: whether to fire, and s with its next
// due time. It is pure.
func Advance(s thaw.Schedule, spec Spec, now time.Time) (next thaw.Schedule, fire bool) {
	base := now
	if ahead := s.Slot.Sub(now); ahead > 0 && ahead < correction {
		base = s.Slot
	}
	after := spec.Next(base)
	if s.Next.IsZero() || after.Before(s.Next) {
		s.Next = after
	}
	if now.Before(s.Next) {
		return s, false
	}
	s.Slot, s.Next = s.Next, after
	return s, true
}

// Store keeps schedules and takes their invocations. See package queue.
type Store interface {
	Schedules() []thaw.Schedule
	PutSchedule(s thaw.Schedule) error
	RemoveSchedules(which func(thaw.Schedule) bool) (int, error)
	// Fire takes the invocation of s and stores s with it. When there is no room it
	// stores s with the problem and returns that.
	Fire(ctx context.Context, s thaw.Schedule) (thaw.Schedule, error)
}

// Clock tells the wall time. It may jump.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// Scheduler fires the schedules of a store. Its methods may be called
// concurrently. Close ends it.
type Scheduler struct {
	store   Store
	clock   Clock
	log     *slog.Logger
	cancel  context.CancelFunc
	changed chan struct{} // holds one
	running sync.WaitGroup
}

// Start begins to fire what is in store, which stays the caller's. A nil clock is
// the system's.
func Start(store Store, clock Clock, logger *slog.Logger) *Scheduler {
	if clock == nil {
		clock = systemClock{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Scheduler{store: store, clock: clock, log: logger, cancel: cancel, changed: make(chan struct{}, 1)}
	s.running.Go(func() { s.run(ctx) })
	return s
}

// Close fires no more.
func (s *Scheduler) Close() {
	s.cancel()
	s.running.Wait()
}

func (s *Scheduler) run(ctx context.Context) {
	for {
		select {
		case <-s.clock.After(s.tick(ctx)):
		case <-s.changed:
		case <-ctx.Done():
			return
		}
	}
}

// tick fires what is due and returns how long to wait.
func (s *Scheduler) tick(ctx context.Context) time.Duration {
	nap := longestNap
	for _, old := range s.store.Schedules() {
		spec, err := Parse(old.Spec)
		if err != nil { // written by another version, or its time zone is gone
			s.log.Error("a schedule cannot be read", "schedule", old.ID, "error", err)
			continue
		}
		// The monotonic reading is left out: it would hide that the clock was set.
		now := s.clock.Now().Round(0)
		next, fire := Advance(old, spec, now)
		again := next.Next
		if fire {
			again = s.fire(ctx, next)
		}
		nap = min(nap, max(again.Sub(now), 0))
	}
	return nap
}

// fire returns when to look at the schedule again.
func (s *Scheduler) fire(ctx context.Context, next thaw.Schedule) time.Time {
	_, err := s.store.Fire(ctx, next)
	switch thaw.CodeOf(err) {
	case "", thaw.CodeNotFound: // removed meanwhile
	case thaw.CodeThrottled, thaw.CodeTooLarge:
		s.log.Warn("a schedule leaves a slot out", "schedule", next.ID, "function", next.Ref().String(), "error", err)
	default:
		s.log.Error("a schedule cannot fire, and is tried again", "schedule", next.ID, "error", err)
		return s.clock.Now().Add(longestNap)
	}
	return next.Next
}

// SetSchedule checks s, stores it in place of one with its id, and returns it with
// its first due time.
func (s *Scheduler) SetSchedule(_ context.Context, sched thaw.Schedule) (thaw.Schedule, error) {
	if err := sched.Ref().Validate(); err != nil {
		return sched, err
	}
	if thaw.CheckName(sched.ID) != nil {
		return sched, thaw.Errorf(thaw.CodeInvalid, "id %.80q of a schedule is not valid: it is a name as functions have", sched.ID)
	}
	spec, err := Parse(sched.Spec)
	if err != nil {
		return sched, err
	}
	now := s.clock.Now().Round(0).UTC()
	set := thaw.Schedule{ID: sched.ID, Function: sched.Function, Qualifier: sched.Qualifier, Spec: sched.Spec, Data: sched.Data, Created: now, Next: spec.Next(now)}
	if err := s.store.PutSchedule(set); err != nil {
		return sched, err
	}
	s.poke()
	return set, nil
}

// Schedules returns every schedule, by id.
func (s *Scheduler) Schedules() []thaw.Schedule { return s.store.Schedules() }

// RemoveSchedule removes the schedule called id.
func (s *Scheduler) RemoveSchedule(_ context.Context, id string) error {
	n, err := s.store.RemoveSchedules(func(x thaw.Schedule) bool { return x.ID == id })
	if err == nil && n == 0 {
		return thaw.Errorf(thaw.CodeNotFound, "schedule %.80q does not exist: `thaw schedule ls` lists those that do", id)
	}
	return err
}

// RemoveSchedulesOf removes the schedules of a function.
func (s *Scheduler) RemoveSchedulesOf(_ context.Context, function string) error {
	_, err := s.store.RemoveSchedules(func(x thaw.Schedule) bool { return x.Function == function })
	return err
}

// NamedBy returns which of all names ref, a version by its number or an alias, as
// "schedule ID", "" if none does.
func NamedBy(all []thaw.Schedule, ref thaw.Ref) string {
	for _, s := range all {
		if s.Ref() == ref {
			return "schedule " + s.ID
		}
	}
	return ""
}

func (s *Scheduler) poke() {
	select {
	case s.changed <- struct{}{}:
	default: // it will look anyway
	}
}

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now().UTC() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
