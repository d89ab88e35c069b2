// Package uuid makes random ids.
package uuid

import (
	"crypto/rand"
	"encoding/hex"
)

// New returns a UUID, version 4 (RFC 9562), as Lambda's request ids are.
func New() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
