package http1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
)

// Reply is the head of a reply, as a client reads it. It is valid until the
// connection is read from again.
type Reply struct {
	Status int
	// Head is the status line and the headers, each with its line end.
	Head []byte
}

// errReply is a server that does not speak HTTP/1.
var errReply = errors.New("malformed reply")

// ErrUpgrade is a server that wants to speak something else from here on.
var ErrUpgrade = errors.New("the server switches to another protocol")

// Reply reads the head of the reply to a request of the given method, having
// skipped those that only tell of progress. Its body is to be read with
// [Conn.Read]. A Conn whose replies are read must not be used for requests.
func (c *Conn) Reply(method string) (*Reply, error) {
	for {
		head, err := c.head()
		if err != nil {
			return nil, unexpected(err)
		}
		c.in = append(c.in[:0], head...) // reading the body moves the buffer
		status, err := c.parseReply(c.in, method)
		switch {
		case err != nil:
			return nil, err
		case status == 101:
			return nil, ErrUpgrade
		case status >= 200:
			return &Reply{status, c.in}, nil
		}
	}
}

// parseReply takes apart "HTTP/1.x status reason\r\n" and finds out how long the
// body is (RFC 9112, section 6.3).
func (c *Conn) parseReply(head []byte, method string) (int, error) {
	if bytes.Count(head, []byte{'\n'}) != bytes.Count(head, []byte("\r\n")) { // where it ends would be a matter of opinion
		return 0, fmt.Errorf("%w: a line ends without CR", errReply)
	}
	line, headers, _ := bytes.Cut(head, []byte("\r\n"))
	version, rest, ok := bytes.Cut(line, []byte{' '})
	code, _, _ := bytes.Cut(rest, []byte{' '})
	status, err := strconv.Atoi(string(code))
	if !ok || !bytes.HasPrefix(version, []byte("HTTP/1.")) || err != nil || len(code) != 3 || status < 100 {
		return 0, fmt.Errorf("%w: status line %.100q", errReply, line)
	}
	c.req = Request{headers: headers}
	if method == "HEAD" || status < 200 || status == 204 || status == 304 {
		c.state = body{done: true}
		return status, nil
	}
	return status, c.replyFraming()
}

func (c *Conn) replyFraming() error {
	coding, length := c.req.header("Transfer-Encoding"), c.req.header("Content-Length")
	switch {
	case coding != nil && (!equalFold(coding, "chunked") || length != nil):
		return fmt.Errorf("%w: transfer encoding %.100q", errReply, coding)
	case coding != nil:
		c.state = body{chunked: true}
	case length != nil:
		n, err := strconv.ParseUint(string(length), 10, 62)
		if err != nil || c.req.count("Content-Length") > 1 {
			return fmt.Errorf("%w: content length %.100q", errReply, length)
		}
		c.state = body{left: int64(n), done: n == 0}
	default:
		c.state = body{left: math.MaxInt64, toEnd: true}
	}
	return nil
}

// Read reads the body of the reply, without its transfer coding. io.EOF is its end;
// one that is cut off is io.ErrUnexpectedEOF.
func (c *Conn) Read(p []byte) (int, error) {
	more, err := c.advance()
	switch {
	case err != nil:
		return 0, err
	case !more:
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), c.state.left)]
	if c.r < c.w {
		n := copy(p, c.buf[c.r:c.w])
		c.r += n
		c.consumed(n)
		return n, nil
	}
	n, err := c.conn.Read(p)
	if n == 0 && c.state.toEnd && errors.Is(err, io.EOF) {
		c.state.done = true
		return 0, io.EOF
	}
	if n == 0 && err != nil {
		return 0, unexpected(err)
	}
	c.consumed(n)
	return n, nil
}

// consumed takes n off the current piece of the body.
func (c *Conn) consumed(n int) {
	if c.state.toEnd {
		return
	}
	if c.state.left -= int64(n); c.state.left == 0 && !c.state.chunked {
		c.state.done = true
	}
}

// Done reports whether the body has been read to its end.
func (c *Conn) Done() bool { return c.state.done }

// Buffered reports whether Read has something to return without waiting.
func (c *Conn) Buffered() bool { return c.r < c.w && !c.state.done }

// Trailer returns the headers behind the body, each with its line end, when the body
// has been read to its end.
func (c *Conn) Trailer() []byte { return c.trailer }
