package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"thaw"
	"thaw/agent/flow"
	"thaw/agent/wire"
)

// ErrClient is in the chain of errors that are the client's doing: it went away, or
// its side of the exchange failed. The guest is well, and does not work for it any
// more.
var ErrClient = errors.New("the client is gone")

// sendTimeout is how long the guest may take to read one frame of a stream. It always
// reads: this is for one that hangs.
const sendTimeout = 10 * time.Second

// Request is a request to a function that is an HTTP server.
type Request struct {
	// RequestID is 1 to 64 letters, digits and -.
	RequestID string
	// Deadline is when the agent gives up on it.
	Deadline time.Time
	thaw.HTTPRequest
}

// Replier takes a reply as it comes. Its methods are called by one goroutine. The
// guest's credit comes back as Write returns, so it may take its time. Its errors
// end the exchange as [ErrClient].
type Replier interface {
	// Head is called once, before the rest.
	Head(thaw.HTTPReply) error
	Write(p []byte) (int, error)
	// Trailer is called before the end, if there is one.
	Trailer([]thaw.HTTPField) error
}

// Exchanged is how an exchange ended.
type Exchanged struct {
	// Failure is why there is no reply, or no end of it, nil if there is.
	Failure *thaw.FunctionError
	// Finished says that the guest is to be given no further request, and must be
	// thrown away when those under way are over.
	Finished bool
}

// Exchange sends r to the function's HTTP server and hands the reply to w as it comes.
// It returns when the exchange is over and nobody uses r's body or w any more. A
// function that fails or times out is in the result. An error means that the guest
// must be thrown away, except for one that wraps [ErrClient], as does the end of ctx by
// any other cause than a deadline.
func (c *Conn) Exchange(ctx context.Context, r Request, w Replier) (Exchanged, error) {
	var upload sync.WaitGroup
	defer upload.Wait()
	if r.Body != nil {
		defer r.Body.Close() // ends the upload, should it still wait for more
	}
	x, err := c.open(r)
	if err != nil {
		return Exchanged{}, err
	}
	defer x.close()
	if r.Body != nil {
		upload.Go(func() { x.upload(r.Body) })
	}
	stop := make(chan struct{})
	defer context.AfterFunc(ctx, func() { close(stop) })()
	err = x.download(stop, w)
	if errors.Is(err, io.ErrClosedPipe) {
		err = gaveUp(ctx)
	}
	return outcome(err)
}

// exchange is one stream, from Open to its end.
type exchange struct {
	conn   *Conn
	id     uint64
	in     *flow.Inbox // the reply's body; its end is the stream's
	credit *flow.Credit
	head   chan []byte   // has room for the one
	over   chan struct{} // closed by end

	mu      sync.Mutex
	headed  bool // head has come
	ended   bool // the guest knows that it is over
	closed  bool // over is closed
	trailer []byte
}

// open begins a stream.
func (c *Conn) open(r Request) (*exchange, error) {
	head, err := encodeHead(r.HTTPRequest)
	if err == nil {
		err = wire.CheckID(r.RequestID)
	}
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "the request cannot be sent: %w", err)
	}
	x := &exchange{
		conn: c, in: flow.NewInbox(wire.StreamWindow), credit: flow.NewCredit(wire.StreamWindow),
		head: make(chan []byte, 1), over: make(chan struct{}),
	}
	if err := c.addStream(x); err != nil {
		return nil, err
	}
	err = x.send(&wire.Open{
		Stream: x.id, RequestID: r.RequestID, RemainingMS: time.Until(r.Deadline).Milliseconds(),
		Body: r.Body != nil, Chunked: r.Body != nil && r.Length < 0,
	}, head)
	if err != nil {
		x.end(nil, false)
		return nil, err
	}
	return x, nil
}

// send sends one frame. That may not depend on any client: half a frame would be the
// end of the connection.
func (x *exchange) send(m wire.Message, raw []byte) error {
	f, err := wire.New(x.conn.session, m, raw)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	if err := x.conn.send(ctx, f); err != nil {
		return fmt.Errorf("send %s: %w", m.Type(), err)
	}
	return nil
}

