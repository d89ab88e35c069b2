package gateway

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"thaw"
)

const (
	// stallTime is how long a client may send nothing of a deploy.
	stallTime = time.Minute
	// drainTime is how long a refused client may go on sending, so that it
	// reads the refusal and not a broken connection.
	drainTime = 5 * time.Second
	// readAhead is how much code is read before the engine asks for it. It is
	// more than what follows the last file in a tar stream, which a reader of
	// tar leaves unread: net/http notices a client that goes away only when the
	// request's body has been read to its end.
	readAhead = 64 << 10
)

// upload is the code of a deploy on its way from a connection to the engine. A
// goroutine reads ahead; close ends it.
type upload struct {
	*io.PipeReader
	conn *http.ResponseController
	body io.Reader // what code is a part of

	mu      sync.Mutex
	closing chan struct{}
	done    chan struct{}
}

func startUpload(conn *http.ResponseController, code, body io.Reader) *upload {
	r, w := io.Pipe()
	u := &upload{PipeReader: r, conn: conn, body: body, closing: make(chan struct{}), done: make(chan struct{})}
	go u.run(code, w)
	return u
}

func (u *upload) run(code io.Reader, w *io.PipeWriter) {
	defer close(u.done)
	err := u.copy(code, w)
	w.CloseWithError(err) // always returns nil
	if err != nil {
		<-u.closing
		// Whatever ends it, the reply is tried.
		_, _ = io.Copy(io.Discard, u.body)
	}
}

// copy passes code on. It reads the body to its end before it waits for the
// engine to take the last of it.
func (u *upload) copy(code io.Reader, w io.Writer) error {
	out := bufio.NewWriterSize(w, readAhead)
	if _, err := io.Copy(out, patient{u, code}); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(u.body, readAhead)); err != nil {
		return bodyError("read the end of the deploy", err)
	}
	u.setDeadline(time.Time{})
	return out.Flush()
}

// setDeadline sets when reading fails, unless close has.
func (u *upload) setDeadline(t time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	select {
	case <-u.closing:
	default:
		_ = u.conn.SetReadDeadline(t)
	}
}

// close ends the upload when the engine is done with it. A client that is still
// sending may go on for a while.
func (u *upload) close() {
	u.mu.Lock()
	close(u.closing)
	_ = u.conn.SetReadDeadline(time.Now().Add(drainTime))
	u.mu.Unlock()
	u.PipeReader.Close() // always returns nil
	<-u.done
	_ = u.conn.SetReadDeadline(time.Time{})
}

// patient gives each read its own deadline.
type patient struct {
	upload *upload
	from   io.Reader
}

func (p patient) Read(b []byte) (int, error) {
	p.upload.setDeadline(time.Now().Add(stallTime))
	n, err := p.from.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = thaw.Errorf(thaw.CodeInvalid, "the upload of the code stalled: nothing came for %s", stallTime)
	}
	return n, err
}

// limitedCode reads code up to a limit and gives its errors a code, so that the
// engine need not know where it comes from.
type limitedCode struct {
	from  io.Reader
	left  int64
	limit int64 // what left was
}

func limitCode(from io.Reader, limit int64) *limitedCode {
	return &limitedCode{from: from, left: limit, limit: limit}
}

func (c *limitedCode) Read(p []byte) (int, error) {
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1]
	}
	n, err := c.from.Read(p)
	if int64(n) > c.left {
		return 0, codeTooLarge(c.limit)
	}
	c.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		err = bodyError("read the code", err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = thaw.Errorf(thaw.CodeInvalid, "the code ends too early: the upload was cut off")
	}
	return n, err
}

// drain reads what a refused client is still sending.
func drain(conn *http.ResponseController, body io.Reader) {
	if conn.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return
	}
	// Whatever ends it, the reply is tried.
	_, _ = io.Copy(io.Discard, body)
	_ = conn.SetReadDeadline(time.Time{})
}
