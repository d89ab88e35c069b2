// Package agent is the host's side of the channel to the agent in a guest. A
// [Conn] speaks package wire over a byte stream, usually one end of a socket
// pair whose other end is the guest's virtio-serial port.
//
// The order of calls is Sync, Resume, then either Init and Quiesce (to make a
// snapshot) or any number of Invokes or Exchanges, by what the function is. Nothing the guest sends is trusted: every
// length is bounded and every answer is checked.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"thaw/agent/wire"
)

// ErrGone is in the chain of every error that means the guest, or the
// connection to it, is of no further use: it hung up, it reported that it
// cannot go on, or the Conn was closed.
var ErrGone = errors.New("guest agent is gone")

// Log is one line a function wrote.
type Log struct {
	// RequestID is "" outside invocations.
	RequestID string
	// Stream is stdout, stderr or platform.
	Stream string
	// Text has no line end, is valid UTF-8 and at most [wire.MaxLine] bytes
	// long (a little more where bytes that are not UTF-8 were replaced).
	Text string
	// Time is by the guest's clock.
	Time time.Time
}

// Conn is a connection to one guest. Its methods may be called from many
// goroutines, but of each kind of call, and of each request id, only one may be
// under way. It owns one goroutine, which Close ends.
type Conn struct {
	rw      io.ReadWriteCloser
	onLog   func(Log)
	session uint64

	write chan struct{} // held by the one who writes
	head  []byte        // the writer's buffer

	mu      sync.Mutex
	waiters map[key]chan wire.Frame
	err     error // set when gone is closed
	// messages is the guest's wire.MessageVersion, known after Sync.
	messages   uint64
	streams    map[uint64]*exchange
	lastStream uint64

	gone chan struct{} // closed when the guest is of no further use
	done chan struct{} // closed when the reader has ended
}

// key tells which answer a call waits for.
type key struct {
	kind wire.Type
	id   string
}

// NewConn returns a Conn on rw, which it owns from now on. Closing rw must end
// a Read and a Write under way, as it does for a [net.Conn]. onLog is called for
// each line the function writes, one at a time and before the result of the
// invocation that wrote it is returned; while it runs, nothing else is read. It
// may be nil.
func NewConn(rw io.ReadWriteCloser, onLog func(Log)) *Conn {
	c := &Conn{
		rw: rw, onLog: onLog,
		session: rand.Uint64N(math.MaxUint64) + 1, // 0 is no session
		write:   make(chan struct{}, 1),
		waiters: make(map[key]chan wire.Frame),
		streams: make(map[uint64]*exchange),
		gone:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	go c.read()
	return c
}

// Close closes the stream and ends every call under way with [ErrGone]. It
// returns when the Conn's goroutine has ended, so onLog must not call it.
// Further calls do nothing.
func (c *Conn) Close() error {
	c.fail(fmt.Errorf("%w: connection closed", ErrGone))
	<-c.done
	return nil
}

// Done is closed when the guest is of no further use, for whoever wants to know
// before the next call fails.
func (c *Conn) Done() <-chan struct{} { return c.gone }

// fail records the first reason why the guest is gone, and closes the stream.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	close(c.gone)
	c.rw.Close() // the reason is worth more than the error of closing
	streams := slices.Collect(maps.Values(c.streams))
	c.mu.Unlock()
	for _, x := range streams {
		x.end(err, true)
	}
}

