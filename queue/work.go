package queue

import (
	"time"

	"thaw"
	"thaw/internal/uuid"
)

// dispatch begins attempts until the queue is closed.
func (q *Queue) dispatch() {
	for {
		var timer <-chan time.Time
		if due, ok := q.begin(); ok {
			timer = q.cfg.Clock.At(due)
		}
		select {
		case <-q.changed:
		case <-timer:
		case <-q.stop:
			return
		}
	}
}

// begin begins what may begin now and returns when something is due; not ok when
// nothing is before the queue changes.
func (q *Queue) begin() (due time.Time, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.cfg.Clock.Now()
	for !q.closed && q.busy < q.cfg.Limits.Workers {
		id, ok := q.order.next(now)
		if !ok {
			break
		}
		it := q.items[id]
		if !q.lease(it, now) {
			q.order.done(it.Function)
			if it.State == thaw.ItemWaiting {
				q.order.add(it.Function, it.ID, it.Due)
			}
			continue
		}
		q.busy++
		q.running.Go(func() { q.attempt(copyOf(it)) })
	}
	if q.closed || q.busy >= q.cfg.Limits.Workers {
		return time.Time{}, false
	}
	return q.order.wake()
}

// lease notes on the disk that an attempt at it begins, or that it is too late
// for one. It returns false when there is none to be. The caller holds mu.
func (q *Queue) lease(it *thaw.QueueItem, now time.Time) bool {
	next := copyOf(it)
	if now.After(it.Expires) {
		kill(&next, "it waited longer than "+q.cfg.Retry.MaxAge.String()+" for its turn", now)
	} else {
		next.State = thaw.ItemRunning
		next.Attempts = append(next.Attempts, thaw.Attempt{Began: now})
		next.Attempts = next.Attempts[max(0, len(next.Attempts)-thaw.MaxAttempts):]
	}
	if err := q.store.apply(change{put: []thaw.QueueItem{next}}); err != nil {
		q.cfg.Logger.Error("the queue cannot be written", "item", it.ID, "error", err)
		it.Due = now.Add(q.cfg.Retry.Platform.Cap) // nothing was begun, and a disk heals slowly
		return false
	}
	*it = next
	if it.State == thaw.ItemDead {
		q.mourn(it)
	}
	return it.State == thaw.ItemRunning
}

// attempt does what it asks for once and notes what came of it.
func (q *Queue) attempt(it thaw.QueueItem) {
	payload, err := q.store.payload(it.ID)
	if err != nil {
		q.finish(it.ID, nil, thaw.Errorf(thaw.CodeInvalid, "%w", err)) // it will not get better
		return
	}
	if it.Kind == thaw.KindCallback {
		q.finish(it.ID, nil, q.cfg.Deliver.Deliver(q.work, thaw.Delivery{
			URL: it.Callback, Function: it.Function, CallID: it.CallID, Payload: payload, CallResult: *it.Result, Trace: it.Trace,
		}))
		return
	}
	reply, err := q.cfg.Invoker.Invoke(q.work, thaw.InvokeRequest{Function: it.Ref().String(), Payload: payload, ID: it.ID, Trace: it.Trace})
	if err == nil && reply.FunctionError != "" {
		err = &functionError{reply.FunctionError, reply.Payload}
	}
	q.finish(it.ID, &reply, err)
}

// finish notes what came of an attempt. When an invocation is over, for good or
// bad, its callback takes its place in the same transaction.
func (q *Queue) finish(id string, reply *thaw.Reply, failure error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.poke()
	it := q.items[id]
	q.busy--
	q.order.done(it.Function)
	now := q.cfg.Clock.Now()
	next := copyOf(it)
	end(&next, now, failure)
	if reply != nil {
		next.Attempts[len(next.Attempts)-1].Version = reply.Version
	}
	var c change
	if failure == nil {
		c.remove = []string{id}
	} else {
		q.cfg.Retry.decide(&next, failure, now, q.cfg.Chance())
		c.put = []thaw.QueueItem{next}
	}
	callback := q.callback(next, reply, failure, &c)
	if err := q.store.apply(c); err != nil {
		// The lease stays on the disk; here it is tried again.
		q.cfg.Logger.Error("the queue cannot be written", "item", id, "error", err)
		it.State, it.Due = thaw.ItemWaiting, now.Add(q.cfg.Retry.Platform.Cap)
		q.order.add(it.Function, id, it.Due)
		return
	}
	if *it = next; failure == nil {
		q.drop(it)
	}
	switch it.State {
	case thaw.ItemWaiting:
		q.order.add(it.Function, id, it.Due)
	case thaw.ItemDead:
		q.mourn(it)
	}
	if callback != nil {
		q.keep(callback)
	}
}

// callback adds the delivery of the result to c, if it is asked for and it has one.
func (q *Queue) callback(it thaw.QueueItem, reply *thaw.Reply, failure error, c *change) *thaw.QueueItem {
	if it.Kind != thaw.KindInvoke || it.Callback == "" || failure != nil && it.State != thaw.ItemDead {
		return nil
	}
	result, payload := resultOf(reply, failure)
	now := q.cfg.Clock.Now()
	d := it
	d.ID = it.ID + thaw.CallbackSuffix
	if q.items[d.ID] != nil { // of an earlier run, before it was redriven
		d.ID += "-" + uuid.New()[:8]
	}
	d.Kind, d.State, d.Attempts, d.Failures, d.Faults, d.Reason, d.Died = thaw.KindCallback, thaw.ItemWaiting, nil, 0, 0, "", time.Time{}
	d.Accepted, d.Due, d.Expires, d.Bytes, d.Result = now, now, now.Add(q.cfg.Retry.MaxAge), len(payload), &result
	c.put, c.payloads = append(c.put, d), map[string][]byte{d.ID: payload}
	return &d
}

func (q *Queue) mourn(it *thaw.QueueItem) {
	q.cfg.Logger.Warn("dead letter", "item", it.ID, "function", it.Ref().String(), "source", it.Source, "reason", it.Reason)
}

// end completes the last attempt of it.
func end(it *thaw.QueueItem, now time.Time, err error) {
	a := &it.Attempts[len(it.Attempts)-1]
	a.DurationMS = float64(now.Sub(a.Began).Microseconds()) / 1e3
	if err != nil {
		a.Code, a.Error = thaw.CodeOf(err), clip(err.Error())
	}
}
