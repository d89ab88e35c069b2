package standin

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"thaw/vmm"
)

// Process is a stand-in that waits for commands. It can be laid out as a VMM can.
// Close ends it. It is not safe for concurrent use.
type Process struct {
	proc   *vmm.Process
	conn   net.Conn
	in     *gob.Decoder
	out    *gob.Encoder
	faults int
	base   uint64
}

// Start runs cmd, which calls [Serve], and has it map size bytes of memory to be
// laid out, or none if that is 0.
func Start(cmd *exec.Cmd, size int64) (_ *Process, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("create a socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "stand-in"), os.NewFile(uintptr(fds[1]), "stand-in's end")
	defer ours.Close()
	defer theirs.Close()
	p := &Process{faults: -1}
	if p.conn, err = net.FileConn(ours); err != nil {
		return nil, fmt.Errorf("use a socket pair: %w", err)
	}
	p.in, p.out = gob.NewDecoder(p.conn), gob.NewEncoder(p.conn)
	cmd.ExtraFiles = []*os.File{theirs}
	// A signal that preempts a goroutine has the kernel take a page fault again, which
	// would count twice.
	cmd.Env = append(cmd.Environ(), "GODEBUG=asyncpreemptoff=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is ours to pass on
	if p.proc, err = vmm.StartProcess(cmd); err != nil {
		return nil, errors.Join(fmt.Errorf("start the stand-in: %w", err), p.conn.Close())
	}
	if size == 0 {
		return p, nil
	}
	a, err := p.call(request{Map: size})
	if err != nil {
		p.Close()
		return nil, err
	}
	p.base = a.Address
	if device, err := p.call(request{Open: "/dev/userfaultfd"}); err == nil { // else the system call will do
		p.faults = device.FD
	}
	return p, nil
}

// Close ends the process and waits for that.
func (p *Process) Close() {
	p.proc.Kill()
	_ = p.conn.Close()
}

// Kill ends the process; Close is still due.
func (p *Process) Kill() { p.proc.Kill() }

// Base is the address of its memory.
func (p *Process) Base() uint64 { return p.base }

// PID is the process id.
func (p *Process) PID() int { return p.proc.PID() }

// TakeFD duplicates descriptor fd of the process into this one.
func (p *Process) TakeFD(fd int) (int, error) { return p.proc.TakeFD(fd) }

// GiveFD has the process open f for reading, and returns the number there.
func (p *Process) GiveFD(_ context.Context, f *os.File) (int, error) {
	a, err := p.call(request{Open: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())})
	return a.FD, err
}

// FaultDevice is the number of its open /dev/userfaultfd, or -1.
func (p *Process) FaultDevice() int { return p.faults }

// Prepare tells it what to touch.
func (p *Process) Prepare(touches []Touch) error {
	_, err := p.call(request{Touch: touches})
	return err
}

// Run has it touch what was prepared.
func (p *Process) Run() (Result, error) {
	a, err := p.call(request{Run: true})
	return a.Result, err
}

// Map has it map an area, and returns the address.
func (p *Process) Map(a Area) (uint64, error) {
	r, err := p.call(request{Area: &a})
	return r.Address, err
}

// Unmap undoes Map and Trap.
func (p *Process) Unmap() error {
	_, err := p.call(request{Unmap: true})
	return err
}

// Trap creates a userfaultfd in it and returns it as a descriptor of this process,
// which has to close it. The process keeps its own.
func (p *Process) Trap() (int, error) {
	r, err := p.call(request{Trap: true})
	if err != nil {
		return -1, err
	}
	return p.TakeFD(r.FD)
}

// Touch has it touch pages of the area.
func (p *Process) Touch(o Order) (Raised, error) {
	r, err := p.call(request{Order: &o})
	return r.Raised, err
}

// Bring has it bring the area in by a way. An error wraps [errors.ErrUnsupported]
// if the kernel does not have that way.
func (p *Process) Bring(b Bulk) (Raised, error) {
	r, err := p.call(request{Bulk: &b})
	return r.Raised, err
}

func (p *Process) call(r request) (a reply, err error) {
	if err := p.out.Encode(r); err != nil {
		return a, fmt.Errorf("command the stand-in: %w%s", err, vmm.Quote(p.proc.Console().LastWords(20)))
	}
	if err := p.in.Decode(&a); err != nil {
		return a, fmt.Errorf("the stand-in ended: %w%s", err, vmm.Quote(p.proc.Console().LastWords(20)))
	}
	if a.Unsupported {
		return a, fmt.Errorf("stand-in: %s: %w", a.Err, errors.ErrUnsupported)
	}
	if a.Err != "" {
		return a, fmt.Errorf("stand-in: %s", a.Err)
	}
	return a, nil
}
