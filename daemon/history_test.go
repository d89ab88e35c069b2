package daemon

import (
	"fmt"
	"sync"
	"testing"

	"thaw"
)

func invocation(function string, n int) thaw.Invocation {
	return thaw.Invocation{ID: fmt.Sprintf("%s-%d", function, n), Function: function, Version: n}
}

func TestHistoryIsBounded(t *testing.T) {
	h := newHistory()
	const extra = 50
	for n := range historyPerFunction + extra {
		h.add(invocation("busy", n))
	}
	h.add(invocation("idle", 0))
	list := h.of("busy")
	if len(list) != historyPerFunction {
		t.Fatalf("%d invocations are remembered, want %d", len(list), historyPerFunction)
	}
	for i, got := range list {
		if want := historyPerFunction + extra - 1 - i; got.Version != want {
			t.Fatalf("place %d holds invocation %d, want %d: newest first", i, got.Version, want)
		}
	}
	if len(h.byID) != historyPerFunction+1 {
		t.Errorf("%d ids are remembered, want %d", len(h.byID), historyPerFunction+1)
	}
	if _, err := h.get("busy-49"); thaw.CodeOf(err) != thaw.CodeNotFound {
		t.Errorf("get of a forgotten one = %v, want %s", err, thaw.CodeNotFound)
	}
	for _, id := range []string{"busy-50", "busy-149", "idle-0"} {
		if got, err := h.get(id); err != nil || got.ID != id {
			t.Errorf("get(%q) = %q, %v", id, got.ID, err)
		}
	}
}

// TestHistoryOfManyFunctions: what all together occupy is bounded, and functions in
// use keep what they have.
func TestHistoryOfManyFunctions(t *testing.T) {
	h := newHistory()
	for n := range 2*historyOfAll + 7 {
		h.add(invocation(fmt.Sprint("f", n), 0))
		h.add(invocation("busy", n))
	}
	if len(h.byID) != historyOfAll || len(h.of("busy")) != historyPerFunction {
		t.Errorf("%d records, %d of the function in use", len(h.byID), len(h.of("busy")))
	}
	if n := len(h.byFunction); n != h.recent.Len() || n != len(h.places) || n != historyOfAll-historyPerFunction+1 {
		t.Errorf("%d functions, %d and %d places", n, h.recent.Len(), len(h.places))
	}
	if len(h.of("f0")) != 0 || len(h.of(fmt.Sprint("f", 2*historyOfAll))) != 1 {
		t.Error("it is not the functions that were invoked last whose records are kept")
	}
}

func TestHistoryForgets(t *testing.T) {
	h := newHistory()
	h.add(invocation("a", 0))
	h.add(invocation("a-1", 0))
	h.forget("a", 3)
	h.forget("never", 0)
	if len(h.of("a")) != 0 || len(h.of("a-1")) != 1 {
		t.Errorf("after forget: %v and %v", h.of("a"), h.of("a-1"))
	}
	if _, err := h.get("a-0"); thaw.CodeOf(err) != thaw.CodeNotFound {
		t.Errorf("get of a forgotten function's = %v", err)
	}
	if _, err := h.get("a-1-0"); err != nil {
		t.Errorf("another function is forgotten too: %v", err)
	}
	if len(h.byFunction) != 1 || len(h.byID) != 1 {
		t.Errorf("%d functions and %d ids stay in memory", len(h.byFunction), len(h.byID))
	}
	h.add(invocation("a", 3)) // it was under way meanwhile
	h.begin(invocation("a", 2))(invocation("a", 2))
	if got := h.of("a"); len(got) > 0 {
		t.Errorf("after it was removed: %v", got)
	}
	h.add(invocation("a", 7)) // deployed again
	if got := h.of("a"); len(got) != 1 || got[0].Version != 7 {
		t.Errorf("after a new deploy: %v", got)
	}
}

func TestHistoryOfIsACopy(t *testing.T) {
	h := newHistory()
	h.add(invocation("a", 1))
	h.of("a")[0].ID = "changed"
	if h.of("a")[0].ID != "a-1" {
		t.Error("a caller can change the history")
	}
	if got := h.of("never"); len(got) != 0 {
		t.Errorf("of an unknown function: %v", got)
	}
}

func TestHistoryAtOnce(t *testing.T) {
	h := newHistory()
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			function := fmt.Sprint("f", i%2)
			for n := range 200 {
				h.add(invocation(function, i*1000+n))
				_ = h.of(function)
				if n == 100 && i == 0 {
					h.forget(function, 0)
				}
			}
		})
	}
	work.Wait()
	f0, f1 := len(h.of("f0")), len(h.of("f1")) // how late f0 was forgotten, nobody knows
	if f0 > historyPerFunction || f1 != historyPerFunction || len(h.byID) != f0+f1 {
		t.Errorf("%d and %d invocations and %d ids are remembered", f0, f1, len(h.byID))
	}
}

func TestKeyedMutex(t *testing.T) {
	var k keyedMutex
	if !k.tryLock("a") || !k.tryLock("b") || !k.tryLock("") {
		t.Fatal("a free lock was not taken")
	}
	if k.tryLock("a") {
		t.Error("a lock was taken twice")
	}
	k.unlock("a")
	if k.tryLock("b") || !k.tryLock("a") {
		t.Error("unlock of a concerns another key, or not its own")
	}
	k.unlock("a")
	k.unlock("b")
	k.unlock("")
	if len(k.held) != 0 {
		t.Errorf("%d keys stay in memory", len(k.held))
	}
}

func TestKeyedMutexAtOnce(t *testing.T) {
	var k keyedMutex
	counts := map[string]*int{"a": new(int), "b": new(int)} // each guarded by its key's lock
	taken := map[string]int{}
	var mu sync.Mutex
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for n := range 1000 {
				key := []string{"a", "b"}[n%2]
				if !k.tryLock(key) {
					continue
				}
				*counts[key]++
				k.unlock(key)
				mu.Lock()
				taken[key]++
				mu.Unlock()
			}
		})
	}
	work.Wait()
	for key, n := range counts {
		if *n != taken[key] || *n == 0 {
			t.Errorf("key %s: counted %d, want %d", key, *n, taken[key])
		}
	}
}
