package guest

import (
	"thaw"
	"thaw/agent/guest/http1"
	"thaw/agent/wire"
)

// errorTypePrime is that of a runtime that cannot be primed.
const errorTypePrime = "Runtime.PrimeUnsupported"

// priming says that invocations before the snapshot may come.
func (f *function) priming() bool {
	select {
	case <-f.prepare:
		return false
	default:
		return f.init.Prime
	}
}

// primed ends them. The host is answered when the runtime waits for work, or for the
// snapshot; it may do so already.
func (f *function) primed(session uint64) {
	if f.priming() {
		close(f.prepare)
	}
	f.mu.Lock()
	over, resting := f.over, f.resting
	if over == nil && !resting {
		f.settle = session
	}
	f.mu.Unlock()
	switch {
	case over != nil:
		f.link.send(session, &wire.Settled{FunctionError: *over}, nil)
	case resting:
		f.link.send(session, &wire.Settled{}, nil)
	}
}

// rest notes that the runtime waits where a snapshot can be taken.
func (f *function) rest() {
	f.isReady()
	f.mu.Lock()
	session := f.settle
	f.resting, f.settle = true, 0
	f.mu.Unlock()
	if session != 0 {
		f.link.send(session, &wire.Settled{}, nil)
	}
}

// wake notes that it does not any more.
func (f *function) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resting = false
}

// primeNext is thaw's own: it answers as next does while there are sample events to
// be run before the snapshot, and with 204 once there are no more. It is for
// runtimes that have something to do between these and the snapshot, which they ask
// for with restore/next; THAW_PRIME in their environment says that there are some.
func (a *api) primeNext(c *http1.Conn) error {
	switch {
	case a.working():
		return refuse(c, 403, "InvalidStateTransition", "The invocation before has not been answered")
	case !a.fn.priming():
		return c.Answer(204, "", nil)
	}
	a.fn.isReady()
	inv, err := a.await(c, a.fn.prepare)
	switch {
	case err != nil:
		return err
	case inv == nil:
		return c.Answer(204, "", nil)
	}
	return c.Answer(200, a.eventHeaders(inv), inv.payload)
}

// refuseRestore ends a runtime that asks for the snapshot while there are sample
// events, which it would never see.
func (a *api) refuseRestore(c *http1.Conn) error {
	a.fn.fail(thaw.FunctionError{Type: errorTypePrime, Message: "the runtime asked for the snapshot (restore/next) before its prime events: deploy without them, or have it ask for prime/next first"})
	return refuse(c, 403, "InvalidStateTransition", "There are events before the snapshot: ask for prime/next")
}
