//go:build linux && amd64

package remote

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// tracee is a stopped main thread. Everything on it must happen on the OS
// thread that attached.
type tracee struct {
	pid     int
	regs    unix.PtraceRegs
	sigmask uint64
	// syscallInsn is the address of a syscall instruction in the target.
	syscallInsn uint64
}

// allButTrap blocks every signal but SIGTRAP: the kernel forces that one through
// a block by resetting its handler, which would outlive our visit.
const allButTrap = ^uint64(1 << (unix.SIGTRAP - 1))

// attach stops pid's main thread and remembers its state.
func attach(pid int) (t *tracee, err error) {
	if err := unix.PtraceSeize(pid); err != nil {
		return nil, fmt.Errorf("attach to process %d: %w", pid, gone(err))
	}
	t = &tracee{pid: pid}
	if err := t.stop(); err != nil {
		return nil, errors.Join(err, unix.PtraceDetach(pid))
	}
	if t.syscallInsn, err = findSyscall(pid); err != nil {
		return nil, errors.Join(err, t.detach())
	}
	return t, t.block()
}

// stop interrupts the thread and saves its registers and signal mask. A signal
// that was on its way is delivered first.
func (t *tracee) stop() error {
	if err := unix.PtraceInterrupt(t.pid); err != nil {
		return fmt.Errorf("interrupt process %d: %w", t.pid, gone(err))
	}
	for {
		status, err := t.waitStop()
		if err != nil {
			return err
		}
		if status.event() == unix.PTRACE_EVENT_STOP {
			break
		}
		if err := unix.PtraceCont(t.pid, int(status.signal())); err != nil {
			return fmt.Errorf("deliver a signal to process %d: %w", t.pid, gone(err))
		}
	}
	if err := unix.PtraceGetRegs(t.pid, &t.regs); err != nil {
		return fmt.Errorf("get registers: %w", gone(err))
	}
	if err := ptraceSigmask(t.pid, unix.PTRACE_GETSIGMASK, &t.sigmask); err != nil {
		return fmt.Errorf("get signal mask: %w", gone(err))
	}
	return nil
}

// block keeps signals away while the thread is borrowed, so that no handler
// runs in between.
func (t *tracee) block() error {
	mask := allButTrap
	if err := ptraceSigmask(t.pid, unix.PTRACE_SETSIGMASK, &mask); err != nil {
		return errors.Join(fmt.Errorf("block signals: %w", gone(err)), t.detach())
	}
	return nil
}

// detach gives the thread its registers and signals back and lets it run.
// orig_rax is among them: a system call that the stop interrupted is restarted
// by the kernel as if nothing had happened.
func (t *tracee) detach() error {
	regs := unix.PtraceSetRegs(t.pid, &t.regs)
	mask := ptraceSigmask(t.pid, unix.PTRACE_SETSIGMASK, &t.sigmask)
	err := errors.Join(regs, mask, unix.PtraceDetach(t.pid))
	if err != nil {
		return fmt.Errorf("detach from process %d: %w", t.pid, gone(err))
	}
	return nil
}

// borrowed returns the saved registers, ready to run something else: without a
// system call number, the kernel does not try to restart the interrupted one.
func (t *tracee) borrowed(rip uint64) unix.PtraceRegs {
	r := t.regs
	r.Rip = rip
	r.Orig_rax = ^uint64(0)
	return r
}

// step makes the thread execute one system call.
func (t *tracee) step(nr uintptr, args ...uintptr) (uintptr, error) {
	var a [6]uint64
	for i, v := range args {
		a[i] = uint64(v)
	}
	r := t.borrowed(t.syscallInsn)
	r.Rax, r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9 = uint64(nr), a[0], a[1], a[2], a[3], a[4], a[5]
	if err := unix.PtraceSetRegs(t.pid, &r); err != nil {
		return 0, fmt.Errorf("set registers: %w", gone(err))
	}
	if err := unix.PtraceSingleStep(t.pid); err != nil {
		return 0, fmt.Errorf("step: %w", gone(err))
	}
	if err := t.trap(&r); err != nil {
		return 0, err
	}
	if r.Rax > ^uint64(4095) {
		return 0, unix.Errno(-r.Rax)
	}
	return uintptr(r.Rax), nil
}

