// Package remote runs system calls inside another process of this machine, so
// that an unmodified VMM maps memory or creates a userfaultfd for us.
//
// The calling convention is a table: [Run] stops the target's main thread with
// ptrace(2), writes a loop of a dozen instructions and the calls into a scratch
// mapping there, lets the thread run it to a breakpoint, reads the results back
// and restores everything. The cost is that of one stop, whatever the number of
// calls. What the calls are for is not known here.
//
// All of it needs CAP_SYS_PTRACE or the same user and no Yama restriction.
package remote

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// ErrGone says that the target process has exited.
var ErrGone = errors.New("process is gone")

// Call is one system call: its number and up to six arguments, as the kernel
// takes them. Pointers are addresses in the target.
type Call struct {
	Nr   uintptr
	Args [6]uintptr
}

// CallError is a system call that the target was refused.
type CallError struct {
	// Index is its position among the calls; later ones did not run.
	Index int
	Errno unix.Errno
}

// Error names the position and the reason.
func (e *CallError) Error() string {
	return fmt.Sprintf("remote system call %d: %v", e.Index, e.Errno)
}

// Unwrap returns the errno.
func (e *CallError) Unwrap() error { return e.Errno }

// Run makes process pid execute calls in order in its main thread and returns
// their results. It stops at the first call that fails, with a [*CallError] and
// the results so far. The target is running again when Run returns, and keeps
// every effect of the calls that worked.
//
// Any number of Run may be under way for different processes; for one process
// the caller serialises.
func Run(pid int, calls []Call) ([]uintptr, error) {
	type outcome struct {
		results []uintptr
		err     error
	}
	done := make(chan outcome, 1)
	// ptrace(2) ties a tracee to the tracing thread, so a thread is borrowed
	// for the whole session.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		results, err := run(pid, calls)
		done <- outcome{results, err}
	}()
	o := <-done
	return o.results, o.err
}

func run(pid int, calls []Call) (results []uintptr, err error) {
	if len(calls) == 0 {
		return nil, nil
	}
	t, err := attach(pid)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.detach()) }()
	return t.execute(calls)
}

// execute runs calls from a scratch mapping that lives as long as this call.
func (t *tracee) execute(calls []Call) (results []uintptr, err error) {
	size := scratchSize(len(calls))
	addr, err := t.step(unix.SYS_MMAP, 0, size, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
	if err != nil {
		return nil, fmt.Errorf("map scratch memory: %w", err)
	}
	defer func() {
		if _, e := t.step(unix.SYS_MUNMAP, addr, size); e != nil {
			err = errors.Join(err, fmt.Errorf("unmap scratch memory: %w", e))
		}
	}()
	if err := t.write(addr, encode(calls)); err != nil {
		return nil, err
	}
	if err := t.runLoop(addr, len(calls)); err != nil {
		return nil, err
	}
	return t.results(addr, len(calls))
}

// results reads the table back and turns it into what [Run] returns.
func (t *tracee) results(addr uintptr, n int) ([]uintptr, error) {
	table := make([]byte, n*entrySize)
	if err := t.read(addr+codeSize, table); err != nil {
		return nil, err
	}
	return decode(table)
}
