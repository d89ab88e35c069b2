package doctor

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctlPointer passes a pointer to a small structure to the file's driver and
// returns the bare errno, nil when there is none.
func ioctlPointer[T any](f *os.File, request uintptr, arg *T) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(arg)))
	if errno != 0 {
		return errno
	}
	return nil
}
