// Package qemu drives an unmodified QEMU: its command line, its control socket
// (QMP), and the two things a snapshot needs of it, saving device state beside
// a memory file and loading it.
//
// The process runs under a user id of its own, without privileges, in a seccomp
// sandbox, without a network, and is given everything it may use as an open
// descriptor.
package qemu

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"thaw/vmm"
)

// Accelerator is what executes the guest's instructions.
type Accelerator string

const (
	// KVM uses the processor's virtualisation.
	KVM Accelerator = "kvm"
	// TCG translates the guest's instructions: it works everywhere and is
	// slower by an order of magnitude.
	TCG Accelerator = "tcg"
)

// CPUModel is the processor that the guest sees. Translated, it has what x86-64-v2
// asks for, random numbers and AES, and not all that QEMU could emulate: a kernel
// that finds XSAVE, PCID or SMAP uses them in every entry and switch, and glibc
// prefers AVX, which costs a quarter of a restore's translation. Without ARAT the
// kernel keeps a periodic tick of 4 ms instead of timers of high resolution, which
// would cost another tenth.
func (a Accelerator) CPUModel() string {
	if a == KVM {
		return "host"
	}
	return "Nehalem,+rdrand,+rdtscp,+fsgsbase,+movbe,+aes,+pclmulqdq,+bmi1,+bmi2,+abm"
}

// MachineType has no legacy devices to emulate or to save: PCI for virtio, ACPI
// to find it, a serial port for the console.
const MachineType = "microvm"

// MemoryName is the memory backend's id; a snapshot restores only into a
// machine whose backend has the same one.
const MemoryName = "mem"

// PortName is the name of the virtio-serial port of the agent's channel.
const PortName = "thaw"

// descriptors hands out the numbers that files will have in the child.
type descriptors struct{ files []*os.File }

// add returns f's number: exec.Cmd gives ExtraFiles[i] the number 3+i.
func (d *descriptors) add(f *os.File) int {
	d.files = append(d.files, f)
	return 2 + len(d.files)
}

// path returns a path that opens f in the child.
func (d *descriptors) path(f *os.File) string { return "/dev/fd/" + strconv.Itoa(d.add(f)) }

// options is the blueprint of one QEMU process. Its files are borrowed.
type options struct {
	accel       Accelerator
	tscKHz      uint64
	memoryBytes int64
	// memory, when set, is the file that becomes guest memory, shared; else
	// guest memory is private to the process.
	memory *os.File
	// kernel and initramfs are unset when a snapshot is to be loaded, which
	// brings them along in memory.
	kernel, initramfs *os.File
	// disks are the disk images; one that is nil comes later, and a stub stands in
	// for it.
	disks        []*os.File
	qmp, channel *os.File
	// faults, when set, is an open /dev/userfaultfd for the process to keep.
	faults *os.File
}

func (o options) incoming() bool { return o.kernel == nil }

// arguments returns the command line, without the program's name. The order of
// the devices is part of what a snapshot depends on.
func (o options) arguments(d *descriptors) []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-M", MachineType + ",acpi=on,pcie=on,isa-serial=on,rtc=off,auto-kernel-cmdline=off,dump-guest-core=off,memory-backend=" + MemoryName,
		"-accel", string(o.accel), "-cpu", o.accel.CPUModel(), "-smp", "1",
		"-m", fmt.Sprintf("%dM", o.memoryBytes>>20), "-object", o.memoryBackend(d),
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", d.add(o.qmp)), "-mon", "chardev=qmp,mode=control",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-device", "virtio-serial-pci,id=serial,max_ports=2",
		"-chardev", fmt.Sprintf("socket,id=channel,fd=%d", d.add(o.channel)),
		"-device", "virtserialport,chardev=channel,name=" + PortName,
	}
	for i, f := range o.disks {
		args = append(args, o.disk(d, i, f)...)
	}
	if o.incoming() {
		return append(args, "-S", "-incoming", "defer")
	}
	return append(args, "-S", "-kernel", d.path(o.kernel), "-initrd", d.path(o.initramfs), "-append", o.kernelArguments())
}

