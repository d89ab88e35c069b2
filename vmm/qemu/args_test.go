package qemu

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArguments(t *testing.T) {
	file := func() *os.File {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	memory, kernel, initramfs, disks := file(), file(), file(), []*os.File{file(), file()}
	realDisk := func(i int, fd string) string {
		return fmt.Sprintf("-add-fd fd=%s,set=%d -blockdev driver=raw,node-name=disk%d,read-only=on,file.driver=file,file.filename=/dev/fdset/%d,file.locking=off -device virtio-blk-pci,drive=disk%d", fd, i+1, i, i+1, i)
	}
	stub := func(i int) string {
		return fmt.Sprintf("-blockdev driver=null-co,node-name=stub%d,size=1048576,read-zeroes=on -blockdev driver=raw,node-name=disk%d,read-only=on,file=stub%d -device virtio-blk-pci,drive=disk%d", i, i, i, i)
	}
	common := func(accel, cpu, backend string, qmp, channel string, disks ...string) string {
		return `-nodefaults -no-user-config -display none -no-reboot
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-M microvm,acpi=on,pcie=on,isa-serial=on,rtc=off,auto-kernel-cmdline=off,dump-guest-core=off,memory-backend=mem
-accel ` + accel + ` -cpu ` + cpu + ` -smp 1 -m 256M
-object ` + backend + `
-chardev socket,id=qmp,fd=` + qmp + ` -mon chardev=qmp,mode=control
-chardev stdio,id=console,signal=off -serial chardev:console
-device virtio-serial-pci,id=serial,max_ports=2
-chardev socket,id=channel,fd=` + channel + ` -device virtserialport,chardev=channel,name=thaw
` + strings.Join(disks, " ") + `
-S`
	}
	kernelArgs := "console=ttyS0 quiet loglevel=4 rdinit=/init random.trust_cpu=on 8250.nr_uarts=1 cryptomgr.notests no_timer_check i8042.noaux " +
		"reboot=t panic=-1 oops=panic unknown_nmi_panic sysctl.kernel.panic_on_unrecovered_nmi=1 sysctl.kernel.panic_on_io_nmi=1 " +
		"sysctl.vm.stat_interval=600 sysctl.vm.compaction_proactiveness=0 psi=0 cgroup_disable=memory lsm= audit=0 GODEBUG=asyncpreemptoff=1"
	for name, c := range map[string]struct {
		options options
		want    string
		files   int
	}{
		"BootTCG": {
			options{accel: TCG, tscKHz: 2_250_000, memoryBytes: 256 << 20, kernel: kernel, initramfs: initramfs, disks: disks},
			common("tcg", TCG.CPUModel(), "memory-backend-memfd,id=mem,size=268435456,share=off", "3", "4", realDisk(0, "5"), realDisk(1, "6")) +
				" -kernel /dev/fd/7 -initrd /dev/fd/8 -append|" + kernelArgs + " mitigations=off tsc_early_khz=2250000 tsc=reliable",
			6,
		},
		"BootForASnapshotKVM": {
			options{accel: KVM, memoryBytes: 256 << 20, memory: memory, kernel: kernel, initramfs: initramfs, disks: disks},
			common("kvm", "host", "memory-backend-file,id=mem,size=268435456,share=on,mem-path=/dev/fd/3", "4", "5", realDisk(0, "6"), realDisk(1, "7")) +
				" -kernel /dev/fd/8 -initrd /dev/fd/9 -append|" + kernelArgs,
			7,
		},
		"Incoming": {
			options{accel: TCG, memoryBytes: 256 << 20, disks: disks},
			common("tcg", TCG.CPUModel(), "memory-backend-memfd,id=mem,size=268435456,share=off", "3", "4", realDisk(0, "5"), realDisk(1, "6")) + " -incoming defer",
			4,
		},
		"Prestart": {
			options{accel: TCG, memoryBytes: 256 << 20, disks: make([]*os.File, 2)},
			common("tcg", TCG.CPUModel(), "memory-backend-memfd,id=mem,size=268435456,share=off", "3", "4", stub(0), stub(1)) + " -incoming defer",
			2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var d descriptors
			got := c.options.arguments(&d)
			line, last, _ := strings.Cut(c.want, "|")
			want := strings.Fields(line)
			if last != "" {
				want = append(want, last)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if len(d.files) != c.files {
				t.Errorf("%d descriptors are passed, want %d", len(d.files), c.files)
			}
		})
	}
}

func TestMeasureTSC(t *testing.T) {
	a, b := float64(measureTSC()), float64(measureTSC())
	if a < 500_000 || a > 10_000_000 {
		t.Errorf("time stamp counter runs at %.0f kHz", a)
	}
	if off := a/b - 1; off > 1e-3 || off < -1e-3 {
		t.Errorf("two measurements differ: %.0f and %.0f kHz", a, b)
	}
}
