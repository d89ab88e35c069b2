package wire

import (
	"bytes"
	"errors"
	"io"
)

// bufferLen is how much is read at once. The guest's kernel hands out virtio
// buffers of one page each, so more would not help there.
const bufferLen = 4 << 10

// growLen is how much memory a body gets ahead of the bytes that arrived, so
// that a header alone cannot make the reader allocate megabytes.
const growLen = 64 << 10

// Reader reads frames from a byte stream and skips whatever is not one. It is
// not safe for concurrent use.
type Reader struct {
	r      io.Reader
	buf    []byte // unread bytes, within store
	store  [bufferLen]byte
	rest   [HeaderLen - len(Magic)]byte
	prefix int // bytes of Magic that were matched
}

// NewReader returns a Reader on r, which it does not close.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// errCut says that Magic was found inside a frame.
var errCut = errors.New("frame was cut off")

// Next returns the next whole frame of any session. Its slices belong to the
// caller. The only errors are those of the underlying reader, io.EOF also in
// the middle of a frame.
func (r *Reader) Next() (Frame, error) {
	for {
		if err := r.skip(); err != nil {
			return Frame{}, err
		}
		f, err := r.frame()
		switch {
		case err == nil:
			return f, nil
		case errors.Is(err, errCut):
			r.prefix = len(Magic)
		case !errors.Is(err, errHeader):
			return Frame{}, err
		}
	}
}

// skip consumes bytes up to and including the next Magic. As Magic has no two
// equal bytes, a mismatch can only begin a match anew, never continue one.
func (r *Reader) skip() error {
	for r.prefix < len(Magic) {
		if err := r.fill(); err != nil {
			return err
		}
		c := r.buf[0]
		r.buf = r.buf[1:]
		switch c {
		case Magic[r.prefix]:
			r.prefix++
		case Magic[0]:
			r.prefix = 1
		default:
			r.prefix = 0
		}
	}
	r.prefix = 0
	return nil
}

// frame reads what follows the magic. When that is not a valid frame it returns
// errHeader or errCut, having kept track of a magic that began in it.
func (r *Reader) frame() (Frame, error) {
	rest, err := r.gather(r.rest[:0], len(r.rest))
	if err != nil {
		return Frame{}, err
	}
	h, err := parseHeader(rest)
	if err != nil {
		r.prefix = magicPrefix(rest)
		return Frame{}, err
	}
	// A header that was cut off by its last bytes may be completed by the first
	// ones of a magic, so those are looked at once more together with the body.
	tail := rest[len(rest)-len(Magic)+1:]
	body, err := r.gather(bytes.Clone(tail), len(tail)+h.json+h.raw)
	if err != nil {
		return Frame{}, err
	}
	seen := body
	body = body[len(tail):]
	if checksum(body) != h.bodyCRC || h.json == 0 || body[0] != '{' {
		r.prefix = magicPrefix(seen)
		return Frame{}, errHeader
	}
	if h.mask != 0 {
		xor(body[h.json:], h.mask)
	}
	return Frame{Type: h.kind, Session: h.session, JSON: body[:h.json:h.json], Raw: body[h.json:]}, nil
}

// gather appends n bytes to dst, or returns errCut having consumed everything
// up to the end of a magic among them.
func (r *Reader) gather(dst []byte, n int) ([]byte, error) {
	for len(dst) < n {
		if err := r.fill(); err != nil {
			return nil, err
		}
		if cap(dst) == len(dst) {
			dst = grow(dst, n)
		}
		old := len(dst)
		k := min(n-old, len(r.buf), cap(dst)-old)
		dst = append(dst, r.buf[:k]...)
		from := max(0, old-len(Magic)+1)
		if i := bytes.Index(dst[from:], []byte(Magic)); i >= 0 {
			r.buf = r.buf[from+i+len(Magic)-old:]
			return nil, errCut
		}
		r.buf = r.buf[k:]
	}
	return dst, nil
}

// grow gives dst room: at most growLen, or twice what has arrived, or n.
func grow(dst []byte, n int) []byte {
	bigger := make([]byte, len(dst), min(n, max(growLen, 2*len(dst))))
	copy(bigger, dst)
	return bigger
}

// fill makes buf not empty.
func (r *Reader) fill() error {
	for tries := 0; len(r.buf) == 0; tries++ {
		n, err := r.r.Read(r.store[:])
		r.buf = r.store[:n]
		if n == 0 && err != nil {
			return err
		}
		if n == 0 && tries >= 100 {
			return io.ErrNoProgress
		}
	}
	return nil
}

// magicPrefix returns the length of the longest prefix of Magic that ends b.
func magicPrefix(b []byte) int {
	for n := min(len(Magic)-1, len(b)); n > 0; n-- {
		if string(b[len(b)-n:]) == Magic[:n] {
			return n
		}
	}
	return 0
}
