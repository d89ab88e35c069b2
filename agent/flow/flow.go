// Package flow bounds what is under way on a stream between two sides that each
// have many: the receiver keeps what arrived in an [Inbox] and grants credit as it
// is passed on; the sender spends [Credit]. So what waits for a slow reader waits
// at the source, and nobody's memory fills with it.
package flow

import (
	"errors"
	"io"
	"math"
	"sync"
)

// ErrOverrun is a sender that sent more than it had credit for.
var ErrOverrun = errors.New("more was sent than had been granted")

// Inbox is the receiver's end of a stream. It never holds more than its window. One
// goroutine puts into it and another takes out.
type Inbox struct {
	window int

	mu      sync.Mutex
	buf     []byte
	granted int   // what the sender may still send
	used    int   // was passed on and has not been granted again
	end     error // nil while more may come

	changed chan struct{} // has room for one
}

// NewInbox returns an Inbox whose sender begins with credit for window bytes.
func NewInbox(window int) *Inbox {
	return &Inbox{window: window, granted: window, changed: make(chan struct{}, 1)}
}

// Put takes in p, which the Inbox keeps. What comes after the end is dropped.
func (b *Inbox) Put(p []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.end != nil {
		return nil
	}
	if len(p) > b.granted {
		return ErrOverrun
	}
	b.granted -= len(p)
	if len(b.buf) == 0 {
		b.buf = p
	} else {
		b.buf = append(b.buf, p...)
	}
	poke(b.changed)
	return nil
}

// End says that nothing follows, because of err: Take returns it behind the last
// bytes. Nil is the regular end, io.EOF. Only the first end counts.
func (b *Inbox) End(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.end != nil {
		return
	}
	if b.end = err; err == nil {
		b.end = io.EOF
	}
	poke(b.changed)
}

// Take waits for bytes and returns all that are there, which are the caller's from
// then on, and the end's error once there are none. A done that is closed is
// [io.ErrClosedPipe].
func (b *Inbox) Take(done <-chan struct{}) ([]byte, error) {
	for {
		if p, err := b.take(); len(p) > 0 || err != nil {
			return p, err
		}
		select {
		case <-b.changed:
		case <-done:
			return nil, io.ErrClosedPipe
		}
	}
}

func (b *Inbox) take() ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.buf) == 0 {
		return nil, b.end
	}
	p := b.buf
	b.buf = nil
	return p, nil
}

// Grant says that n bytes have been passed on, and returns how many the sender is to
// be granted now: none until it is worth a message, and none after the end.
func (b *Inbox) Grant(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used += n; b.used < b.window/2 || b.end != nil {
		return 0
	}
	grant := b.used
	b.granted, b.used = b.granted+grant, 0
	return grant
}

// Credit is the sender's end of a stream: how much it may send. Add and Take may be
// called by one goroutine each.
type Credit struct {
	mu      sync.Mutex
	left    int64
	changed chan struct{} // has room for one
}

// NewCredit returns credit for n bytes.
func NewCredit(n int) *Credit {
	return &Credit{left: int64(n), changed: make(chan struct{}, 1)}
}

// Add takes in what the receiver grants, which it cannot do without bounds.
func (c *Credit) Add(n int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n <= 0 || n > math.MaxInt32 || c.left > math.MaxInt32 {
		return errors.New("credit out of bounds")
	}
	c.left += n
	poke(c.changed)
	return nil
}

// Take waits for credit and spends up to n of it. It returns 0 when done is closed.
func (c *Credit) Take(n int, done <-chan struct{}) int {
	for {
		if got := c.take(n); got > 0 {
			return got
		}
		select {
		case <-c.changed:
		case <-done:
			return 0
		}
	}
}

func (c *Credit) take(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	got := int(min(int64(n), c.left))
	c.left -= int64(got)
	return got
}

// poke wakes who waits on changed, now or later.
func poke(changed chan struct{}) {
	select {
	case changed <- struct{}{}:
	default:
	}
}
