package pagecache

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func mincore(m, vec []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&vec[0])))
	if errno != 0 {
		return errno
	}
	return nil
}

// Aligned returns a buffer for n bytes, rounded up, at an address that O_DIRECT
// can read to.
func Aligned(n int64) []byte {
	size := (n + directAlign - 1) / directAlign * directAlign
	b := make([]byte, size+directAlign)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (directAlign - 1)
	return b[skip : int64(skip)+size]
}
