// Package wire is the language between the host and the agent in the guest:
// frames on a byte stream (a virtio-serial port), and the messages in them.
//
// # Why not a plain length prefix
//
// The stream outlives its users. A snapshot may be taken while bytes are under
// way, a host may die in the middle of a frame, and the next host that attaches
// to the guest finds whatever is left. Two rules make that harmless:
//
//   - The eight bytes of [Magic] begin a frame and occur nowhere else: the
//     encoder masks a body that holds them. A reader that meets Magic inside a
//     frame knows that the frame was cut off, and starts over there. It never
//     waits for the missing rest of a frame whose sender is gone.
//   - Every frame carries a session, a random number that the host draws for
//     each connection and announces with [Sync]. Both sides drop frames of any
//     other session, so whole frames left over are dropped too. A payload
//     cannot hold a frame (rule one), and who writes payloads does not know the
//     session.
//
// # The frame
//
// All integers are little-endian.
//
//	offset size
//	 0      8   magic      f5 't' 'h' 'a' 'w' 0d 0a 1a
//	 8      1   version    [Version]
//	 9      1   type       [Type]
//	10      2   zero
//	12      4   mask       XORed over the raw part, repeated; 0 is no mask
//	16      8   session
//	24      4   json length, at most [MaxJSON]
//	28      4   raw length, at most [MaxRaw]
//	32      4   CRC-32C of the body as sent
//	36      4   CRC-32C of bytes 0 to 35
//	40          body: json, then raw
//
// The json part is one JSON object, the message, and begins with '{'. Payloads
// travel in the raw part as they are. JSON is UTF-8, which never holds the byte
// f5, so only the raw part can need a mask. Magic has eight different bytes and
// therefore cannot overlap itself.
//
// # Streams
//
// An invocation is one frame there and one back, [Invoke] and [Result]; any number
// of them may be under way, told apart by their request ids. A request to an HTTP
// server is a stream, told apart by its number, as bodies have no bound:
//
//	host   Open  Data…  Data(end)          Window…         or Reset
//	guest        Window…      Head  Data…  Trailer  Data(end)  or Reset
//
// The two directions are independent: a reply may begin, and end, before the request
// has. Each side sends no more than it has credit for, [StreamWindow] bytes at first,
// and more as [Window] grants it when bytes were passed on. So neither side keeps
// more than that of a stream, however slow the reader at its end is, and the one
// frame that is being written is all that a stream can hold the others up for. What
// comes for a stream that is over, or was never opened, is dropped: it crossed the
// end on its way. More data than was granted, a second head, or data before it, end the
// connection.
//
// # Versions
//
// The guest that comes out of a snapshot, or of an image made by an earlier release,
// speaks as that release did. So frames stay as they are, messages only get more
// fields, which a reader without them skips, and [SyncAck] says by [MessageVersion]
// which types the agent knows: 1 is up to Fatal, 2 has streams and several
// invocations at once, 3 has secrets.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// MaxClockError is how far a guest's clock may be off when it serves. It is a
// choice: four times the slowest round trip seen to an emulated guest that had
// just booted (14 ms).
const MaxClockError = 50 * time.Millisecond

// Version is the version of the frame format. A reader skips frames of another
// version.
const Version = 1

// MessageVersion is that of the messages.
const MessageVersion = 3

// The bounds of a frame in bytes. MaxRaw leaves room for a payload of 6 MiB.
const (
	HeaderLen = 40
	MaxJSON   = 1 << 20
	MaxRaw    = 7 << 20
)

// Magic begins every frame.
const Magic = "\xf5thaw\r\n\x1a"

// ErrTooLarge is a frame over [MaxJSON] or [MaxRaw] that was to be sent.
var ErrTooLarge = errors.New("message is too large for a frame")

// Frame is one message on the stream, its parts still encoded.
type Frame struct {
	Type    Type
	Session uint64
	JSON    []byte
	Raw     []byte
}

// header is the decoded form of the bytes 8 to 31.
type header struct {
	kind    Type
	mask    uint32
	session uint64
	json    int
	raw     int
	bodyCRC uint32
}

func checksum(parts ...[]byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // cached by the package
	var sum uint32
	for _, p := range parts {
		sum = crc32.Update(sum, table, p)
	}
	return sum
}

// appendHeader appends the whole header to dst, magic and checksum included.
func appendHeader(dst []byte, h header) []byte {
	start := len(dst)
	dst = append(dst, Magic...)
	dst = append(dst, Version, byte(h.kind), 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, h.mask)
	dst = binary.LittleEndian.AppendUint64(dst, h.session)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.json))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.raw))
	dst = binary.LittleEndian.AppendUint32(dst, h.bodyCRC)
	return binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
}

var errHeader = errors.New("not a frame header")

// parseHeader decodes the HeaderLen-len(Magic) bytes that follow the magic.
func parseHeader(b []byte) (header, error) {
	end := len(b) - 4
	if binary.LittleEndian.Uint32(b[end:]) != checksum([]byte(Magic), b[:end]) {
		return header{}, errHeader
	}
	if b[0] != Version || b[2] != 0 || b[3] != 0 {
		return header{}, errHeader
	}
	j, raw := binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint32(b[20:])
	if j > MaxJSON || raw > MaxRaw {
		return header{}, errHeader
	}
	return header{
		kind:    Type(b[1]),
		mask:    binary.LittleEndian.Uint32(b[4:]),
		session: binary.LittleEndian.Uint64(b[8:]),
		json:    int(j),
		raw:     int(raw),
		bodyCRC: binary.LittleEndian.Uint32(b[24:]),
	}, nil
}

// errJSON is a caller's mistake.
var errJSON = errors.New("frame holds no JSON object")

func (f Frame) check() error {
	if len(f.JSON) == 0 || f.JSON[0] != '{' {
		return errJSON
	}
	if len(f.JSON) > MaxJSON {
		return fmt.Errorf("%w: %d bytes of JSON, at most %d", ErrTooLarge, len(f.JSON), MaxJSON)
	}
	if len(f.Raw) > MaxRaw {
		return fmt.Errorf("%w: %d raw bytes, at most %d", ErrTooLarge, len(f.Raw), MaxRaw)
	}
	return nil
}
