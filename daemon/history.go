package daemon

import (
	"container/list"
	"slices"
	"sync"
	"time"

	"thaw"
)

// historyPerFunction is how many invocations of a function are remembered, and
// historyOfAll those of all: some 20 MB.
const (
	historyPerFunction = 100
	historyOfAll       = 10_000
)

// history remembers the last invocations of each function, in memory; of functions
// that were not invoked for long fewer, if there are many. Its methods may be called
// concurrently.
type history struct {
	mu         sync.Mutex
	byFunction map[string][]thaw.Invocation // oldest first, never empty
	byID       map[string]thaw.Invocation
	pending    map[string]chan struct{} // by ID: closed when the record is complete
	recent     *list.List               // the functions, that invoked last first
	places     map[string]*list.Element // in recent
	removed    removed
}

func newHistory() *history {
	return &history{
		byFunction: map[string][]thaw.Invocation{}, byID: map[string]thaw.Invocation{}, pending: map[string]chan struct{}{},
		recent: list.New(), places: map[string]*list.Element{}, removed: removed{},
	}
}

func (h *history) add(i thaw.Invocation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.put(i)
}

// begin adds a record that complete will replace.
func (h *history) begin(i thaw.Invocation) (complete func(thaw.Invocation)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.put(i)
	done := make(chan struct{})
	h.pending[i.ID] = done
	return func(i thaw.Invocation) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.replace(i)
		delete(h.pending, i.ID)
		close(done)
	}
}

// replace changes a record that is still there. The caller holds mu.
func (h *history) replace(i thaw.Invocation) {
	list := h.byFunction[i.Function]
	at := slices.IndexFunc(list, func(old thaw.Invocation) bool { return old.ID == i.ID })
	if at >= 0 {
		list[at], h.byID[i.ID] = i, i
	}
}

// put adds i, in place of the record of an earlier try at the same invocation.
// The caller holds mu.
func (h *history) put(i thaw.Invocation) {
	if h.removed.has(i.Function, i.Version) {
		return
	}
	list := h.byFunction[i.Function]
	if _, again := h.byID[i.ID]; again {
		list = slices.DeleteFunc(list, func(old thaw.Invocation) bool { return old.ID == i.ID })
	}
	h.byFunction[i.Function] = append(list, i)
	h.byID[i.ID] = i
	if place, known := h.places[i.Function]; known {
		h.recent.MoveToFront(place)
	} else {
		h.places[i.Function] = h.recent.PushFront(i.Function)
	}
	if len(list) >= historyPerFunction {
		h.forgetOldest(i.Function)
	}
	if len(h.byID) > historyOfAll {
		h.forgetOldest(h.recent.Back().Value.(string)) // a string, as above
	}
}

// forgetOldest forgets the oldest record of function. The caller holds mu.
func (h *history) forgetOldest(function string) {
	list := h.byFunction[function]
	delete(h.byID, list[0].ID)
	h.byFunction[function] = slices.Delete(list, 0, 1)
	if len(list) == 1 {
		h.drop(function)
	}
}

// drop forgets function, whose records are forgotten. The caller holds mu.
func (h *history) drop(function string) {
	if place, known := h.places[function]; known {
		h.recent.Remove(place)
	}
	delete(h.places, function)
	delete(h.byFunction, function)
}

// of returns the invocations of function, newest first.
func (h *history) of(function string) []thaw.Invocation {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := slices.Clone(h.byFunction[function])
	slices.Reverse(list)
	return list
}

// completion is how long get waits for a record to be complete.
const completion = 2 * time.Second

// get returns the record of an invocation, complete if that takes not too long.
func (h *history) get(id string) (thaw.Invocation, error) {
	h.mu.Lock()
	pending := h.pending[id]
	h.mu.Unlock()
	if pending != nil {
		select {
		case <-pending:
		case <-time.After(completion):
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	i, ok := h.byID[id]
	if !ok {
		return i, thaw.Errorf(thaw.CodeNotFound, "no invocation %q is remembered: up to %d of each function are, until the daemon restarts", id, historyPerFunction)
	}
	return i, nil
}

// forget forgets function and its versions up to last, also those of their invocations
// that are still under way.
func (h *history) forget(function string, last int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.removed.add(function, last)
	for _, i := range h.byFunction[function] {
		delete(h.byID, i.ID)
	}
	h.drop(function)
}
