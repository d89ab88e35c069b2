package uffd

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Kind is the kind of an [Event].
type Kind uint8

// Kinds, see <linux/userfaultfd.h>.
const (
	KindPagefault Kind = 0x12
	KindRemove    Kind = 0x15
	KindUnmap     Kind = 0x16
)

// Event is what a thread of the served process did.
type Event struct {
	Kind Kind
	// Addr is the page of a fault, or the start of a removed range.
	Addr uint64
	// End is the end of a removed range.
	End uint64
	// Write says that a fault was a write, Protected that it was one to a page that
	// is there and write-protected.
	Write, Protected bool
}

// messageSize is sizeof(struct uffd_msg):
//
//	0  event, 1 byte, and 7 reserved
//	8  pagefault: flags; remove, unmap: start
//	16 pagefault: address; remove, unmap: end
//	24 pagefault: thread id
const messageSize = 32

// Flags of a pagefault message.
const (
	flagWrite     = 1 << 0
	flagProtected = 1 << 1
)

// Read appends the events that are waiting to events, without blocking. buf is
// scratch space, 32 bytes for each event at most.
func (f *FD) Read(buf []byte, events []Event) ([]Event, error) {
	n, err := unix.Read(f.fd, buf)
	if err == unix.EAGAIN || err == unix.EINTR {
		return events, nil
	}
	if err != nil {
		return events, fmt.Errorf("read userfaultfd: %w", err)
	}
	for b := buf[:n]; len(b) >= messageSize; b = b[messageSize:] {
		events = append(events, decode(b))
	}
	return events, nil
}

func decode(b []byte) Event {
	first, second := binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
	e := Event{Kind: Kind(b[0])}
	if e.Kind == KindPagefault {
		e.Addr, e.Write, e.Protected = pageOf(second), first&flagWrite != 0, first&flagProtected != 0
		return e
	}
	e.Addr, e.End = first, second
	return e
}
