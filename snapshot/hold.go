package snapshot

import (
	"sync"

	"thaw"
)

// holds counts who needs each snapshot. The zero value is ready; its methods may
// be called concurrently.
type holds struct {
	mu   sync.Mutex
	byID map[string]int
}

// take holds snapshot id until release is called.
func (h *holds) take(id string) (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byID == nil {
		h.byID = map[string]int{}
	}
	h.byID[id]++
	return sync.OnceFunc(func() { h.drop(id) })
}

func (h *holds) drop(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byID[id]--; h.byID[id] == 0 {
		delete(h.byID, id)
	}
}

func (h *holds) count(id string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byID[id]
}

// Discard deletes what [Store.List] calls id, with the reason that is beside it
// in quarantine. It fails with what allowed returns, which is asked when nobody can
// open the snapshot any more, and with [thaw.CodeConflict] while somebody has it
// open.
func (s *Store) Discard(id string, allowed func() error) error {
	a, gone, err := s.takeAway(id, allowed)
	if err != nil {
		return err
	}
	// Deleting may take a while, for which no restore is to wait.
	if err := removeAll(gone); err != nil || !a.quarantined {
		return err
	}
	return removeAll(a.path + reasonSuffix)
}

// takeAway is the part of Discard during which nobody can open a snapshot.
func (s *Store) takeAway(id string, allowed func() error) (a artifact, gone string, err error) {
	s.holds.mu.Lock()
	defer s.holds.mu.Unlock()
	if a, err = s.find(id); err != nil {
		return a, "", err
	}
	if err := allowed(); err != nil {
		return a, "", err
	}
	if n := s.holds.byID[a.id]; n > 0 && a.set == "" {
		return a, "", thaw.Errorf(thaw.CodeConflict, "snapshot %s is in use by VMs that were restored from it or are being (%d): wait until they have ended, which idle ones do by themselves, or deploy their function again, or remove it", id, n)
	}
	gone, err = s.hide(a.path, a.name)
	return a, gone, err
}
