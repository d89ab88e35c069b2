package daemon

import (
	"slices"
	"sync"
	"time"

	"thaw"
)

// historyPerFunction is how many invocations of a function are remembered.
const historyPerFunction = 100

// history remembers the last invocations of each function, in memory. Its
// methods may be called concurrently.
type history struct {
	mu         sync.Mutex
	byFunction map[string][]thaw.Invocation // oldest first
	byID       map[string]thaw.Invocation
	pending    map[string]chan struct{} // by ID: closed when the record is complete
}

func newHistory() *history {
	return &history{byFunction: map[string][]thaw.Invocation{}, byID: map[string]thaw.Invocation{}, pending: map[string]chan struct{}{}}
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
	list := h.byFunction[i.Function]
	if _, again := h.byID[i.ID]; again {
		list = slices.DeleteFunc(list, func(old thaw.Invocation) bool { return old.ID == i.ID })
	}
	list = append(list, i)
	if len(list) > historyPerFunction {
		delete(h.byID, list[0].ID)
		list = slices.Delete(list, 0, 1)
	}
	h.byFunction[i.Function] = list
	h.byID[i.ID] = i
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
		return i, thaw.Errorf(thaw.CodeNotFound, "no invocation %q is remembered: the last %d of each function are, until the daemon restarts", id, historyPerFunction)
	}
	return i, nil
}

func (h *history) forget(function string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, i := range h.byFunction[function] {
		delete(h.byID, i.ID)
	}
	delete(h.byFunction, function)
}
