package standin

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// address is where memory begins.
func address(memory []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(memory)))) }

// mapAt maps a file, or nothing, exactly over memory.
func mapAt(memory []byte, fd int, offset int64, prot, flags int) error {
	_, err := unix.MmapPtr(fd, offset, unsafe.Pointer(unsafe.SliceData(memory)), uintptr(len(memory)), prot, flags)
	return err
}
