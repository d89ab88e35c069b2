package aio

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// control is struct iocb of <linux/aio_abi.h>, on a little-endian machine.
type control struct {
	Data              uint64
	Key, RWFlags      uint32
	Opcode            uint16
	Priority          int16
	FD                uint32
	Buf               unsafe.Pointer // keeps the buffer from being freed until the read has begun
	Bytes             uint64
	Offset            int64
	_                 uint64
	Flags, ResultFile uint32
}

// event is struct io_event.
type event struct {
	Data, Object    uint64
	Result, Result2 int64
}

// opRead is IOCB_CMD_PREAD.
const opRead = 0

// setup makes a context for n reads under way, io_setup(2).
func setup(n int) (context uintptr, err error) {
	_, _, errno := unix.Syscall(unix.SYS_IO_SETUP, uintptr(n), uintptr(unsafe.Pointer(&context)), 0)
	if errno != 0 {
		return 0, errno
	}
	return context, nil
}

// submit begins a read, io_submit(2).
func submit(context uintptr, fd, tag int, buf []byte, offset int64) error {
	c := &control{
		Data: uint64(tag), Opcode: opRead, FD: uint32(fd),
		Buf: unsafe.Pointer(unsafe.SliceData(buf)), Bytes: uint64(len(buf)), Offset: offset,
	}
	for {
		_, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, context, 1, uintptr(unsafe.Pointer(&c)))
		switch errno {
		case 0:
			runtime.KeepAlive(c)
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// getEvent waits until a read has ended, io_getevents(2).
func getEvent(context uintptr) (e event, err error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, context, 1, 1, uintptr(unsafe.Pointer(&e)), 0, 0)
		switch {
		case errno == 0 && n == 1:
			return e, nil
		case errno != 0 && errno != unix.EINTR:
			return e, errno
		}
	}
}

// destroy gives the context back, io_destroy(2); it waits for reads under way.
func destroy(context uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_IO_DESTROY, context, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
