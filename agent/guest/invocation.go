package guest

import (
	"errors"
	"slices"
	"time"

	"thaw"
	"thaw/agent/guest/http1"
	"thaw/agent/wire"
)

// invocation is one request by the Lambda Runtime API, from Invoke to its result.
type invocation struct {
	call
	wire.Invoke
	session uint64
	payload []byte
	taken   bool // handed to the runtime
}

// invoke hands an invocation to the runtime when that asks for one next.
func (a *api) invoke(m wire.Invoke, session uint64, payload []byte) {
	inv := &invocation{Invoke: m, session: session, payload: payload}
	inv.requestID, inv.fail = m.RequestID, func(fe thaw.FunctionError, finished bool) { a.fail(inv, fe, finished) }
	a.mu.Lock()
	over, refused := a.fn.begin(&inv.call, time.Duration(m.RemainingMS)*time.Millisecond)
	if over == nil && refused == "" {
		a.invocations[m.RequestID] = inv
		a.pending = append(a.pending, inv)
		a.poke()
	}
	a.mu.Unlock()
	switch {
	case over != nil:
		a.fail(inv, *over, true)
	case refused != "":
		a.fn.link.send(session, &wire.Result{RequestID: m.RequestID, Refused: refused}, nil)
	default:
		a.fn.release() // at the latest: the host is content with the clock
	}
}

// fail answers inv with an error of the platform's, which the function's log shows as
// well.
func (a *api) fail(inv *invocation, fe thaw.FunctionError, finished bool) {
	a.mu.Lock()
	if a.invocations[inv.RequestID] == inv {
		delete(a.invocations, inv.RequestID)
	}
	a.pending = slices.DeleteFunc(a.pending, func(p *invocation) bool { return p == inv })
	unserved := finished && !inv.taken && fe.Type != thaw.ErrorTypeTimeout
	a.mu.Unlock()
	if !unserved {
		a.fn.tell(inv.session, &inv.call, fe.Message)
	}
	a.fn.link.send(inv.session, &wire.Result{RequestID: inv.RequestID, FunctionError: fe.Type, Finished: finished, Unserved: unserved}, fe.JSON())
}

// forget leaves what is under way: its results are of a session that nobody listens
// to.
func (a *api) forget() {}

// poke wakes one of those who wait for work, now or later.
func (a *api) poke() {
	select {
	case a.work <- struct{}{}:
	default:
	}
}

// take returns the next invocation as handed to the runtime, nil when there is none
// that has not ended meanwhile.
func (a *api) take() *invocation {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.pending) > 0 {
		inv := a.pending[0]
		a.pending = a.pending[1:]
		if len(a.pending) > 0 {
			a.poke()
		}
		if a.fn.waits(&inv.call) {
			inv.taken = true
			return inv
		}
	}
	return nil
}

// working reports whether the runtime has as many invocations to answer as it may.
func (a *api) working() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, inv := range a.invocations {
		if inv.taken {
			n++
		}
	}
	return n >= a.fn.concurrency()
}

// taken returns the invocation called id if the runtime may answer it now, or nil.
func (a *api) taken(id string) *invocation {
	a.mu.Lock()
	defer a.mu.Unlock()
	inv := a.invocations[id]
	if inv == nil || !inv.taken || !a.fn.waits(&inv.call) {
		return nil
	}
	return inv
}

func (a *api) answering(id string) bool { return a.taken(id) != nil }

// complete ends the invocation called id with the runtime's answer. It reports false
// when that came too late.
func (a *api) complete(id, functionError string, body []byte) bool {
	a.fn.logs.drain()
	inv := a.taken(id)
	if inv == nil || !a.fn.finish(&inv.call) {
		return false
	}
	a.mu.Lock()
	delete(a.invocations, id)
	a.mu.Unlock()
	a.fn.link.send(inv.session, &wire.Result{RequestID: id, FunctionError: functionError}, body)
	return true
}

var errGivenUp = errors.New("nobody waits for this answer any more")

// next blocks until there is work. For a runtime that does not know
// restore/next this is where the snapshot is taken.
func (a *api) next(c *http1.Conn) error {
	if a.working() {
		return refuse(c, 403, "InvalidStateTransition", "The invocation before has not been answered")
	}
	a.fn.rest()
	inv, err := a.await(c, nil)
	if err != nil {
		return err
	}
	return c.Answer(200, a.eventHeaders(inv), inv.payload)
}

// await returns the next invocation for c, nil when over is closed. Only the latest
// callers get one, as many as may be under way, and only if they are still there:
// nobody reads from a connection that a client has given up, whether it has asked
// again already or will.
func (a *api) await(c *http1.Conn, over <-chan struct{}) (*invocation, error) {
	superseded := a.wait()
	defer a.leave(superseded)
	for {
		select {
		case <-a.work:
			if isClosed(superseded) || c.Gone() {
				a.poke() // somebody else
				return nil, errGivenUp
			}
			a.fn.logs.drain()
			if inv := a.take(); inv != nil {
				a.fn.wake()
				return inv, nil
			}
		case <-over:
			return nil, nil
		case <-superseded:
			return nil, errGivenUp
		case <-a.closed:
			return nil, errGivenUp
		}
	}
}

// wait joins those who wait for work; the one who has waited longest has to go if
// they are too many.
func (a *api) wait() chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	superseded := make(chan struct{})
	a.waiters = append(a.waiters, superseded)
	if len(a.waiters) > a.fn.concurrency() {
		close(a.waiters[0])
		a.waiters = slices.Delete(a.waiters, 0, 1)
	}
	return superseded
}

func (a *api) leave(waiter chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := slices.Index(a.waiters, waiter); i >= 0 {
		a.waiters = slices.Delete(a.waiters, i, i+1)
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