func (c *Conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// read is the Conn's goroutine.
func (c *Conn) read() {
	defer close(c.done)
	r := wire.NewReader(c.rw)
	for {
		f, err := r.Next()
		if err != nil {
			c.fail(fmt.Errorf("%w: read: %w", ErrGone, err))
			return
		}
		if f.Session == c.session {
			c.dispatch(f)
		}
	}
}

func (c *Conn) dispatch(f wire.Frame) {
	switch f.Type {
	case wire.TypeLog:
		c.log(f)
	case wire.TypeHead, wire.TypeData, wire.TypeTrailer, wire.TypeWindow, wire.TypeReset:
		c.stream(f)
	case wire.TypeFatal:
		var m wire.Fatal
		if err := f.Decode(&m); err != nil {
			m.Message = err.Error()
		}
		c.fail(fmt.Errorf("%w: it reports: %.4096q", ErrGone, m.Message))
	default:
		c.deliver(f)
	}
}

// answers maps the type of an answer to the type of the question.
func answers(t wire.Type) wire.Type {
	switch t {
	case wire.TypeSyncAck:
		return wire.TypeSync
	case wire.TypeResumed:
		return wire.TypeResume
	case wire.TypeInitDone, wire.TypeInitFailed:
		return wire.TypeInit
	case wire.TypeSettled:
		return wire.TypePrimed
	case wire.TypeQuiesced:
		return wire.TypeQuiesce
	case wire.TypeResult:
		return wire.TypeInvoke
	case wire.TypePong:
		return wire.TypePing
	case wire.TypeGiven:
		return wire.TypeSecrets
	}
	return 0
}

// deliver hands f to the call that waits for it; nobody waiting drops it.
func (c *Conn) deliver(f wire.Frame) {
	k, err := answered(f)
	if err != nil {
		return
	}
	c.mu.Lock()
	ch := c.waiters[k]
	delete(c.waiters, k)
	c.mu.Unlock()
	if ch != nil {
		ch <- f // has room for the one answer
	}
}

// answered returns the key of the call that f answers.
func answered(f wire.Frame) (key, error) {
	k := key{kind: answers(f.Type)}
	switch f.Type {
	case wire.TypeResult:
		var m wire.Result
		err := f.Decode(&m)
		return key{k.kind, m.RequestID}, err
	case wire.TypePong:
		var m wire.Pong
		err := f.Decode(&m)
		return key{k.kind, nonceID(m.Nonce)}, err
	}
	return k, nil
}

func nonceID(nonce uint64) string { return strconv.FormatUint(nonce, 16) }

// call sends m and returns the answer to it.
func (c *Conn) call(ctx context.Context, id string, m wire.Message, raw []byte) (wire.Frame, error) {
	f, err := wire.New(c.session, m, raw)
	if err != nil {
		return wire.Frame{}, err
	}
	k := key{m.Type(), id}
	answer, err := c.wait(k)
	if err != nil {
		return wire.Frame{}, fmt.Errorf("%s: %w", m.Type(), err)
	}
	defer c.forget(k, answer)
	if err := c.send(ctx, f); err != nil {
		return wire.Frame{}, fmt.Errorf("send %s: %w", m.Type(), err)
	}
	select {
	case f := <-answer:
		return f, nil
	case <-c.gone:
		err = c.reason()
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	select {
	case f := <-answer: // it came first, as when a guest answers and hangs up
		return f, nil
	default:
		return wire.Frame{}, fmt.Errorf("wait for answer to %s: %w", m.Type(), err)
	}
}

func (c *Conn) wait(k key) (chan wire.Frame, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	if c.waiters[k] != nil {
		return nil, errors.New("another one is under way")
	}
	ch := make(chan wire.Frame, 1)
	c.waiters[k] = ch
	return ch, nil
}

func (c *Conn) forget(k key, ch chan wire.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiters[k] == ch {
		delete(c.waiters, k)
	}
}

// send writes one frame. A write that is stopped halfway leaves a stream that
// only the next connection can use, so a ctx that ends during it ends the Conn.
func (c *Conn) send(ctx context.Context, f wire.Frame) error {
	select {
	case c.write <- struct{}{}:
	case <-c.gone:
		return c.reason()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-c.write }()
	head, tail, err := wire.Encode(c.head[:0], f)
	if err != nil {
		return err
	}
	c.head = head
	stop := context.AfterFunc(ctx, func() {
		c.fail(fmt.Errorf("%w: gave up in the middle of a frame: %w", ErrGone, context.Cause(ctx)))
	})
	defer stop()
	return c.writeAll(head, tail)
}

func (c *Conn) writeAll(parts ...[]byte) error {
	for _, p := range parts {
		if len(p) == 0 {
			continue
		}
		if _, err := c.rw.Write(p); err != nil {
			c.fail(fmt.Errorf("%w: write: %w", ErrGone, err))
			return c.reason()
		}
	}
	return nil
}
