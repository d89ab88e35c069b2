package daemon

import (
	"slices"
	"sync"

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
}

func newHistory() *history {
	return &history{byFunction: map[string][]thaw.Invocation{}, byID: map[string]thaw.Invocation{}}
}

func (h *history) add(i thaw.Invocation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := append(h.byFunction[i.Function], i)
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

func (h *history) get(id string) (thaw.Invocation, error) {
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
