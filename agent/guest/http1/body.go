package http1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// growLen is how much memory a body gets ahead of the bytes that arrived.
const growLen = 64 << 10

// Body reads the current request's body. One over limit bytes is an
// [ErrTooBig]; what is left of it is skipped by the next [Conn.Next].
func (c *Conn) Body(limit int) ([]byte, error) {
	var b []byte
	if !c.state.chunked {
		if c.state.left > int64(limit) {
			return nil, ErrTooBig
		}
		b = make([]byte, 0, min(int(c.state.left), growLen))
	}
	for {
		more, err := c.advance()
		if err != nil {
			return nil, err
		}
		if !more {
			return b, nil
		}
		if c.state.left > int64(limit-len(b)) {
			return nil, ErrTooBig
		}
		if b, err = c.take(b); err != nil {
			return nil, err
		}
	}
}

// Discard skips what is left of the body, up to limit bytes. Over that, the
// current request is the connection's last.
func (c *Conn) Discard(limit int64) error {
	for {
		more, err := c.advance()
		if err != nil {
			return err
		}
		if !more {
			return nil
		}
		if limit <= 0 {
			c.req.close, c.state.done = true, true
			return nil
		}
		if c.r == c.w {
			if err := c.fill(); err != nil {
				return unexpected(err)
			}
		}
		n := min(int64(c.w-c.r), c.state.left)
		c.r += int(n)
		c.state.left -= n
		limit -= n
	}
}

// take appends what is there of the current piece of the body to b.
func (c *Conn) take(b []byte) ([]byte, error) {
	if c.r < c.w {
		n := min(int64(c.w-c.r), c.state.left)
		b = append(b, c.buf[c.r:c.r+int(n)]...)
		c.r += int(n)
		c.state.left -= n
		return b, nil
	}
	if len(b) == cap(b) {
		bigger := make([]byte, len(b), len(b)+int(min(c.state.left, int64(max(growLen, len(b))))))
		copy(bigger, b)
		b = bigger
	}
	n, err := c.conn.Read(b[len(b):min(cap(b), len(b)+int(c.state.left))])
	if n == 0 && err != nil {
		return nil, unexpected(err)
	}
	c.state.left -= int64(n)
	return b[:len(b)+n], nil
}

// advance reports whether bytes of the body are to come, having read the line
// before a chunk, and having told a client that waits for it to go on.
func (c *Conn) advance() (bool, error) {
	if c.state.done {
		return false, nil
	}
	if c.state.ask {
		c.state.ask = false
		if _, err := c.conn.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
			return false, err
		}
	}
	if c.state.left > 0 {
		return true, nil
	}
	if !c.state.chunked {
		c.state.done = true
		return false, nil
	}
	return c.nextChunk()
}

// nextChunk reads the line "size[;extension]" of a chunk, after the line end of
// the one before (RFC 9112, section 7.1). The line before the first chunk is
// the head's, which has been read, so an empty line is skipped if it is there.
func (c *Conn) nextChunk() (bool, error) {
	line, err := c.line()
	if err == nil && len(line) == 0 {
		line, err = c.line()
	}
	if err != nil {
		return false, err
	}
	size, _, _ := bytes.Cut(line, []byte{';'})
	n, err := strconv.ParseUint(string(bytes.TrimRight(size, " \t")), 16, 62)
	if err != nil {
		return false, fmt.Errorf("%w: chunk size %.100q", errRequest, line)
	}
	c.state.left = int64(n)
	if n > 0 {
		return true, nil
	}
	c.state.done = true
	return false, c.trailers()
}

// trailers takes in the headers after the last chunk.
func (c *Conn) trailers() error {
	for c.trailer = nil; len(c.trailer) < MaxHead; {
		line, err := c.line()
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		c.trailer = append(append(c.trailer, line...), "\r\n"...)
	}
	return fmt.Errorf("%w: trailers are over %d bytes", errRequest, MaxHead)
}

// line reads one line, without its end. It is valid until the next read.
func (c *Conn) line() ([]byte, error) {
	for {
		unread := c.buf[c.r:c.w]
		if i := bytes.IndexByte(unread, '\n'); i >= 0 {
			c.r += i + 1
			return bytes.TrimSuffix(unread[:i], []byte{'\r'}), nil
		}
		if len(unread) >= MaxHead {
			return nil, fmt.Errorf("%w: line is over %d bytes", errRequest, MaxHead)
		}
		if err := c.fill(); err != nil {
			return nil, unexpected(err)
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Answer writes the response to the current request. headers are whole lines,
// each with its line end; the length is added.
func (c *Conn) Answer(status int, headers string, content []byte) error {
	if c.state.ask { // a client told no may send its body or not
		c.req.close, c.state = true, body{done: true}
	}
	b := append(c.out[:0], "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(append(b, ' '), reason(status)...)
	b = append(append(b, "\r\n"...), headers...)
	if status != 204 { // which has no content, nor the length of one (RFC 9110, section 8.6)
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, int64(len(content)), 10), "\r\n"...)
	}
	if c.req.close {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(b, "\r\n"...)
	if len(content) <= growLen {
		b, content = append(b, content...), nil
	}
	c.out = b
	if _, err := c.conn.Write(b); err != nil {
		return err
	}
	if len(content) > 0 {
		if _, err := c.conn.Write(content); err != nil {
			return err
		}
	}
	return nil
}

// reason returns the phrase of the statuses that the Runtime API uses.
func reason(status int) string {
	switch status {
	case 200:
		return "OK"
	case 202:
		return "Accepted"
	case 204:
		return "No Content"
	case 400:
		return "Bad Request"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 413:
		return "Content Too Large"
	}
	return "Status"
}
