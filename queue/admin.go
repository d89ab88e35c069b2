package queue

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"thaw"
)

// Items returns the items that f chooses, those accepted first first.
func (q *Queue) Items(f thaw.ItemFilter) []thaw.QueueItem {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := []thaw.QueueItem{}
	for it := range maps.Values(q.items) {
		if chosen(it, f) {
			all = append(all, copyOf(it))
		}
	}
	slices.SortFunc(all, func(a, b thaw.QueueItem) int {
		return cmp.Or(a.Accepted.Compare(b.Accepted), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// Item returns an item and its payload.
func (q *Queue) Item(id string) (thaw.QueueItem, []byte, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[id]
	if it == nil {
		return thaw.QueueItem{}, nil, notThere(id)
	}
	payload, err := q.store.payload(id)
	if err != nil && it.State == thaw.ItemDead {
		return copyOf(it), nil, nil //nolint:nilerr // it may be dead because of that
	}
	return copyOf(it), payload, err
}

// Redrive has the dead letters that f chooses tried as if they were new, and
// returns how many these are. One that is named must be there and dead.
func (q *Queue) Redrive(f thaw.ItemFilter) (int, error) {
	f.State = thaw.ItemDead
	q.mu.Lock()
	defer q.mu.Unlock()
	list, err := q.choose(f)
	if err != nil {
		return 0, err
	}
	var again []thaw.QueueItem
	now := q.cfg.Clock.Now()
	for _, it := range list {
		if it.Function == "" {
			if f.ID != "" {
				return 0, thaw.Errorf(thaw.CodeConflict, "item %s is damaged: it can only be purged", it.ID)
			}
			continue
		}
		next := copyOf(it)
		next.State, next.Reason, next.Died, next.Failures, next.Faults = thaw.ItemWaiting, "", time.Time{}, 0, 0
		next.Due, next.Expires = now, now.Add(q.cfg.Retry.MaxAge)
		again = append(again, next)
	}
	if err := q.store.apply(change{put: again}); err != nil {
		return 0, err
	}
	for _, it := range again {
		*q.items[it.ID] = it
		q.order.add(it.Function, it.ID, it.Due)
	}
	q.poke()
	return len(again), nil
}

// Purge removes the items that f chooses and that do not run, and returns how
// many these are. One that is named must be there and not run.
func (q *Queue) Purge(f thaw.ItemFilter) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	list, err := q.choose(f)
	if err != nil {
		return 0, err
	}
	list = slices.DeleteFunc(list, func(it *thaw.QueueItem) bool { return it.State == thaw.ItemRunning })
	if f.ID != "" && len(list) == 0 {
		return 0, thaw.Errorf(thaw.CodeConflict, "item %s is being executed: wait for that to end", f.ID)
	}
	var ids []string
	for _, it := range list {
		ids = append(ids, it.ID)
	}
	if err := q.store.apply(change{remove: ids}); err != nil {
		return 0, err
	}
	for _, it := range list {
		q.order.remove(it.Function, it.ID)
		q.drop(it)
	}
	return len(list), nil
}

// choose returns the items of f. The caller holds mu.
func (q *Queue) choose(f thaw.ItemFilter) ([]*thaw.QueueItem, error) {
	if q.closed {
		return nil, thaw.Errorf(thaw.CodeUnavailable, "the daemon is stopping")
	}
	if f.ID != "" && q.items[f.ID] == nil {
		return nil, notThere(f.ID)
	}
	var list []*thaw.QueueItem
	for _, it := range q.items {
		if chosen(it, f) {
			list = append(list, it)
		}
	}
	if f.ID != "" && len(list) == 0 {
		return nil, thaw.Errorf(thaw.CodeConflict, "item %s is %s, not %s", f.ID, q.items[f.ID].State, f.State)
	}
	return list, nil
}

func chosen(it *thaw.QueueItem, f thaw.ItemFilter) bool {
	return (f.ID == "" || f.ID == it.ID) && (f.Function == "" || f.Function == it.Function) && (f.State == "" || f.State == it.State)
}

func notThere(id string) error {
	return thaw.Errorf(thaw.CodeNotFound, "no item %s is in the queue: it is done, or was never accepted; `thaw explain %s` tells of a recent invocation", id, id)
}
