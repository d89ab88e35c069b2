package bench

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/client"
	"thaw/pagecache"
)

// Environ describes the machine and sets the readahead of the disk that the
// snapshot of d is on, unless readaheadKiB is 0; putBack undoes that.
func Environ(ctx context.Context, c *client.Client, d thaw.Description, readaheadKiB int) (putBack func() error, e Environment, err error) {
	info, err := c.Info(ctx)
	if err != nil {
		return nil, e, err
	}
	m := d.SnapshotInfo.Machine
	e = Environment{
		Time: time.Now().UTC(), Kernel: Kernel(), CPU: m.HostCPU, Cores: runtime.NumCPU(), Accelerator: info.Accelerator,
		VMM: m.VMM + " " + m.VMMVersion, Version: info.Version, LoadBefore: Load(),
	}
	if e.Disk, err = diskOf(d); err != nil {
		return nil, e, err
	}
	disk, err := pagecache.ReadaheadOf(d.SnapshotInfo.Folder)
	if os.IsNotExist(err) || os.IsPermission(err) {
		return nil, e, thaw.Errorf(thaw.CodeInvalid, "the benchmark must run as root on the daemon's machine: %w", err)
	}
	if err != nil {
		return nil, e, err
	}
	e.DiskModel = diskModel(d.SnapshotInfo.Folder)
	if err := disk.Recover(lockFolder); err != nil {
		return nil, e, err
	}
	if e.ReadaheadBefore, err = disk.Get(); err != nil {
		return nil, e, err
	}
	e.ReadaheadDuring = e.ReadaheadBefore
	if readaheadKiB == 0 {
		return func() error { return nil }, e, nil
	}
	held, err := disk.Hold(readaheadKiB, lockFolder)
	if errors.Is(err, pagecache.ErrHeld) {
		return nil, e, thaw.Errorf(thaw.CodeConflict, "another benchmark runs on this disk: wait for its end")
	}
	if err != nil {
		return nil, e, err
	}
	e.ReadaheadBefore, e.ReadaheadDuring = held.Before(), readaheadKiB
	return held.Release, e, nil
}

// lockFolder is where benchmarks of one machine find each other (FHS 3.0, 3.15.2).
const lockFolder = "/run/lock"

// Recover puts back the readahead of the disk under folder if a benchmark was
// killed before it could.
func Recover(folder string) error {
	disk, err := pagecache.ReadaheadOf(folder)
	if err != nil {
		return nil //nolint:nilerr // such a disk cannot have been changed either
	}
	return disk.Recover(lockFolder)
}

// Kernel is the release of the running kernel, "" if it is unknown.
func Kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// Load is what /proc/loadavg says.
func Load() string {
	b, _ := os.ReadFile("/proc/loadavg") // unknown is ""
	return strings.TrimSpace(string(b))
}
