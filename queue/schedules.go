package queue

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"thaw"
)

// maxSchedules bounds the schedules of a file.
const maxSchedules = 1000

// Schedules returns every schedule, by id.
func (q *Queue) Schedules() []thaw.Schedule {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.SortedFunc(maps.Values(q.schedules), func(a, b thaw.Schedule) int { return cmp.Compare(a.ID, b.ID) })
}

// PutSchedule stores s in place of one with its id.
func (q *Queue) PutSchedule(s thaw.Schedule) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, there := q.schedules[s.ID]
	switch {
	case q.closed:
		return thaw.Errorf(thaw.CodeUnavailable, "the daemon is stopping")
	case len(s.Data) > q.cfg.Limits.Event:
		return thaw.Errorf(thaw.CodeTooLarge, "the event of schedule %s is %d bytes: at most %d are allowed", s.ID, len(s.Data), q.cfg.Limits.Event)
	case !there && len(q.schedules) >= maxSchedules:
		return thaw.Errorf(thaw.CodeConflict, "there are %d schedules, the most there can be: remove one first", maxSchedules)
	}
	if err := q.store.apply(change{schedule: &s}); err != nil {
		return err
	}
	q.schedules[s.ID] = s
	return nil
}

// RemoveSchedules removes the schedules that which chooses and returns how many
// these are.
func (q *Queue) RemoveSchedules(which func(thaw.Schedule) bool) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, thaw.Errorf(thaw.CodeUnavailable, "the daemon is stopping")
	}
	var ids []string
	for id, s := range q.schedules {
		if which(s) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return 0, nil
	}
	if err := q.store.apply(change{forget: ids}); err != nil {
		return 0, err
	}
	for _, id := range ids {
		delete(q.schedules, id)
	}
	return len(ids), nil
}

// Fire accepts an invocation for s and stores s, which has its next due time, in
// one transaction: a slot is never fired for twice, and never lost. When the queue
// has no room it stores s with the problem and returns that. A schedule that was
// removed or set anew meanwhile does not fire.
func (q *Queue) Fire(_ context.Context, s thaw.Schedule) (thaw.Schedule, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now, there := q.schedules[s.ID]; !there || !now.Created.Equal(s.Created) {
		return s, thaw.Errorf(thaw.CodeNotFound, "schedule %s is not there any more", s.ID)
	}
	it, refused := q.admit(thaw.AsyncRequest{Function: s.Ref().String(), Payload: s.Data, Source: thaw.SourceSchedule + s.ID})
	c := change{schedule: &s}
	switch thaw.CodeOf(refused) {
	case "":
		s.Last, s.LastRequest, s.Problem = it.Accepted, it.ID, ""
		c.put, c.payloads = []thaw.QueueItem{it}, map[string][]byte{it.ID: s.Data}
	case thaw.CodeThrottled, thaw.CodeTooLarge:
		s.Problem = refused.Error()
	default:
		return s, refused
	}
	if err := q.store.apply(c); err != nil {
		return s, err
	}
	q.schedules[s.ID] = s
	if refused == nil {
		q.keep(&it)
		q.poke()
	}
	return s, refused
}
