package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"
)

// What the checks of this file ask for.
const (
	// minKernel is the first with pidfd_getfd(2), by which userfaultfd reaches
	// the daemon: Linux 5.6.
	minKernelMajor, minKernelMinor = 5, 6
	// defaultMapCount is Linux's default of vm.max_map_count (proc_sys_vm(5)).
	defaultMapCount = 65530
	minSpace        = 5 << 30
	minMemory       = 2 << 30
	// defaultReadahead is Linux's default of read_ahead_kb (VM_READAHEAD_PAGES).
	defaultReadahead = 128
)

func kernel(_ context.Context, h Host) Result {
	release, err := h.read("/proc/sys/kernel/osrelease")
	if err != nil {
		return warn(err.Error(), "mount /proc")
	}
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return warn(release+" is not a release that can be compared", "")
	}
	if major < minKernelMajor || major == minKernelMajor && minor < minKernelMinor {
		return fail(release, fmt.Sprintf("use Linux %d.%d or newer: pidfd_getfd(2) is missing", minKernelMajor, minKernelMinor))
	}
	return ok(release)
}

func maxMapCount(_ context.Context, h Host) Result {
	count, err := h.number("/proc/sys/vm/max_map_count")
	if err != nil {
		return warn(err.Error(), "")
	}
	detail := fmt.Sprintf("%d mappings a process", count)
	if count < defaultMapCount {
		return warn(detail, fmt.Sprintf("a VM's memory is many mappings: sysctl -w vm.max_map_count=%d", defaultMapCount))
	}
	return ok(detail)
}

func stateSpace(_ context.Context, h Host) Result {
	var fs unix.Statfs_t
	dir := h.nearest()
	if err := unix.Statfs(dir, &fs); err != nil {
		return fail(fmt.Sprintf("ask for free space of %s: %v", dir, err), "name another folder with THAW_STATE")
	}
	free := fs.Bavail * uint64(fs.Bsize)
	detail := fmt.Sprintf("%s, %s free", h.StateDir, humanize.IBytes(free))
	if free < minSpace {
		return warn(detail, "a snapshot is as large as its function's memory: make room, or name another folder with THAW_STATE")
	}
	return ok(detail)
}

// fsIOCMeasureVerity is FS_IOC_MEASURE_VERITY, _IOWR('f', 134, 4 bytes), in
// linux/fsverity.h.
const fsIOCMeasureVerity = 0xC0046686

// verity asks the file system for the digest of a folder, which never has one:
// ENODATA says so, any other error says that fs-verity is not there
// (kernel.org/doc/html/latest/filesystems/fsverity.html). The attribute mask of
// statx(2) does not do: ext4 sets it in any case.
func verity(_ context.Context, h Host) Result {
	err := measureVerity(h.nearest())
	if errors.Is(err, unix.ENODATA) {
		return ok("the file system of the state dir can check each page it reads")
	}
	return warn(fmt.Sprintf("not on the file system of the state dir (%v)", err),
		"optional: memory files are then verified when they are made, not at each read; needs a kernel with CONFIG_FS_VERITY and mkfs.ext4 -O verity")
}

func measureVerity(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	// struct fsverity_digest: algorithm, size of the digest; no room for one.
	var digest [2]uint16
	return ioctlPointer(f, fsIOCMeasureVerity, &digest)
}

func readahead(_ context.Context, h Host) Result {
	dir := h.nearest()
	info, err := os.Stat(dir)
	if err != nil {
		return warn(err.Error(), "")
	}
	stat, isStat := info.Sys().(*syscall.Stat_t)
	if !isStat {
		return warn("no device known for "+dir, "")
	}
	return h.readaheadOf(fmt.Sprintf("%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev)))
}

// readaheadOf reads the readahead of a file system's device, such as 254:0.
func (h Host) readaheadOf(device string) Result {
	file := "/sys/class/bdi/" + device + "/read_ahead_kb"
	kb, err := h.number(file)
	if err != nil {
		return ok("unknown: device " + device + " of the state dir has none")
	}
	detail := fmt.Sprintf("%d KiB on device %s (Linux's default is %d)", kb, device, defaultReadahead)
	if kb > defaultReadahead {
		return warn(detail, fmt.Sprintf("a restore that should read single pages reads much of the snapshot; to compare policies: echo %d > %s", defaultReadahead, file))
	}
	return ok(detail)
}

func memory(_ context.Context, h Host) Result {
	info, err := h.meminfo()
	if err != nil {
		return warn(err.Error(), "mount /proc")
	}
	detail := fmt.Sprintf("%s available of %s", humanize.IBytes(info["MemAvailable"]), humanize.IBytes(info["MemTotal"]))
	if info["MemAvailable"] < minMemory {
		return warn(detail, "few VMs fit: lower --max-instances, or free some memory")
	}
	return ok(detail)
}

func swap(_ context.Context, h Host) Result {
	info, err := h.meminfo()
	if err != nil {
		return warn(err.Error(), "mount /proc")
	}
	if info["SwapTotal"] == 0 {
		return ok("none")
	}
	return warn(humanize.IBytes(info["SwapTotal"]), "a guest that is swapped out starts slowly and measures wrong: swapoff -a for benchmarks")
}

func hugePages(_ context.Context, h Host) Result {
	text, err := h.read("/sys/kernel/mm/transparent_hugepage/enabled")
	if err != nil {
		return ok("the kernel has none")
	}
	if strings.Contains(text, "[always]") {
		return warn("transparent huge pages: always", "a first touch may bring in 2 MiB instead of 4 KiB: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
	}
	return ok("transparent huge pages: " + selected(text))
}

// sharedHugePages looks at files in memory, which clones share pages by: what a write
// of one page brings in beside it would not be trapped at its first touch
// (kernel.org/doc/html/latest/admin-guide/mm/transhuge.html).
func sharedHugePages(_ context.Context, h Host) Result {
	text, err := h.read("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
	if err != nil {
		return ok("the kernel has none")
	}
	choice := selected(text)
	detail := "transparent huge pages of files in memory: " + choice
	switch choice {
	case "always", "within_size", "force":
		return warn(detail, "the policy thaw cannot restore: echo never > /sys/kernel/mm/transparent_hugepage/shmem_enabled")
	}
	return ok(detail)
}

// selected returns the choice in brackets of a sysfs list.
func selected(text string) string {
	_, rest, _ := strings.Cut(text, "[")
	choice, _, _ := strings.Cut(rest, "]")
	return choice
}

// meminfo returns the values of /proc/meminfo in bytes.
func (h Host) meminfo() (map[string]uint64, error) {
	text, err := h.read("/proc/meminfo")
	if err != nil {
		return nil, err
	}
	values := map[string]uint64{}
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if len(fields) != 2 || fields[1] != "kB" {
			continue
		}
		if n, err := strconv.ParseUint(fields[0], 10, 53); err == nil {
			values[name] = n << 10
		}
	}
	return values, nil
}

func (h Host) number(name string) (int, error) {
	text, err := h.read(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%s holds no number: %w", filepath.Base(name), err)
	}
	return n, nil
}
