package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func root(_ context.Context, h Host) Result {
	if h.UID != 0 {
		return fail(fmt.Sprintf("user id %d", h.UID), "run as root, such as with sudo: thaw controls its VMs' memory with ptrace and userfaultfd")
	}
	return ok("user id 0")
}

// decision is what the daemon remembers of choosing an accelerator, in
// accelerator.json of its state folder.
type decision struct {
	BootID      string `json:"boot_id"`
	Accelerator string `json:"accelerator"`
	Reason      string `json:"reason"`
}

const noKVM = "thaw falls back to QEMU's emulation (tcg): functions run about 10 times slower"

func kvm(_ context.Context, h Host) Result {
	if d, fresh := h.decision(); fresh {
		seen := fmt.Sprintf("the daemon chose %s since this machine started: %s", d.Accelerator, d.Reason)
		if d.Accelerator != "kvm" {
			return warn(seen, noKVM)
		}
		return ok(seen)
	}
	f, err := os.OpenFile(h.file("/dev/kvm"), os.O_RDWR, 0)
	if err != nil {
		return warn(err.Error(), noKVM)
	}
	f.Close()
	return ok("/dev/kvm can be opened, which proves nothing yet: the daemon decides by booting a guest")
}

// decision returns the remembered choice and whether it was made since the
// machine started.
func (h Host) decision() (d decision, fresh bool) {
	raw, err := os.ReadFile(filepath.Join(h.StateDir, "accelerator.json"))
	if err != nil || json.Unmarshal(raw, &d) != nil {
		return decision{}, false
	}
	boot, err := h.read("/proc/sys/kernel/random/boot_id")
	return d, err == nil && d.Accelerator != "" && d.BootID == boot
}

// userfaultfdIOCNew makes a descriptor from /dev/userfaultfd: _IO(0xAA, 0x00)
// in linux/userfaultfd.h.
const userfaultfdIOCNew = 0xAA00

func userfaultfd(_ context.Context, h Host) Result {
	if fd, err := openUserfaultfd(h.file("/dev/userfaultfd")); err == nil {
		unix.Close(fd)
		return ok("by /dev/userfaultfd")
	}
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK, 0, 0)
	if errno != 0 {
		return fail("userfaultfd(2): "+errno.Error(), "the reap policy needs it: use a kernel with CONFIG_USERFAULTFD, as root, outside a container that forbids it")
	}
	unix.Close(int(fd))
	return ok("by userfaultfd(2)")
}

func openUserfaultfd(path string) (int, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return -1, err
	}
	defer f.Close()
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), userfaultfdIOCNew, unix.O_CLOEXEC|unix.O_NONBLOCK)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// ptrace reads Yama's scope: kernel.org/doc/html/latest/admin-guide/LSM/Yama.html.
func ptrace(_ context.Context, h Host) Result {
	scope, err := h.read("/proc/sys/kernel/yama/ptrace_scope")
	switch {
	case err != nil:
		return ok("not restricted: no Yama")
	case scope == "3":
		return fail("kernel.yama.ptrace_scope is 3: nobody may trace", "set kernel.yama.ptrace_scope to 2 or less in /etc/sysctl.d and restart the machine, as 3 cannot be taken back")
	default:
		return ok("kernel.yama.ptrace_scope is " + scope + ", which lets root trace")
	}
}

func cgroup(_ context.Context, h Host) Result {
	switch {
	case h.exists("/sys/fs/cgroup/cgroup.controllers"):
		controllers, _ := h.read("/sys/fs/cgroup/cgroup.controllers")
		return ok("v2 with " + strings.ReplaceAll(controllers, " ", ", "))
	case h.exists("/sys/fs/cgroup/unified/cgroup.controllers"):
		return warn("hybrid: v1 controllers, v2 without", "for limits on VMs boot with systemd.unified_cgroup_hierarchy=1")
	case h.exists("/sys/fs/cgroup/memory"):
		return warn("v1 only", "for limits on VMs boot with systemd.unified_cgroup_hierarchy=1")
	default:
		return warn("none mounted", "for limits on VMs mount cgroup2 on /sys/fs/cgroup")
	}
}
