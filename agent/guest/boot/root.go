package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The disks, in the order of the machine's command line.
const (
	rootDisk = "/dev/vda"
	codeDisk = "/dev/vdb"
)

const readOnly = unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID

// SwitchRoot makes the function's root file system out of the root disk and
// moves this process into it. The disk stays unwritten: what the function
// writes goes to a tmpfs that may take half of the memory.
func SwitchRoot() error {
	for _, disk := range []string{rootDisk, codeDisk} {
		if err := await(func() error { _, err := os.Stat(disk); return err }); err != nil {
			return fmt.Errorf("wait for disk: %w", err)
		}
	}
	if err := mountRoot(); err != nil {
		return err
	}
	if err := moveInto("/new"); err != nil {
		return err
	}
	return prepareRoot()
}

func mountRoot() error {
	if err := mountAll([]mount{
		{rootDisk, "/lower", "erofs", readOnly, ""},
		{"tmpfs", "/upper", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "size=50%,mode=0755"},
	}); err != nil {
		return err
	}
	for _, d := range []string{"/upper/files", "/upper/work"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return fmt.Errorf("make overlay: %w", err)
		}
	}
	return mountAll([]mount{
		{"overlay", "/new", "overlay", unix.MS_NOSUID | unix.MS_NODEV, "lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work"},
		{"tmpfs", "/new/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
		{"/proc", "/new/proc", "", unix.MS_MOVE, ""},
		{"/sys", "/new/sys", "", unix.MS_MOVE, ""},
		{"/dev", "/new/dev", "", unix.MS_MOVE, ""},
	})
}

// moveInto makes root the root directory and frees the initramfs, as
// switch_root(8) does.
func moveInto(root string) error {
	if err := os.Chdir(root); err != nil {
		return fmt.Errorf("enter new root: %w", err)
	}
	if err := empty("/"); err != nil {
		return fmt.Errorf("free initramfs: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move new root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	return os.Chdir("/")
}

// empty removes the files below root that are on root's own file system.
func empty(root string) error {
	var top unix.Stat_t
	if err := unix.Lstat(root, &top); err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if st.Dev != top.Dev {
			return fs.SkipDir
		}
		if d.IsDir() {
			return nil // costs nothing, and some are mount points
		}
		return os.Remove(path)
	})
}

// secretsDir is where the function finds its secrets, and openFaaSSecrets where those
// that were written for OpenFaaS look for them.
const (
	secretsDir      = "/run/thaw/secrets"
	openFaaSSecrets = "/var/openfaas/secrets"
)

func linkSecrets() error {
	if err := os.MkdirAll(filepath.Dir(openFaaSSecrets), 0o755); err != nil {
		return fmt.Errorf("make the link to secrets: %w", err)
	}
	if err := os.Symlink(secretsDir, openFaaSSecrets); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the link to secrets: %w", err)
	}
	return nil
}

// prepareRoot adds what programs expect of a root file system.
func prepareRoot() error {
	const quiet = unix.MS_NOSUID | unix.MS_NOEXEC
	if err := mountAll([]mount{
		{"devpts", "/dev/pts", "devpts", quiet, "mode=0620,ptmxmode=0666"},
		{"tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"tmpfs", secretsDir, "tmpfs", quiet | unix.MS_NODEV, "mode=0755,size=4m"},
	}); err != nil {
		return err
	}
	if err := linkSecrets(); err != nil {
		return err
	}
	for name, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0",
		"/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, name); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make device link: %w", err)
		}
	}
	if err := os.MkdirAll("/tmp", 0o777); err != nil {
		return fmt.Errorf("make /tmp: %w", err)
	}
	if err := os.Chmod("/tmp", 0o777|fs.ModeSticky); err != nil {
		return fmt.Errorf("open /tmp to everyone: %w", err)
	}
	return nil
}

// Furnish mounts the code disk, unless the root disk is an image that has the
// code: then its files become read-only, as in Lambda, except for those below
// /tmp, which belong to the instance.
func (System) Furnish(container bool) error {
	if !container {
		return mount{codeDisk, "/var/task", "erofs", readOnly, ""}.do()
	}
	if err := (mount{"/tmp", "/tmp", "", unix.MS_BIND, ""}).do(); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|readOnly, ""); err != nil {
		return fmt.Errorf("make the image read-only: %w", err)
	}
	return nil
}
