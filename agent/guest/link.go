package guest

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"thaw/agent/wire"
)

// chunkLen is how much is written at once: what the kernel's virtio console
// takes in one write (port_fops_write in drivers/char/virtio_console.c).
const chunkLen = 32 << 10

// retryDelay is the pause between reads while no host is attached.
const retryDelay = 20 * time.Millisecond

// link writes frames to the host, one at a time, and only those of the session
// that is current. It is safe for concurrent use.
type link struct {
	session atomic.Uint64 // 0 is none: nothing is written

	mu   sync.Mutex
	port io.Writer
	head []byte // reused
}

func (l *link) current() uint64 { return l.session.Load() }

// begin makes session the current one. A frame of the one before that is being
// written now ends at the next chunk; the host's reader copes.
func (l *link) begin(session uint64) { l.session.Store(session) }

// send writes one message, or nothing when session is over. There is nobody to
// tell about a failed write: the host sees a broken stream, or a new host
// begins another session.
func (l *link) send(session uint64, m wire.Message, raw []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(session, m, raw)
}

// sendLast writes one message and nothing more in this session.
func (l *link) sendLast(session uint64, m wire.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(session, m, nil)
	l.session.CompareAndSwap(session, 0)
}

// batch collects messages that are to be written together, which saves the host and
// the guest an interrupt each. It is used by one goroutine.
type batch struct {
	link    *link
	session uint64
	frames  []byte
}

func (l *link) batch(session uint64) *batch { return &batch{link: l, session: session} }

// add appends one message.
func (b *batch) add(m wire.Message, raw []byte) {
	f, err := wire.New(b.session, m, raw)
	if err != nil {
		return // cannot be: the sizes are bounded
	}
	head, tail, err := wire.Encode(b.frames, f)
	if err == nil {
		b.frames = append(head, tail...)
	}
}

// flush writes what was added, or nothing when the session is over.
func (b *batch) flush() {
	b.link.mu.Lock()
	defer b.link.mu.Unlock()
	b.link.writeChunks(b.session, b.frames)
	b.frames = b.frames[:0]
}

func (l *link) write(session uint64, m wire.Message, raw []byte) {
	if session == 0 || session != l.current() {
		return
	}
	f, err := wire.New(session, m, raw)
	if err != nil {
		f, _ = wire.New(session, &wire.Fatal{Message: err.Error()}, nil)
	}
	head, tail, err := wire.Encode(l.head[:0], f)
	if err != nil {
		return // cannot be: New has checked the sizes
	}
	l.head = head
	l.writeChunks(session, head)
	l.writeChunks(session, tail)
}

func (l *link) writeChunks(session uint64, b []byte) {
	for len(b) > 0 && session == l.current() {
		n := min(chunkLen, len(b))
		if _, err := l.port.Write(b[:n]); err != nil {
			return
		}
		b = b[n:]
	}
}

// patientReader turns "no host is attached" into waiting.
type patientReader struct {
	ctx context.Context
	r   io.Reader
}

func (p *patientReader) Read(b []byte) (int, error) {
	for {
		n, err := p.r.Read(b)
		if n > 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		select {
		case <-time.After(retryDelay):
		case <-p.ctx.Done():
			return 0, context.Cause(p.ctx)
		}
	}
}
