//go:build linux && amd64

package remote

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfoStatus is the offset of si_status in siginfo_t on x86-64, see
// sigaction(2).
const siginfoStatus = 24

// The si_code values of waitid(2) that mean a stop.
const (
	cldTrapped = 4
	cldStopped = 5
)

// stopStatus tells why a thread stopped: a signal, and for a PTRACE_EVENT stop
// the event (ptrace(2)).
type stopStatus int32

func (s stopStatus) signal() unix.Signal { return unix.Signal(s & 0x7f) }
func (s stopStatus) event() int          { return int(s >> 8) }

// waitStop waits until the thread stops. An exit is left for the parent to
// collect and reported as [ErrGone].
func (t *tracee) waitStop() (stopStatus, error) {
	var info unix.Siginfo
	if err := waitid(t.pid, &info, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT); err != nil {
		return 0, err
	}
	if info.Code != cldTrapped && info.Code != cldStopped {
		return 0, fmt.Errorf("process %d exited while it was stopped: %w", t.pid, ErrGone)
	}
	if err := waitid(t.pid, &info, unix.WSTOPPED); err != nil {
		return 0, err
	}
	return stopStatus(*(*int32)(unsafe.Add(unsafe.Pointer(&info), siginfoStatus))), nil
}

func waitid(pid int, info *unix.Siginfo, options int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, info, options|unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		if err == unix.ECHILD {
			return fmt.Errorf("wait for process %d: %w", pid, ErrGone)
		}
		if err != nil {
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
		return nil
	}
}

// ptraceSigmask gets or sets the signal mask, 8 bytes on Linux, see ptrace(2).
func ptraceSigmask(pid, request int, mask *uint64) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(pid), unsafe.Sizeof(*mask), uintptr(unsafe.Pointer(mask)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