// upload sends the request's body as far as there is credit.
func (x *exchange) upload(body io.Reader) {
	buf := make([]byte, wire.MaxData)
	for {
		n, err := body.Read(buf)
		for sent := 0; sent < n; {
			k := x.credit.Take(n-sent, x.over)
			if k == 0 || x.send(&wire.Data{Stream: x.id}, buf[sent:sent+k]) != nil {
				return // the stream is over, or the connection: download has the reason
			}
			sent += k
		}
		if errors.Is(err, io.EOF) {
			_ = x.send(&wire.Data{Stream: x.id, End: true}, nil) // as above
			return
		}
		if err != nil {
			x.end(fmt.Errorf("%w: read the request's body: %w", ErrClient, err), false)
			return
		}
	}
}

// download hands the reply to w. A stop that is closed is [io.ErrClosedPipe].
func (x *exchange) download(stop <-chan struct{}, w Replier) error {
	if err := x.begin(stop, w); err != nil {
		return err
	}
	for {
		p, err := x.in.Take(stop)
		if errors.Is(err, io.EOF) {
			return x.sendTrailer(w)
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(p); err != nil {
			return fmt.Errorf("%w: %w", ErrClient, err)
		}
		if n := x.in.Grant(len(p)); n > 0 {
			if err := x.send(&wire.Window{Stream: x.id, Bytes: int64(n)}, nil); err != nil {
				return err
			}
		}
	}
}

// begin waits for the head. A stream that ends without one has its reason in its
// inbox: data before the head is not taken.
func (x *exchange) begin(stop <-chan struct{}, w Replier) error {
	var head []byte
	select {
	case head = <-x.head:
	case <-stop:
		return io.ErrClosedPipe
	case <-x.over:
		select {
		case head = <-x.head: // it came first
		default:
			return nil
		}
	}
	reply, err := parseHead(head)
	if err != nil {
		return &resetError{wire.Reset{ErrorType: thaw.ErrorTypeBadReply, Message: err.Error()}}
	}
	if err := w.Head(reply); err != nil {
		return fmt.Errorf("%w: %w", ErrClient, err)
	}
	return nil
}

// gaveUp is why nobody waits for the reply any more: a deadline is the guest's fault.
func gaveUp(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", ErrClient, context.Cause(ctx))
}

// resetError is a stream's end by the guest.
type resetError struct{ wire.Reset }

func (e *resetError) Error() string { return e.ErrorType + ": " + e.Message }

// outcome tells the function's failures from the rest.
func outcome(err error) (Exchanged, error) {
	e, ok := errors.AsType[*resetError](err)
	if !ok {
		return Exchanged{}, err
	}
	if e.Refused != "" {
		return Exchanged{}, fmt.Errorf("exchange: guest refused: %.1024q", e.Refused)
	}
	return Exchanged{Finished: e.Finished, Failure: &thaw.FunctionError{
		Type: e.ErrorType[:min(len(e.ErrorType), maxErrorType)], Message: e.Message[:min(len(e.Message), wire.MaxLine)],
	}}, nil
}

func (x *exchange) sendTrailer(w Replier) error {
	x.mu.Lock()
	lines := x.trailer
	x.mu.Unlock()
	if lines == nil {
		return nil
	}
	if fields, err := parseFields(lines); err == nil { // the reply is whole without
		if err := w.Trailer(fields); err != nil {
			return fmt.Errorf("%w: %w", ErrClient, err)
		}
	}
	return nil
}

// close ends the stream, and tells the guest if it does not know.
func (x *exchange) close() {
	x.end(nil, false)
	x.mu.Lock()
	ended := x.ended
	x.mu.Unlock()
	if !ended && x.conn.reason() == nil {
		_ = x.send(&wire.Reset{Stream: x.id}, nil) // or the connection has ended, too
	}
}

// end takes the stream out of the connection's. err is the end of the reply's body;
// byGuest says that the guest has ended it.
func (x *exchange) end(err error, byGuest bool) {
	x.conn.removeStream(x)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return
	}
	x.closed, x.ended = true, byGuest
	x.in.End(err)
	close(x.over)
}
