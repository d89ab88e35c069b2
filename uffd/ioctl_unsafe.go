package uffd

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Numbers from <linux/userfaultfd.h>.
const (
	apiVersion           = 0xaa
	registerMissing      = 1 << 0
	registerWriteProtect = 1 << 1

	nrRegister = 0x00
	nrWake     = 0x02
	nrCopy     = 0x03
	nrZero     = 0x04
	nrProtect  = 0x06
	nrContinue = 0x07
	nrAPI      = 0x3f

	ioctlAPI      = 3<<30 | unsafe.Sizeof(apiArg{})<<16 | 0xaa<<8 | nrAPI
	ioctlRegister = 3<<30 | unsafe.Sizeof(registerArg{})<<16 | 0xaa<<8 | nrRegister
	ioctlWake     = 2<<30 | unsafe.Sizeof(rangeArg{})<<16 | 0xaa<<8 | nrWake
	ioctlCopy     = 3<<30 | unsafe.Sizeof(copyArg{})<<16 | 0xaa<<8 | nrCopy
	ioctlZero     = 3<<30 | unsafe.Sizeof(zeroArg{})<<16 | 0xaa<<8 | nrZero
	ioctlContinue = 3<<30 | unsafe.Sizeof(continueArg{})<<16 | 0xaa<<8 | nrContinue
	ioctlProtect  = 3<<30 | unsafe.Sizeof(protectArg{})<<16 | 0xaa<<8 | nrProtect

	// IoctlNew is USERFAULTFD_IOC_NEW of /dev/userfaultfd: it returns a new
	// descriptor for the memory of the process that calls it.
	IoctlNew = 0xaa << 8
)

type apiArg struct{ API, Features, Ioctls uint64 }

type rangeArg struct{ Start, Len uint64 }

type registerArg struct{ Start, Len, Mode, Ioctls uint64 }

type copyArg struct {
	Dst uint64
	// Src is a pointer, not a number, so that it keeps src from moving.
	Src  unsafe.Pointer
	Len  uint64
	Mode Mode
	// Copied is how much was done, or -errno when nothing was.
	Copied int64
}

type zeroArg struct {
	Start, Len uint64
	Mode       Mode
	Zeroed     int64
}

type protectArg struct{ Start, Len, Mode uint64 }

type continueArg struct {
	Start, Len uint64
	Mode       Mode
	Mapped     int64
}

// arg is any of the structures above, by pointer.
type arg interface {
	*apiArg | *rangeArg | *registerArg | *copyArg | *zeroArg | *protectArg | *continueArg
}

func ioctl[A arg](fd int, request uintptr, a A) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(a)))
	runtime.KeepAlive(a)
	return errno
}

// copyOnce returns how many bytes were installed before the error.
func (f *FD) copyOnce(dst uint64, src []byte, mode Mode) (int, unix.Errno) {
	a := copyArg{Dst: dst, Src: unsafe.Pointer(&src[0]), Len: uint64(len(src)), Mode: mode}
	errno := ioctl(f.fd, ioctlCopy, &a)
	runtime.KeepAlive(src)
	return progress(a.Copied, len(src), errno)
}

func (f *FD) zeroOnce(addr, length uint64, mode Mode) (int, unix.Errno) {
	a := zeroArg{Start: addr, Len: length, Mode: mode}
	errno := ioctl(f.fd, ioctlZero, &a)
	return progress(a.Zeroed, int(length), errno)
}

func (f *FD) mapOnce(addr, length uint64, mode Mode) (int, unix.Errno) {
	a := continueArg{Start: addr, Len: length, Mode: mode}
	errno := ioctl(f.fd, ioctlContinue, &a)
	return progress(a.Mapped, int(length), errno)
}

// progress reads the result field of a partly done ioctl. The kernel answers
// EAGAIN after a short copy and leaves the reason for the next try.
func progress(done int64, want int, errno unix.Errno) (int, unix.Errno) {
	if errno == 0 {
		return want, 0
	}
	return int(max(done, 0)), errno
}
