package snapshot_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"thaw"
)

// TestVerity publishes on a file system that has fs-verity.
func TestVerity(t *testing.T) {
	// There with CONFIG_FS_VERITY only (fs/ext4/sysfs.c).
	if _, err := os.Stat("/sys/fs/ext4/features/verity"); err != nil {
		t.Skip("kernel lacks CONFIG_FS_VERITY, or ext4: no /sys/fs/ext4/features/verity: boot a kernel with CONFIG_FS_VERITY")
	}
	dir := mountExt4(t, "-O", "verity")
	s := reopen(t, dir)
	sameDescriptors(t)
	m := publish(t, s)
	if !m.Verity {
		t.Fatal("memory file was not sealed")
	}
	path := filepath.Join(dir, "snapshots", m.ID, thaw.FileMemory)
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BASIC_STATS, &st); err != nil {
		t.Fatal(err)
	}
	if st.Attributes&unix.STATX_ATTR_VERITY == 0 {
		t.Error("the kernel does not call the memory file sealed")
	}
	if f, err := os.OpenFile(path, os.O_RDWR, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("open for writing = %v, %v, want EPERM", f, err)
	}
	checkHoles(t, path)
	if err := openError(t, s, m.ID, machine()); err != nil {
		t.Error(err)
	}
	if err := s.Verify(t.Context(), m.ID); err != nil {
		t.Error(err)
	}
	checkFinds(t, s, m.ID, nil)
	if err := s.Remove(m.ID); err != nil {
		t.Error(err)
	}
}

// TestPublishWithoutVerity: an ext4 that was made without the feature refuses,
// which is no reason to fail.
func TestPublishWithoutVerity(t *testing.T) {
	dir := mountExt4(t, "-O", "^verity")
	s := reopen(t, dir)
	m := publish(t, s)
	if m.Verity {
		t.Error("manifest claims fs-verity")
	}
	checkHoles(t, filepath.Join(dir, "snapshots", m.ID, thaw.FileMemory))
	if err := s.Verify(t.Context(), m.ID); err != nil {
		t.Error(err)
	}
}

// mountExt4 returns a new ext4 of 4 KiB blocks, which lasts as long as the test.
// It skips the test without root.
func mountExt4(t *testing.T, options ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount: run the tests with sudo")
	}
	image, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	run(t, exec.Command("truncate", "-s", "256M", image))
	run(t, exec.Command("mkfs.ext4", append(options, "-q", "-b", "4096", image)...))
	// The loop device goes with the mount.
	run(t, exec.Command("mount", "-t", "ext4", "-o", "loop,nodev,nosuid", image, dir))
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return dir
}

// run wants the command to work: root on Debian has all that is used here.
func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", cmd, err, out)
	}
}
