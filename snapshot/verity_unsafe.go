package snapshot

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// enableArg is struct fsverity_enable_arg of <linux/fsverity.h>.
type enableArg struct {
	Version, HashAlgorithm, BlockSize, SaltSize uint32
	Salt                                        uint64
	SigSize, _                                  uint32
	Sig                                         uint64
	_                                           [11]uint64
}

const sha256Algorithm = 1

// enableVerity closes f, which must be the last writer, and makes the kernel
// check every page of it that is ever read. false means that the file system or
// the kernel does not have it.
func enableVerity(f *os.File) (bool, error) {
	if err := f.Close(); err != nil {
		return false, fmt.Errorf("close the memory file: %w", err)
	}
	r, err := os.Open(f.Name())
	if err != nil {
		return false, fmt.Errorf("seal the memory file: %w", err)
	}
	defer r.Close()
	arg := enableArg{Version: 1, HashAlgorithm: sha256Algorithm, BlockSize: 4096}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, r.Fd(), unix.FS_IOC_ENABLE_VERITY, uintptr(unsafe.Pointer(&arg)))
	// A child that another start is forking has our writable descriptor until it
	// executes its program.
	for wait := time.Millisecond; errno == unix.ETXTBSY && wait < 100*time.Millisecond; wait *= 2 {
		time.Sleep(wait)
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, r.Fd(), unix.FS_IOC_ENABLE_VERITY, uintptr(unsafe.Pointer(&arg)))
	}
	switch {
	case errno == 0:
		return true, nil
	case errors.Is(errno, unix.EOPNOTSUPP), errors.Is(errno, unix.ENOTTY), errors.Is(errno, unix.ENOSYS):
		return false, nil
	}
	return false, fmt.Errorf("seal the memory file with fs-verity: %w", errno)
}
