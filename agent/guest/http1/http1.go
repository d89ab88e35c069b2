// Package http1 is the server side of HTTP/1.1 (RFC 9112), as much of it as
// clients of the Lambda Runtime API need: requests one after the other on kept
// connections, bodies with a length or in chunks, Expect: 100-continue. Of the
// client's side it has the reading of a reply.
//
// It exists because of what it leaves out. In a guest, every page that a request
// touches is read from disk on every cold start, and package net/http touched
// 150 pages more per request: 423 instead of 277 of the agent, counted by
// clear_refs and smaps (proc(5)) around one invocation. What clients send is
// not trusted: heads and bodies are bounded.
package http1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// MaxHead bounds a request line with its headers, and a line of a chunked body,
// in bytes.
const MaxHead = 64 << 10

// maxDiscard is how much of a body nobody wants is read, so that its client
// gets to read the answer.
const maxDiscard = 64 << 20

// ErrTooBig is a body over the limit given to [Conn.Body].
var ErrTooBig = errors.New("body is too large")

var errRequest = errors.New("malformed request")

// Conn reads requests from one connection and answers them. It is not safe for
// concurrent use.
type Conn struct {
	conn  net.Conn
	buf   []byte // unread bytes are buf[r:w]
	r, w  int
	out   []byte // the answer's head, reused
	in    []byte // the request's head, reused
	req   Request
	state body
	// trailer is kept of a reply.
	trailer []byte
}

// body is what remains to be read of the current request's body.
type body struct {
	left    int64 // bytes until the end, or of the current chunk
	chunked bool
	ask     bool // the client waits for 100 Continue
	done    bool
	toEnd   bool // it ends with the connection
}

// Request is the head of one request. It is valid until the next one is read.
type Request struct {
	Method string
	// Path is the request's target without the query, not decoded.
	Path    string
	headers []byte
	close   bool
}

// NewConn returns a Conn on c, which the caller closes.
func NewConn(c net.Conn) *Conn {
	return &Conn{conn: c, buf: make([]byte, 4<<10), state: body{done: true}}
}

// Gone reports whether the client has closed the connection and sent nothing
// since its last request.
func (c *Conn) Gone() bool {
	raw, ok := c.conn.(syscall.Conn)
	if !ok || c.r < c.w {
		return false
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return true
	}
	gone, next := false, make([]byte, 1)
	err = control.Control(func(fd uintptr) {
		n, _, err := unix.Recvfrom(int(fd), next, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		gone = n <= 0 && err != unix.EAGAIN && err != unix.EINTR
	})
	return gone || err != nil
}

// Next returns the next request, having skipped what was not read of the last
// one's body. After an error the connection is of no further use; io.EOF is its
// regular end.
func (c *Conn) Next() (*Request, error) {
	if err := c.Discard(maxDiscard); err != nil {
		return nil, err
	}
	if c.req.close {
		return nil, io.EOF
	}
	head, err := c.head()
	if err != nil {
		return nil, err
	}
	c.in = append(c.in[:0], head...) // reading the body moves the buffer
	if err := c.parse(c.in); err != nil {
		return nil, err
	}
	return &c.req, nil
}

// head reads up to the empty line that ends the headers.
func (c *Conn) head() ([]byte, error) {
	for {
		for c.r < c.w && (c.buf[c.r] == '\r' || c.buf[c.r] == '\n') {
			c.r++ // empty lines before a request, RFC 9112 section 2.2
		}
		unread := c.buf[c.r:c.w]
		if i := bytes.Index(unread, []byte("\r\n\r\n")); i >= 0 {
			c.r += i + 4
			return unread[:i+2], nil
		}
		if len(unread) >= MaxHead {
			return nil, fmt.Errorf("%w: head is over %d bytes", errRequest, MaxHead)
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads more, making room when there is none.
func (c *Conn) fill() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.w == len(c.buf) {
		c.makeRoom()
	}
	n, err := c.conn.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// makeRoom moves the unread bytes to the front, or doubles the buffer.
func (c *Conn) makeRoom() {
	if c.r == 0 {
		c.buf = append(c.buf, make([]byte, len(c.buf))...)
		return
	}
	c.w = copy(c.buf, c.buf[c.r:c.w])
	c.r = 0
}

// parse takes apart "METHOD target HTTP/1.x\r\n" and looks at the headers that
// matter for framing.
func (c *Conn) parse(head []byte) error {
	line, headers, _ := bytes.Cut(head, []byte("\r\n"))
	method, rest, ok1 := bytes.Cut(line, []byte{' '})
	target, version, ok2 := bytes.Cut(rest, []byte{' '})
	if !ok1 || !ok2 || len(method) == 0 || len(target) == 0 || !bytes.HasPrefix(version, []byte("HTTP/1.")) {
		return fmt.Errorf("%w: request line %.100q", errRequest, line)
	}
	path, _, _ := bytes.Cut(target, []byte{'?'})
	c.req = Request{Method: string(method), Path: string(path), headers: headers}
	connection := c.req.header("Connection")
	old := string(version) == "HTTP/1.0"
	c.req.close = hasToken(connection, "close") || old && !hasToken(connection, "keep-alive")
	return c.framing()
}

// framing finds out how long the body is (RFC 9112, section 6.3). A request
// with both framings or two lengths is refused, not guessed at.
func (c *Conn) framing() error {
	c.state = body{done: true}
	coding, length := c.req.header("Transfer-Encoding"), c.req.header("Content-Length")
	switch {
	case coding != nil && (!hasToken(coding, "chunked") || length != nil):
		return fmt.Errorf("%w: transfer encoding %.100q", errRequest, coding)
	case coding != nil:
		c.state = body{chunked: true}
	case length != nil:
		n, err := strconv.ParseUint(string(length), 10, 62)
		if err != nil || c.req.count("Content-Length") > 1 {
			return fmt.Errorf("%w: content length %.100q", errRequest, length)
		}
		c.state = body{left: int64(n), done: n == 0}
	}
	c.state.ask = !c.state.done && hasToken(c.req.header("Expect"), "100-continue")
	return nil
}

// Header returns the value of the first header called name, "" for none.
func (r *Request) Header(name string) string { return string(r.header(name)) }

func (r *Request) header(name string) []byte {
	for rest := r.headers; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		if key, value, ok := bytes.Cut(line, []byte{':'}); ok && equalFold(key, name) {
			return bytes.Trim(value, " \t")
		}
	}
	return nil
}

func (r *Request) count(name string) int {
	n := 0
	for rest := r.headers; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		if key, _, ok := bytes.Cut(line, []byte{':'}); ok && equalFold(key, name) {
			n++
		}
	}
	return n
}

// hasToken reports whether a header value lists token.
func hasToken(value []byte, token string) bool {
	for len(value) > 0 {
		var part []byte
		part, value, _ = bytes.Cut(value, []byte{','})
		if equalFold(bytes.Trim(part, " \t"), token) {
			return true
		}
	}
	return false
}

// equalFold compares ASCII, ignoring case; bytes.EqualFold knows Unicode, with
// tables in pages of their own.
func equalFold(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
