package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"thaw/vmm"
)

// VM is one QEMU process. Close ends it; nothing else does. Its methods are
// called by one owner at a time, except Close, Done and Exited.
type VM struct {
	proc    *vmm.Process
	qmp     *qmp
	channel net.Conn
	faults  int
}

// start runs QEMU for o and returns when its control socket answers; the guest
// does not run yet. Ending ctx early ends the process.
func (d *Driver) start(ctx context.Context, o options) (vm *VM, err error) {
	control, controlChild, err := socketPair("qmp")
	if err != nil {
		return nil, err
	}
	channel, channelChild, err := socketPair("channel")
	if err != nil {
		return nil, errors.Join(err, control.Close(), controlChild.Close())
	}
	o.qmp, o.channel = controlChild, channelChild
	var fds descriptors
	vm = &VM{channel: channel, faults: -1}
	if o.faults != nil {
		vm.faults = fds.add(o.faults)
	}
	vm.proc, err = d.run(o, &fds)
	// Or the end of a process that dies before it answers would not be seen.
	_, _ = controlChild.Close(), channelChild.Close()
	if err != nil {
		return nil, errors.Join(err, control.Close(), channel.Close())
	}
	if vm.qmp, err = newQMP(ctx, control); err != nil {
		vm.Close()
		return nil, vm.explain(ctx, err)
	}
	return vm, nil
}

// run starts the process for o under a user of its own.
func (d *Driver) run(o options, fds *descriptors) (*vmm.Process, error) {
	uid := d.nextUID()
	if o.memory != nil {
		if err := o.memory.Chown(int(uid), int(uid)); err != nil {
			return nil, fmt.Errorf("hand over the memory file: %w", err)
		}
	}
	return vmm.StartProcess(d.command(o, fds, uid))
}

func (d *Driver) command(o options, fds *descriptors, uid uint32) *exec.Cmd {
	cmd := exec.Command(d.binary, o.arguments(fds)...)
	cmd.ExtraFiles = fds.files
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: d.groups()},
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
	}
	return cmd
}

// explain adds how the process ended to an error that its end caused.
func (vm *VM) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w%s", context.Cause(ctx), vmm.Quote(vm.proc.Console().LastWords(20)))
	}
	return fmt.Errorf("%w: %w", err, vm.proc.Exited())
}

// Close ends the process and releases everything of it. Calling it again is
// harmless.
func (vm *VM) Close() {
	vm.proc.Kill()
	_ = vm.channel.Close() // may be closed by its user already
	if vm.qmp != nil {
		vm.qmp.close()
	}
}

// Kill ends the process, which closes Done; Close is still due.
func (vm *VM) Kill() { vm.proc.Kill() }

// Channel is our end of the agent's virtio-serial channel.
func (vm *VM) Channel() net.Conn { return vm.channel }

// Done is closed when the process has ended, by itself or by Close.
func (vm *VM) Done() <-chan struct{} { return vm.proc.Done() }

// Exited waits for Done and returns the [*vmm.ExitError].
func (vm *VM) Exited() error { return vm.proc.Exited() }

// PID is the process id.
func (vm *VM) PID() int { return vm.proc.PID() }

// Console returns what the process and the guest's kernel printed last.
func (vm *VM) Console() *vmm.Console { return vm.proc.Console() }

// TakeFD duplicates descriptor fd of the process into this one.
func (vm *VM) TakeFD(fd int) (int, error) { return vm.proc.TakeFD(fd) }

// FaultDevice is the number in the process of an open /dev/userfaultfd, -1 when
// it has none.
func (vm *VM) FaultDevice() int { return vm.faults }

// GiveFD passes f to the process and returns its number there.
func (vm *VM) GiveFD(ctx context.Context, f *os.File) (int, error) {
	var reply struct {
		FD int `json:"fd"`
	}
	if err := vm.qmp.execute(ctx, command{Execute: "add-fd", file: f}, &reply); err != nil {
		return -1, vm.check(ctx, err)
	}
	return reply.FD, nil
}

