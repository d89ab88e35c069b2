package conformance

import (
	"bytes"
	"strings"
	"testing"
	"testing/iotest"
)

// TestContains finds a text wherever the reads happen to end.
func TestContains(t *testing.T) {
	const text = "this is a secret"
	for _, at := range []int{0, 1, 1<<20 - len(text), 1<<20 - 5, 1 << 20, 1<<20 + 1, 3 << 20} {
		b := make([]byte, 4<<20)
		copy(b[at:], text)
		if found, err := contains(bytes.NewReader(b), []byte(text)); !found || err != nil {
			t.Errorf("at %d: %v, %v", at, found, err)
		}
		b[at+3]++
		if found, err := contains(bytes.NewReader(b), []byte(text)); found || err != nil {
			t.Errorf("at %d, though changed: %v, %v", at, found, err)
		}
	}
	if found, err := contains(iotest.OneByteReader(strings.NewReader("so "+text)), []byte(text)); !found || err != nil {
		t.Errorf("byte by byte: %v, %v", found, err)
	}
}