// runLoop runs the code at addr over n entries until its breakpoint.
func (t *tracee) runLoop(addr uintptr, n int) error {
	r := t.borrowed(uint64(addr))
	r.Rbx = uint64(addr) + codeSize
	r.Rbp = r.Rbx + uint64(n)*entrySize
	if err := unix.PtraceSetRegs(t.pid, &r); err != nil {
		return fmt.Errorf("set registers: %w", gone(err))
	}
	if err := unix.PtraceCont(t.pid, 0); err != nil {
		return fmt.Errorf("run calls: %w", gone(err))
	}
	return t.trap(&r)
}

// trap waits for the SIGTRAP of a step or a breakpoint and reads the registers.
func (t *tracee) trap(r *unix.PtraceRegs) error {
	status, err := t.waitStop()
	if err != nil {
		return err
	}
	if status.signal() != unix.SIGTRAP || status.event() != 0 {
		return fmt.Errorf("process %d stopped with %v (event %d) instead of a trap", t.pid, status.signal(), status.event())
	}
	if err := unix.PtraceGetRegs(t.pid, r); err != nil {
		return fmt.Errorf("get registers: %w", gone(err))
	}
	return nil
}

func (t *tracee) write(addr uintptr, b []byte) error {
	local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	n, err := unix.ProcessVMWritev(t.pid, local, []unix.RemoteIovec{{Base: addr, Len: len(b)}}, 0)
	return transferred("write", n, len(b), err)
}

func (t *tracee) read(addr uintptr, b []byte) error {
	local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	n, err := unix.ProcessVMReadv(t.pid, local, []unix.RemoteIovec{{Base: addr, Len: len(b)}}, 0)
	return transferred("read", n, len(b), err)
}

func transferred(what string, n, want int, err error) error {
	if err != nil {
		return fmt.Errorf("%s remote memory: %w", what, gone(err))
	}
	if n != want {
		return fmt.Errorf("%s remote memory: %d bytes of %d", what, n, want)
	}
	return nil
}

// vdsoSize is the part of the vDSO that is searched: its first page, which has
// to hold the code of its most used functions.
const vdsoSize = 4096

// findSyscall returns the address of a syscall instruction in pid's vDSO,
// which every process has, wherever its thread happens to be.
func findSyscall(pid int) (uint64, error) {
	start, err := vdso(pid)
	if err != nil {
		return 0, err
	}
	b := make([]byte, vdsoSize)
	if err := (&tracee{pid: pid}).read(uintptr(start), b); err != nil {
		return 0, err
	}
	i := bytes.Index(b, []byte{0x0f, 0x05})
	if i < 0 {
		return 0, errors.New("find a syscall instruction in the vDSO: there is none")
	}
	return start + uint64(i), nil
}

// atSysinfoEHDR is the type of the auxiliary vector's entry that holds the
// address of the vDSO (getauxval(3)).
const atSysinfoEHDR = 33

// vdso reads the auxiliary vector: a list of mappings would tell as well, but of
// a VMM that is hundreds of lines.
func vdso(pid int) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/auxv")
	if err != nil {
		return 0, fmt.Errorf("find the vDSO: %w", err)
	}
	for ; len(b) >= 16; b = b[16:] {
		if binary.LittleEndian.Uint64(b) == atSysinfoEHDR {
			return binary.LittleEndian.Uint64(b[8:]), nil
		}
	}
	return 0, fmt.Errorf("find the vDSO of process %d: %w", pid, ErrGone)
}

// gone marks the errors that mean the process has exited.
func gone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%w (%w)", ErrGone, err)
	}
	return err
}
