package queue

import (
	"testing"
	"time"
	"unsafe"

	"thaw"
)

// setSince returns t as it would be read if the wall clock had been set by -by since:
// its wall clock differs by that, its monotonic reading is t's. Package time has no way
// to say so; bits 30 to 62 of a Time's first word are its seconds.
func setSince(t *testing.T, at time.Time, by time.Duration) time.Time {
	t.Helper()
	moved := at
	*(*uint64)(unsafe.Pointer(&moved)) += uint64(by/time.Second) << 30
	if moved.Sub(at) != 0 || moved.Round(0).Sub(at.Round(0)) != by {
		t.Fatalf("package time keeps its readings in another way: %v and %v", at, moved)
	}
	return moved
}

// TestSystemClockIsSet: a wall clock that was set, in either direction, since the queue
// was opened moves nothing.
func TestSystemClockIsSet(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour, 0} {
		began := setSince(t, time.Now(), by)
		now := systemClock{began}.Now()
		if passed := now.Sub(began.Round(0)); passed < 0 || passed > 30*time.Minute {
			t.Errorf("a wall clock set by %s: %s have passed since the queue was opened", -by, passed)
		}
	}
}

// TestClockSetBackExpires: what a set clock would keep for years is given up no later
// than what is accepted now.
func TestClockSetBackExpires(t *testing.T) {
	f := newFixture(t, func(f *fixture) { f.invoke = failing(thaw.CodeThrottled) })
	it := f.put(t, "f", `1`)
	f.item(t, it.ID, thaw.ItemWaiting, 1)
	f.close(t)
	f.clock.advance(-10000 * time.Hour)
	f.open(t)
	f.clock.advance(f.cfg.Retry.MaxAge + time.Second)
	if dead := f.item(t, it.ID, thaw.ItemDead, 1); dead.Reason != "it waited longer than 6h0m0s for its turn" {
		t.Errorf("%+v", dead)
	}
}

// TestClockSetForward: what a daemon finds that is too old by the clock that was set
// becomes a dead letter with the reason, and is not lost: redriven, it is executed.
func TestClockSetForward(t *testing.T) {
	f := newFixture(t, func(f *fixture) { f.invoke = failing(thaw.CodeThrottled) })
	it := f.put(t, "f", `1`)
	f.item(t, it.ID, thaw.ItemWaiting, 1)
	f.close(t)
	f.clock.advance(10000 * time.Hour)
	f.invoke = nil
	f.open(t)
	f.item(t, it.ID, thaw.ItemDead, 1)
	if _, err := f.Redrive(thaw.ItemFilter{ID: it.ID}); err != nil {
		t.Fatal(err)
	}
	f.empty(t)
}
