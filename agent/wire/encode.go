package wire

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
)

// inline is the largest raw part that is copied behind the header, so that a
// usual frame is one write and one interrupt in the guest.
const inline = 8 << 10

// Encode appends f's header and JSON to dst and returns that as head, and what
// is to be written after it as tail, which is empty for small frames. The tail
// is f.Raw itself or, in the rare case that it had to be masked, a copy; f.Raw
// is never changed. The error is [ErrTooLarge], or a JSON part that is not one.
func Encode(dst []byte, f Frame) (head, tail []byte, err error) {
	if err := f.check(); err != nil {
		return nil, nil, err
	}
	raw, mask := maskRaw(f.Raw)
	head = appendHeader(dst, header{
		kind: f.Type, mask: mask, session: f.Session,
		json: len(f.JSON), raw: len(raw), bodyCRC: checksum(f.JSON, raw),
	})
	head = append(head, f.JSON...)
	if len(raw) > inline {
		return head, raw, nil
	}
	return append(head, raw...), nil, nil
}

// maskRaw returns raw in a form that does not hold the magic. A random mask
// works at once: each position of 7 MiB rules out at most one of 2^32 masks.
func maskRaw(raw []byte) ([]byte, uint32) {
	if !bytes.Contains(raw, []byte(Magic)) {
		return raw, 0
	}
	for {
		mask := rand.Uint32()
		masked := bytes.Clone(raw)
		xor(masked, mask)
		if mask != 0 && !bytes.Contains(masked, []byte(Magic)) {
			return masked, mask
		}
	}
}

// xor applies mask to b in place; twice is the identity.
func xor(b []byte, mask uint32) {
	var key [4]byte
	binary.LittleEndian.PutUint32(key[:], mask)
	for i := range b {
		b[i] ^= key[i%4]
	}
}
