package qemu

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/vmm"
)

// Binary is the program's name.
const Binary = "qemu-system-x86_64"

// firstUID begins the range of user ids that QEMU processes run under, one
// each, so that none can reach another. No account has them. Each driver begins
// somewhere in the range, so that two daemons are unlikely to meet.
const (
	firstUID = 0x7a000000
	uids     = 1 << 24
)

// Driver starts QEMU processes with one accelerator. Its methods may be called
// concurrently.
type Driver struct {
	binary string
	accel  Accelerator
	tscKHz uint64
	cpu    string
	kvm    []uint32 // supplementary groups for /dev/kvm
	uid    atomic.Uint32

	mu      sync.Mutex
	version string      // of the file below
	file    os.FileInfo // what binary was when its version was read
}

// New finds QEMU. Its absence is a [thaw.CodeUnavailable] error.
func New(ctx context.Context, accel Accelerator) (*Driver, error) {
	binary, err := exec.LookPath(Binary)
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeUnavailable, "%s is not installed: run `apt-get install qemu-system-x86`", Binary)
	}
	d := &Driver{binary: binary, accel: accel, cpu: hostCPU(), kvm: kvmGroup()}
	d.uid.Store(mathrand.Uint32())
	if accel == TCG {
		d.tscKHz = measureTSC()
	}
	_, err = d.Version(ctx)
	return d, err
}

// Version is QEMU's version and its distributor's, read again when the program
// was replaced: what starts next is the new one.
func (d *Driver) Version(ctx context.Context) (string, error) {
	file, err := os.Stat(d.binary)
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", Binary, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file != nil && os.SameFile(d.file, file) && d.file.ModTime().Equal(file.ModTime()) {
		return d.version, nil
	}
	version, err := versionOf(ctx, d.binary)
	if err != nil {
		return "", err
	}
	d.version, d.file = version, file
	return version, nil
}

var versionRule = regexp.MustCompile(`version (\S+(?: \([^)]*\))?)`)

func versionOf(ctx context.Context, binary string) (string, error) {
	out, err := exec.CommandContext(ctx, binary, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", binary, err)
	}
	m := versionRule.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("ask %s for its version: answer %q", binary, out)
	}
	return string(m[1]), nil
}

// Accelerator is what the driver was made with.
func (d *Driver) Accelerator() Accelerator { return d.accel }

// Machine says what a snapshot made now would depend on, but for the kernel.
func (d *Driver) Machine(ctx context.Context) (thaw.Machine, error) {
	version, err := d.Version(ctx)
	return thaw.Machine{
		VMM: "qemu " + MachineType, VMMVersion: version, Accelerator: string(d.accel),
		CPUModel: d.accel.CPUModel(), HostCPU: d.cpu,
	}, err
}

// Boot starts a machine that boots g once it is told to run. memory, when set,
// becomes its memory, of g.MemoryBytes: SaveState needs that. The file's owner
// changes to the process's user, who opens it again.
func (d *Driver) Boot(ctx context.Context, g vmm.Guest, memory *os.File) (*VM, error) {
	files, err := openGuest(g)
	if err != nil {
		return nil, err
	}
	defer files.close()
	return d.start(ctx, options{
		accel: d.accel, tscKHz: d.tscKHz, memoryBytes: g.MemoryBytes, memory: memory,
		kernel: files.kernel, initramfs: files.initramfs, disks: files.disks,
	})
}

// Prestart starts a machine that waits for LoadState, with memory bytes of
// memory, whose place [VM.GuestMemory] tells and which is private and empty, and
// with stubs for disks, to be replaced with [VM.AttachDisks]. warm does more that a
// restore can do without, but is faster for.
func (d *Driver) Prestart(ctx context.Context, memory int64, disks int, warm bool) (_ *VM, err error) {
	o := options{accel: d.accel, memoryBytes: memory, disks: make([]*os.File, disks)}
	// The process has no privileges to open it, nor to do without.
	if o.faults, err = os.OpenFile("/dev/userfaultfd", os.O_RDWR, 0); err == nil {
		defer o.faults.Close()
	} else if !errors.Is(err, os.ErrNotExist) { // kernels before 6.1 have none
		return nil, fmt.Errorf("open userfaultfd: %w", err)
	}
	vm, err := d.start(ctx, o)
	if err != nil {
		return nil, err
	}
	if err = vm.prepareTransfer(ctx, true); err == nil && warm && d.accel == TCG {
		err = vm.warm()
	}
	if err != nil {
		vm.Close()
		return nil, err
	}
	return vm, nil
}

// Incoming starts a machine that has the disks of g and memory of its own, and
// waits for LoadStream: what QEMU does by itself.
func (d *Driver) Incoming(ctx context.Context, g vmm.Guest) (*VM, error) {
	files, err := openGuest(g)
	if err != nil {
		return nil, err
	}
	defer files.close()
	return d.start(ctx, options{accel: d.accel, memoryBytes: g.MemoryBytes, disks: files.disks})
}

// GuestMemory returns the address in the process of guest memory, size bytes
// long, of a machine made by Restore.
func (vm *VM) GuestMemory(size int64) (uint64, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", vm.PID()))
	if errors.Is(err, os.ErrNotExist) || err == nil && len(maps) == 0 { // it has ended, collected or not
		err = vm.Exited()
	}
	if err != nil {
		return 0, fmt.Errorf("find guest memory: %w", err)
	}
	for line := range strings.Lines(string(maps)) {
		if !strings.Contains(line, "/memfd:memory-backend-memfd") {
			continue
		}
		var start, end uint64
		if _, err := fmt.Sscanf(line, "%x-%x", &start, &end); err != nil {
			return 0, fmt.Errorf("find guest memory: %w", err)
		}
		if end-start == uint64(size) {
			return start, nil
		}
	}
	return 0, fmt.Errorf("find guest memory: process %d has no mapping of %d bytes for it", vm.PID(), size)
}

func (d *Driver) nextUID() uint32 { return firstUID + d.uid.Add(1)%uids }

func (d *Driver) groups() []uint32 {
	if d.accel == KVM {
		return d.kvm
	}
	return nil
}

// kvmGroup is the group that /dev/kvm belongs to, if there is one: the process
// has no other right to it. root's group is not given away.
func kvmGroup() []uint32 {
	var st unix.Stat_t
	if unix.Stat("/dev/kvm", &st) != nil || st.Gid == 0 {
		return nil
	}
	return []uint32{st.Gid}
}

// hostCPU is the processor's name.
func hostCPU() string {
	b, _ := os.ReadFile("/proc/cpuinfo") // an empty name is a name, too
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return ""
}
