package boot

import "testing"

func TestWriteUUID(t *testing.T) {
	b := [16]byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88}
	text := make([]byte, bootLen-1)
	writeUUID(text, asUUID(b))
	if got, want := string(text), "01234567-89ab-4def-bfee-ddccbbaa9988"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
