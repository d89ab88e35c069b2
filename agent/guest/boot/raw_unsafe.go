package boot

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"thaw/agent/wire"
)

// The system calls of a resume do not block. Made as raw ones they stay unknown to
// Go's scheduler, which under emulation would take each for one that does, and
// wake another thread to go on with: kernel paths and pages for nothing.

func setRealtime(ts *unix.Timespec) error {
	_, _, e := unix.RawSyscall(unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, uintptr(unsafe.Pointer(ts)), 0)
	return failed(e)
}

func setHostname(name []byte) error {
	_, _, e := unix.RawSyscall(unix.SYS_SETHOSTNAME, uintptr(unsafe.Pointer(unsafe.SliceData(name))), uintptr(len(name)), 0)
	return failed(e)
}

func hostname() (string, error) {
	var u unix.Utsname
	_, _, e := unix.RawSyscall(unix.SYS_UNAME, uintptr(unsafe.Pointer(&u)), 0, 0)
	return unix.ByteSliceToString(u.Nodename[:]), failed(e)
}

// pwrite writes b, short enough to be written whole, to the beginning of a file in
// memory.
func pwrite(fd int, b []byte) error {
	_, _, e := unix.RawSyscall6(unix.SYS_PWRITE64, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
	return failed(e)
}

func fstat(fd int, st *unix.Stat_t) error {
	_, _, e := unix.RawSyscall(unix.SYS_FSTAT, uintptr(fd), uintptr(unsafe.Pointer(st)), 0)
	return failed(e)
}

func failed(e unix.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// poolInfo is struct rand_pool_info of linux/random.h.
type poolInfo struct {
	entropyBits int32
	bytes       int32
	buf         [wire.EntropyLen]byte
}

// reseed mixes entropy into the kernel's generator, makes it draw new keys
// (random(4), RNDADDENTROPY and RNDRESEEDCRNG) and returns some of what comes out.
func (s System) reseed(entropy []byte) (out fresh, err error) {
	info := poolInfo{entropyBits: 8 * wire.EntropyLen, bytes: wire.EntropyLen}
	copy(info.buf[:], entropy)
	if _, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(s.random), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&info))); e != 0 {
		return out, fmt.Errorf("add entropy: %w", e)
	}
	clear(info.buf[:])
	if _, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(s.random), unix.RNDRESEEDCRNG, 0); e != 0 {
		return out, fmt.Errorf("reseed random number generator: %w", e)
	}
	n, _, e := unix.RawSyscall(unix.SYS_GETRANDOM, uintptr(unsafe.Pointer(&out)), unsafe.Sizeof(out), 0)
	if e != 0 || n != unsafe.Sizeof(out) {
		return out, fmt.Errorf("read %d random bytes, got %d: %w", unsafe.Sizeof(out), n, e)
	}
	return out, nil
}