func (o options) memoryBackend(d *descriptors) string {
	size := fmt.Sprintf("id=%s,size=%d", MemoryName, o.memoryBytes)
	if o.memory != nil {
		return "memory-backend-file," + size + ",share=on,mem-path=" + d.path(o.memory)
	}
	// A memfd, because its name finds it in the list of mappings.
	return "memory-backend-memfd," + size + ",share=off"
}

// disk is the device for disk i. Its image f is passed as a descriptor set, which
// QEMU duplicates instead of opening it again: the file's own permissions do not
// matter.
func (o options) disk(d *descriptors, i int, f *os.File) []string {
	device := []string{"-device", "virtio-blk-pci,drive=" + diskNode(i)}
	if f == nil {
		return append([]string{
			"-blockdev", fmt.Sprintf("driver=null-co,node-name=%s,size=%d,read-zeroes=on", stubNode(i), stubBytes),
			"-blockdev", fmt.Sprintf("driver=raw,node-name=%s,read-only=on,file=%s", diskNode(i), stubNode(i)),
		}, device...)
	}
	fd, set := d.add(f), i+1
	return append([]string{
		"-add-fd", fmt.Sprintf("fd=%d,set=%d", fd, set),
		"-blockdev", fmt.Sprintf("driver=raw,node-name=%s,read-only=on,file.driver=file,file.filename=/dev/fdset/%d,file.locking=off", diskNode(i), set),
	}, device...)
}

// stubBytes is the size of the disk that stands in until the real one is known.
const stubBytes = 1 << 20

func diskNode(i int) string { return fmt.Sprintf("disk%d", i) }
func stubNode(i int) string { return fmt.Sprintf("stub%d", i) }
func fileNode(i int) string { return fmt.Sprintf("file%d", i) }

// kernelArguments is the guest kernel's command line.
func (o options) kernelArguments() string {
	args := []string{
		"console=ttyS0", "quiet", "loglevel=4", "rdinit=/init", "random.trust_cpu=on",
		"8250.nr_uarts=1", "cryptomgr.notests", "no_timer_check", "i8042.noaux",
		// A guest that cannot go on ends its VM at once, and an NMI makes it say
		// where it was.
		"reboot=t", "panic=-1", "oops=panic", "unknown_nmi_panic",
		"sysctl.kernel.panic_on_unrecovered_nmi=1", "sysctl.kernel.panic_on_io_nmi=1",
		// What the kernel does by the clock, a clone would do right after its
		// restore, in the way of the function.
		"sysctl.vm.stat_interval=600", "sysctl.vm.compaction_proactiveness=0",
		// One tenant, one function: nothing to account for and nobody to keep
		// apart, at every fault, system call and switch.
		"psi=0", "cgroup_disable=memory", "lsm=", "audit=0",
		// Unknown to the kernel, so it is the agent's environment: signals that
		// preempt its goroutines are many pages and branches for nothing.
		"GODEBUG=asyncpreemptoff=1",
	}
	if o.accel == TCG {
		// An emulated processor does not speculate.
		args = append(args, "mitigations=off")
		// The kernel measures the clock against a timer interrupt, which under
		// emulation comes when it comes: now and then the boot hangs.
		args = append(args, fmt.Sprintf("tsc_early_khz=%d", o.tscKHz), "tsc=reliable")
	}
	return strings.Join(args, " ")
}

// guestFiles are the files of a guest, opened for one process.
type guestFiles struct {
	kernel, initramfs *os.File
	disks             []*os.File
}

func openGuest(g vmm.Guest) (f guestFiles, err error) {
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if f.kernel, err = os.Open(g.Kernel); err != nil {
		return f, fmt.Errorf("open the guest kernel: %w", err)
	}
	if f.initramfs, err = os.Open(g.Initramfs); err != nil {
		return f, fmt.Errorf("open the initramfs: %w", err)
	}
	for _, name := range g.Disks {
		disk, err := os.Open(name)
		if err != nil {
			return f, fmt.Errorf("open a disk image: %w", err)
		}
		f.disks = append(f.disks, disk)
	}
	return f, nil
}

func (f guestFiles) close() {
	for _, file := range append([]*os.File{f.kernel, f.initramfs}, f.disks...) {
		if file != nil {
			_ = file.Close() // read only
		}
	}
}
