package boot

import (
	"encoding/hex"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"thaw/agent/wire"
)

// FunctionUser is the user and group id that functions run as, as in Lambda.
const FunctionUser = 993

// The limits of the function's processes: those Lambda documents ("Lambda
// quotas": 1,024 file descriptors, 1,024 processes and threads).
const (
	maxFiles     = 1024
	maxProcesses = 1024
)

// Limit sets the resource limits that the function's processes inherit. The
// kernel never takes PID 1 for its out-of-memory killer (oom_unkillable_task in
// mm/oom_kill.c), so the agent needs no oom_score_adj, which they would inherit
// as well.
func Limit() error {
	for _, l := range []struct {
		what  int
		value uint64
	}{
		{unix.RLIMIT_NOFILE, maxFiles},
		{unix.RLIMIT_NPROC, maxProcesses},
		{unix.RLIMIT_CORE, 0},
	} {
		// package syscall, because it tells the Go runtime not to restore
		// the number of files it found at its start in children.
		if err := syscall.Setrlimit(l.what, &syscall.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return fmt.Errorf("set resource limit %d: %w", l.what, err)
		}
	}
	return nil
}

// LoopbackUp brings up the network interface lo.
func LoopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	return nil
}

// System is the machine this process is PID 1 of. Its descriptors and mappings
// stay for as long as the machine lives: opening a file runs kernel code,
// and touches pages, that a guest just restored would not need otherwise.
type System struct {
	random   int // /dev/urandom
	identity identity
}

// NewSystem opens what Resume needs, in the root file system of the function.
func NewSystem() (System, error) {
	identity, err := newIdentity()
	if err != nil {
		return System{}, fmt.Errorf("prepare identity: %w", err)
	}
	random, err := unix.Open("/dev/urandom", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return System{}, fmt.Errorf("open random number generator: %w", err)
	}
	return System{random: random, identity: identity}, nil
}

// Resume sets the clock, reseeds the kernel's random numbers and takes on the
// identity. It does all three even when one fails, and reports every failure.
func (s System) Resume(m wire.Resume, entropy []byte, received time.Time) wire.Resumed {
	answer := wire.Resumed{}
	off, clockErr := setClock(time.Unix(0, m.WallNS), received)
	answer.ClockErrorNS = off.Nanoseconds()
	fresh, seedErr := s.reseed(entropy)
	answer.Reseeded, answer.Sample = seedErr == nil, hex.EncodeToString(fresh.sample[:])
	id, idErr := s.identity.take(m.InstanceID, fresh)
	answer.InstanceID = id
	if err := errors.Join(clockErr, seedErr, idErr); err != nil {
		answer.Error = err.Error()
	}
	answer.WallNS = time.Now().UnixNano()
	return answer
}

// Quiesce leaves nothing for the kernel to write back. The page cache stays: it
// holds the function's code and libraries, which a restored guest would have to
// read from its disks again, page by page.
func (System) Quiesce() error {
	unix.Sync()
	return nil
}

// clockTries is how often setClock sets the clock, and closeEnough when it is
// content: on a machine that is short of processors, a guest may stand still
// between computing the time and setting it.
const (
	clockTries  = 5
	closeEnough = 2 * time.Millisecond
)

// setClock sets the real-time clock to wall, which was true when received was
// now, and returns how far off it is after that.
func setClock(wall, received time.Time) (off time.Duration, err error) {
	for range clockTries {
		if off, err = setClockOnce(wall, received); err != nil || off.Abs() <= closeEnough {
			break
		}
	}
	return off, err
}

func setClockOnce(wall, received time.Time) (time.Duration, error) {
	ts := unix.NsecToTimespec(wall.Add(time.Since(received)).UnixNano())
	if err := setRealtime(&ts); err != nil {
		return 0, fmt.Errorf("set clock: %w", err)
	}
	return time.Duration(time.Now().UnixNano() - wall.Add(time.Since(received)).UnixNano()), nil
}
