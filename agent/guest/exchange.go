package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"thaw"
	"thaw/agent/flow"
	"thaw/agent/guest/http1"
	"thaw/agent/wire"
)

// exitWait is how long the end of a connection may come before the news that the
// server has ended, which is the better reason.
const exitWait = 250 * time.Millisecond

// firstPiece is how much is read at first of a reply's body: small ones then need no
// more memory. A piece with its frame's header is one write to the port.
const (
	firstPiece = 4 << 10
	piece      = chunkLen - 256
)

// exchange is one request to an HTTP server and its reply. Its goroutine copies the
// reply, a second one the request's body.
type exchange struct {
	call
	web     *web
	open    wire.Open
	session uint64
	head    []byte
	body    *flow.Inbox   // of the request
	credit  *flow.Credit  // for the reply
	over    chan struct{} // closed by end

	mu   sync.Mutex
	conn net.Conn // to the server
	gone bool     // end was called
}

func newExchange(w *web, m wire.Open, session uint64, head []byte) *exchange {
	e := &exchange{
		web: w, open: m, session: session, head: head, over: make(chan struct{}),
		body: flow.NewInbox(wire.StreamWindow), credit: flow.NewCredit(wire.StreamWindow),
	}
	e.requestID = m.RequestID
	e.call.fail = func(fe thaw.FunctionError, finished bool) { e.fail(fe, finished) }
	return e
}

// end lets go of the server. It may be called more than once, from anywhere.
func (e *exchange) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		return
	}
	e.gone = true
	close(e.over)
	if e.conn != nil {
		e.conn.Close()
	}
}

// attach makes conn the one that end closes. It reports false when it is too late.
func (e *exchange) attach(conn net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		conn.Close()
		return false
	}
	e.conn = conn
	return true
}

// fail tells the host that there is no reply, or no end of it. The call is over.
func (e *exchange) fail(fe thaw.FunctionError, finished bool) {
	e.end()
	e.web.remove(e)
	e.web.fn.tell(e.session, &e.call, fe.Message)
	e.web.fn.link.send(e.session, &wire.Reset{
		Stream: e.open.Stream, ErrorType: fe.Type, Message: string(clip(fe.Message, wire.MaxLine)), Finished: finished,
	}, nil)
}

// data takes in a piece of the request's body.
func (e *exchange) data(m wire.Data, p []byte) error {
	if len(p) == 0 && !m.End || len(p) > wire.MaxData {
		return fmt.Errorf("data of %d bytes", len(p))
	}
	if err := e.body.Put(p); err != nil {
		return fmt.Errorf("data of stream %d: %w", m.Stream, err)
	}
	if m.End {
		e.body.End(nil)
	}
	return nil
}

// asked returns what the first line of the request asks for.
func (e *exchange) asked() (method, target string) {
	line, _, _ := bytes.Cut(e.head, []byte("\r\n"))
	method, rest, _ := strings.Cut(string(line), " ")
	target, _, _ = strings.Cut(rest, " ")
	return method, target
}

// run is the exchange's goroutine.
func (e *exchange) run() {
	defer e.web.remove(e)
	defer e.end()
	select {
	case <-e.web.isWarm():
	case <-e.over:
		return
	}
	if method, target := e.asked(); e.web.hooks.refuse(target) {
		e.refuse(method, target)
		return
	}
	conn, err := e.web.dial()
	if err != nil {
		e.broken(fmt.Errorf("the server takes no connection any more: %w", err))
		return
	}
	if !e.attach(conn) {
		return
	}
	var upload sync.WaitGroup
	defer upload.Wait()
	defer e.end() // and with it the upload
	if _, err := conn.Write(e.head); err != nil {
		e.broken(err)
		return
	}
	if e.open.Body {
		upload.Go(func() { e.upload(conn) })
	}
	if err := e.download(conn); err != nil {
		e.broken(err)
	}
}

// broken ends the exchange because of what the server did, or because it has ended,
// which then is the reason.
func (e *exchange) broken(err error) {
	select {
	case <-e.over:
		return
	case <-time.After(exitWait):
	}
	e.web.fn.logs.drain()
	if !e.web.fn.finish(&e.call) {
		return
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the server closed the connection before the end of its reply")
	}
	e.fail(thaw.FunctionError{Type: thaw.ErrorTypeBadReply, Message: withID(&e.call, "Error: "+err.Error())}, false)
}

// upload copies the request's body to the server. A server that does not want all of
// it may reply all the same, so a failed write is not the end.
func (e *exchange) upload(conn net.Conn) {
	for {
		p, err := e.body.Take(e.over)
		if errors.Is(err, io.EOF) && e.open.Chunked {
			_, _ = conn.Write([]byte("0\r\n\r\n")) // or the reply says why not
		}
		if err != nil {
			return
		}
		if err := e.write(conn, p); err != nil {
			return
		}
		if n := e.body.Grant(len(p)); n > 0 {
			e.web.fn.link.send(e.session, &wire.Window{Stream: e.open.Stream, Bytes: int64(n)}, nil)
		}
	}
}

// write sends p as the head has announced it.
func (e *exchange) write(conn net.Conn, p []byte) error {
	if !e.open.Chunked {
		_, err := conn.Write(p)
		return err
	}
	chunk := net.Buffers{append(strconv.AppendInt(nil, int64(len(p)), 16), "\r\n"...), p, []byte("\r\n")}
	_, err := chunk.WriteTo(conn)
	return err
}

// download copies the reply to the host. What is there at once goes in one write with
// the head.
func (e *exchange) download(conn net.Conn) error {
	method, _ := e.asked()
	c := http1.NewConn(conn)
	r, err := c.Reply(method)
	if err != nil {
		return err
	}
	out := e.web.fn.link.batch(e.session)
	out.add(&wire.Head{Stream: e.open.Stream}, r.Head)
	if !c.Buffered() && !c.Done() {
		out.flush()
	}
	for buf := make([]byte, firstPiece); !c.Done(); {
		n, err := c.Read(buf)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			out.flush()
			return err
		}
		if !e.send(out, buf[:n], c.Done()) {
			return nil
		}
		if n == firstPiece {
			buf = make([]byte, piece)
		}
	}
	e.finish(out, c.Trailer())
	return nil
}

// send sends a piece of the reply as far as there is credit, and waits for more of
// that. The last piece is left for the end to go with. It reports false when nobody
// waits any more.
func (e *exchange) send(out *batch, p []byte, last bool) bool {
	for len(p) > 0 {
		n := e.credit.Take(len(p), e.over)
		if n == 0 {
			return false
		}
		out.add(&wire.Data{Stream: e.open.Stream}, p[:n])
		if p = p[n:]; len(p) > 0 || !last {
			out.flush()
		}
	}
	return true
}

// finish ends the exchange by its regular end, unless it is over already.
func (e *exchange) finish(out *batch, trailer []byte) {
	e.web.fn.logs.drain()
	if !e.web.fn.finish(&e.call) {
		return
	}
	if len(trailer) > 0 {
		out.add(&wire.Trailer{Stream: e.open.Stream}, trailer)
	}
	out.add(&wire.Data{Stream: e.open.Stream, End: true}, nil)
	e.web.remove(e)
	out.flush()
}
