// Package uffd binds userfaultfd(2): the descriptor, its ioctls and its events,
// and a [Server] that answers the page faults of one region. It does not know
// whose memory it serves.
//
// A page fault must never be raised by the process that serves it: the thread
// that would answer may be the one that waits.
package uffd

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Features of UFFDIO_API, see ioctl_userfaultfd(2).
const (
	FeatureWriteProtect = 1 << 0
	FeatureEventRemove  = 1 << 3
	FeatureEventUnmap   = 1 << 6
	// FeatureWriteProtectFile allows write protection of files in memory, too.
	FeatureWriteProtectFile = 1 << 12
)

// Mode of [FD.Copy] and [FD.Zero].
type Mode uint64

const (
	// Wake wakes the threads that wait for the pages.
	Wake Mode = 0
	// DontWake leaves them waiting until [FD.WakeRange].
	DontWake Mode = 1 << 0
	// WriteProtect makes the first write to a copied page an event. Its range must
	// have been registered for that.
	WriteProtect Mode = 1 << 1
)

// FD is an open userfaultfd. It does not own the address space it serves: when
// that is gone, its methods return [ErrGone].
//
// Its methods may be called concurrently, except Close.
type FD struct {
	fd int
}

// ErrGone says that the process whose memory it is has exited.
var ErrGone = errors.New("faulting process is gone")

// New takes ownership of the userfaultfd descriptor fd and agrees with the
// kernel on the API and features. A feature the kernel lacks is an error that
// wraps [errors.ErrUnsupported]. On error fd is closed.
func New(fd int, features uint64) (*FD, error) {
	f := &FD{fd: fd}
	return f, f.closeOn(f.agree(features))
}

// NewWith is New that also asks for optional features and says whether the
// kernel has them.
func NewWith(fd int, features, optional uint64) (f *FD, has bool, err error) {
	f = &FD{fd: fd}
	err = f.agree(features | optional)
	if err == nil || !errors.Is(err, errors.ErrUnsupported) {
		return f, err == nil, f.closeOn(err)
	}
	// The kernel forgets a proposal that it has refused.
	return f, false, f.closeOn(f.agree(features))
}

func (f *FD) closeOn(err error) error {
	if err != nil {
		err = errors.Join(err, f.Close())
	}
	return err
}

func (f *FD) agree(features uint64) error {
	arg := apiArg{API: apiVersion, Features: features}
	errno := ioctl(f.fd, ioctlAPI, &arg)
	if errno == unix.EINVAL {
		return fmt.Errorf("userfaultfd features %#x: %w by this kernel", features, errors.ErrUnsupported)
	}
	if errno != 0 {
		return fmt.Errorf("agree on the userfaultfd API: %w", errno)
	}
	return nil
}

// Close closes the descriptor. Threads that wait for a page in a registered
// range then see zeroes: close it only after their process has ended.
func (f *FD) Close() error {
	if f.fd < 0 {
		return nil
	}
	fd := f.fd
	f.fd = -1
	return unix.Close(fd)
}

// Register traps first touches (MISSING mode) of length bytes at addr.
func (f *FD) Register(addr, length uint64) error { return f.register(addr, length, registerMissing) }

// RegisterWrites also allows [WriteProtect] there; the descriptor must have
// [FeatureWriteProtect].
func (f *FD) RegisterWrites(addr, length uint64) error {
	return f.register(addr, length, registerMissing|registerWriteProtect)
}

func (f *FD) register(addr, length, mode uint64) error {
	arg := registerArg{Start: addr, Len: length, Mode: mode}
	if errno := ioctl(f.fd, ioctlRegister, &arg); errno != 0 {
		return fmt.Errorf("register %d bytes at %#x: %w", length, addr, gone(errno))
	}
	if arg.Ioctls&(1<<nrCopy) == 0 {
		return fmt.Errorf("register %d bytes at %#x: %w: no UFFDIO_COPY", length, addr, errors.ErrUnsupported)
	}
	return nil
}

// ErrAgain says that nothing can be installed until the events that wait to be
// read have been: the kernel holds a change of the mappings back for them.
var ErrAgain = errors.New("events are waiting to be read")

// Copy installs the pages of src, a whole number of them, at dst. It returns how
// many bytes are dealt with, of which present pages were already there (EEXIST)
// and left alone. After [ErrAgain], read the events and go on from there.
func (f *FD) Copy(dst uint64, src []byte, mode Mode) (n, present int, err error) {
	return install(len(src), func(at int) (int, unix.Errno) {
		return f.copyOnce(dst+uint64(at), src[at:], mode)
	})
}

// Zero installs length bytes of zero pages at addr; see [FD.Copy].
func (f *FD) Zero(addr uint64, length int, mode Mode) (n, present int, err error) {
	return install(length, func(at int) (int, unix.Errno) {
		return f.zeroOnce(addr+uint64(at), uint64(length-at), mode)
	})
}

// Map maps length bytes of pages that the file behind addr has in memory already,
// without a copy; see [FD.Copy].
func (f *FD) Map(addr uint64, length int, mode Mode) (n, present int, err error) {
	return install(length, func(at int) (int, unix.Errno) {
		return f.mapOnce(addr+uint64(at), uint64(length-at), mode)
	})
}

// install repeats once, which does a part from an offset on, until all of
// length is done.
func install(length int, once func(at int) (int, unix.Errno)) (n, present int, err error) {
	for n < length {
		done, errno := once(n)
		n += done
		switch {
		case errno == 0 || errno == unix.EAGAIN && done > 0:
		case errno == unix.EAGAIN:
			return n, present, ErrAgain
		case errno == unix.EEXIST:
			present++
			n += pageSize
		default:
			return n, present, fmt.Errorf("install page %d of %d: %w", n/pageSize, length/pageSize, gone(errno))
		}
	}
	return n, present, nil
}

// WakeRange wakes every thread that waits for a page of the range.
func (f *FD) WakeRange(addr, length uint64) error {
	arg := rangeArg{Start: addr, Len: length}
	if errno := ioctl(f.fd, ioctlWake, &arg); errno != 0 {
		return fmt.Errorf("wake %d bytes at %#x: %w", length, addr, gone(errno))
	}
	return nil
}

// AllowWrites lifts the write protection of a range and wakes who waits to write. After
// [ErrAgain], read the events and call it again.
func (f *FD) AllowWrites(addr, length uint64) error {
	arg := protectArg{Start: addr, Len: length}
	errno := ioctl(f.fd, ioctlProtect, &arg)
	if errno == unix.EAGAIN {
		return ErrAgain
	}
	if errno != 0 {
		return fmt.Errorf("allow writes to %d bytes at %#x: %w", length, addr, gone(errno))
	}
	return nil
}

func gone(errno unix.Errno) error {
	if errno == unix.ESRCH {
		return fmt.Errorf("%w (%w)", ErrGone, errno)
	}
	return errno
}

const pageSize = 4096

func pageOf(addr uint64) uint64 { return addr &^ (pageSize - 1) }