// AttachDisks replaces the stubs of a machine made by Prestart with disk images,
// in the order the guest sees them.
func (vm *VM) AttachDisks(ctx context.Context, images []string) error {
	var commands []command
	var reopen []object
	for i, name := range images {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("attach disk %d: %w", i, err)
		}
		defer f.Close()
		set := i + 1
		commands = append(commands,
			command{Execute: "add-fd", Arguments: object{"fdset-id": set}, file: f},
			command{Execute: "blockdev-add", Arguments: object{
				"driver": "file", "node-name": fileNode(i), "filename": fmt.Sprintf("/dev/fdset/%d", set), "read-only": true, "locking": "off",
			}})
		reopen = append(reopen, object{"driver": "raw", "node-name": diskNode(i), "read-only": true, "file": fileNode(i)})
	}
	commands = append(commands, command{Execute: "blockdev-reopen", Arguments: object{"options": reopen}})
	if err := vm.qmp.executeAll(ctx, nil, commands...); err != nil {
		return fmt.Errorf("attach disks: %w", vm.check(ctx, err))
	}
	return nil
}

// Cont lets the virtual CPU run.
func (vm *VM) Cont(ctx context.Context) error {
	return vm.check(ctx, vm.qmp.execute(ctx, command{Execute: "cont"}, nil))
}

// InjectNMI interrupts the guest's kernel, which panics and prints where it
// was: the way to look into a guest that hangs.
func (vm *VM) InjectNMI(ctx context.Context) error {
	return vm.check(ctx, vm.qmp.execute(ctx, command{Execute: "inject-nmi"}, nil))
}

// SaveState stops the virtual CPU and writes the state of the devices and
// registers to f. Guest memory, which must be a shared file, is complete when
// it returns. The virtual CPU stays stopped.
func (vm *VM) SaveState(ctx context.Context, f *os.File) error { return vm.save(ctx, f, true) }

// SaveStream is SaveState with all of guest memory in f: a whole migration stream.
func (vm *VM) SaveStream(ctx context.Context, f *os.File) error { return vm.save(ctx, f, false) }

func (vm *VM) save(ctx context.Context, f *os.File, aside bool) error {
	if err := vm.qmp.execute(ctx, command{Execute: "stop"}, nil); err != nil {
		return vm.check(ctx, err)
	}
	if err := vm.prepareTransfer(ctx, aside); err != nil {
		return err
	}
	return vm.check(ctx, vm.transfer(ctx, f, "migrate"))
}

// LoadState reads what SaveState wrote, of a machine made by Prestart. The virtual
// CPU stays stopped.
func (vm *VM) LoadState(ctx context.Context, f *os.File) error {
	return vm.check(ctx, vm.transfer(ctx, f, "migrate-incoming"))
}

// LoadStream reads what SaveStream wrote. The virtual CPU stays stopped.
func (vm *VM) LoadStream(ctx context.Context, f *os.File) error {
	if err := vm.prepareTransfer(ctx, false); err != nil {
		return err
	}
	return vm.check(ctx, vm.transfer(ctx, f, "migrate-incoming"))
}

// prepareTransfer has device state moved, with guest memory unless that is to be
// left aside.
func (vm *VM) prepareTransfer(ctx context.Context, aside bool) error {
	capabilities := []object{
		{"capability": "events", "state": true},
		{"capability": "x-ignore-shared", "state": aside},
	}
	return vm.check(ctx, vm.qmp.execute(ctx, command{Execute: "migrate-set-capabilities", Arguments: object{"capabilities": capabilities}}, nil))
}

// transfer moves device state through f.
func (vm *VM) transfer(ctx context.Context, f *os.File, how string) error {
	if err := vm.qmp.execute(ctx, command{Execute: "getfd", Arguments: object{"fdname": "state"}, file: f}, nil); err != nil {
		return err
	}
	return vm.qmp.migrate(ctx, command{Execute: how, Arguments: object{"uri": "fd:state"}})
}

// check adds to err that the process has ended, if it has or does right after.
func (vm *VM) check(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, errClosed) || errors.Is(err, unix.EPIPE) || errors.Is(err, net.ErrClosed) {
		vm.proc.Kill()
		return vm.explain(ctx, err)
	}
	return err
}

// socketPair returns two connected ends: ours, and a file for the child.
func socketPair(name string) (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("create a socket pair: %w", err)
	}
	ours, child := os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name+" child")
	defer ours.Close() // FileConn duplicates
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("use a socket pair: %w", err), child.Close())
	}
	return conn.(*net.UnixConn), child, nil
}
