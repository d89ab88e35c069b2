// Package vmm holds what every virtual machine monitor needs: a process that
// dies with us, its console, and the blueprint of a guest. The drivers are in
// the packages below it.
package vmm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Process is a running VMM: a child in its own process group that the kernel
// kills when we die, however we die.
//
// Its methods may be called concurrently. The owner calls Kill exactly when it
// is done with it; an exit by itself closes Done as well.
type Process struct {
	cmd     *exec.Cmd
	console *Console
	done    chan struct{}
	once    sync.Once

	mu    sync.Mutex
	pidfd int // -1 after Kill
}

// StartProcess starts cmd with its output going to a console, unless cmd.Stdout
// is set: then only its errors do. cmd.SysProcAttr may be set; the fields that tie
// the process to us are filled in.
func StartProcess(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, pidfd: -1, console: &Console{}, done: make(chan struct{})}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = !cmd.SysProcAttr.Setsid // the leader of a session has its group
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.PidFD = &p.pidfd
	cmd.Stderr = p.console
	if cmd.Stdout == nil {
		cmd.Stdout = p.console
	}
	started := make(chan error, 1)
	go p.supervise(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// supervise starts the process, waits for its end and collects it. It keeps its
// OS thread: the death signal of prctl(2) is sent when the thread that started
// the process ends, not when the whole of us does.
func (p *Process) supervise(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	if err == nil && p.pidfd < 0 {
		err = errors.Join(errors.New("this kernel has no pidfd (5.4 or newer is needed)"), p.cmd.Process.Kill(), p.cmd.Wait())
	}
	started <- err
	if err != nil {
		return
	}
	// Not wait4(2): a stop under ptrace would look like an end to it.
	waitExit(p.pidfd)
	_ = p.cmd.Wait() // how it ended is in ProcessState
	close(p.done)
}

func waitExit(pidfd int) {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		if n, err := unix.Poll(fds, -1); n > 0 || (err != nil && err != unix.EINTR) {
			return
		}
	}
}

// PID is the process id. It means this process only until Done is closed.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended and was collected.
func (p *Process) Done() <-chan struct{} { return p.done }

// Console returns the last lines that the process and its guest printed.
func (p *Process) Console() *Console { return p.console }

// TakeFD duplicates the process's descriptor fd into this one (pidfd_getfd(2)).
func (p *Process) TakeFD(fd int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := unix.PidfdGetfd(p.pidfd, fd, 0)
	if err != nil {
		return -1, fmt.Errorf("take descriptor %d of process %d: %w", fd, p.PID(), err)
	}
	return n, nil
}

// Exited returns an [*ExitError] once Done is closed.
func (p *Process) Exited() error {
	<-p.done
	return &ExitError{State: p.cmd.ProcessState, Console: p.console.LastWords(20)}
}

// Kill ends the process and returns when it is gone. Calling it again is
// harmless.
func (p *Process) Kill() {
	p.once.Do(func() {
		select {
		case <-p.done:
		default:
			_ = unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0) // it may just have ended
			<-p.done
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		_ = unix.Close(p.pidfd)
		p.pidfd = -1
	})
	<-p.done
}

// ExitError is a VMM that ended by itself, with the last lines of its console.
type ExitError struct {
	State   *os.ProcessState
	Console []string
}

// Error says how it ended and what it printed last.
func (e *ExitError) Error() string {
	return fmt.Sprintf("virtual machine ended (%v)%s", e.State, Quote(e.Console))
}
