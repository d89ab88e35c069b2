// Package boot is what the agent does as PID 1 of a virtual machine, from the
// kernel's first user instruction until the function's root file system is in
// place, and the [System] calls that need a machine of one's own. Nothing here
// may run anywhere else.
package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// PortName is the name of the virtio-serial port that leads to the host.
const PortName = "thaw"

// deviceWait bounds the wait for a device whose driver has been loaded. The
// slowest seen, on an emulated CPU, took 0.2 s.
const deviceWait = 20 * time.Second

// mount is one mount(2).
type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

func (m mount) do() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
		return fmt.Errorf("mount %s (%s) on %s: %w", m.source, m.kind, m.target, err)
	}
	return nil
}

func mountAll(list []mount) error {
	for _, m := range list {
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}

// Early mounts what loading modules and finding devices needs.
func Early() error {
	const quiet = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	return mountAll([]mount{
		{"proc", "/proc", "proc", quiet, ""},
		{"sysfs", "/sys", "sysfs", quiet, ""},
		{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"},
	})
}

// LoadModules loads every *.ko file of a folder in lexical order. One that is
// there already is fine; no folder is no modules.
func LoadModules(folder string) error {
	entries, err := os.ReadDir(folder) // sorted
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list kernel modules: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".ko") {
			continue
		}
		if err := loadModule(filepath.Join(folder, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open kernel module: %w", err)
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load kernel module %s: %w", filepath.Base(path), err)
	}
	return nil
}

// OpenPort opens the port called [PortName], waiting for it to appear. It is
// not blocking, so that reads and writes wait in the poller: a blocking write
// spins in the kernel until the host has taken the bytes (__send_to_port in
// drivers/char/virtio_console.c).
func OpenPort() (*os.File, error) {
	var path string
	err := await(func() (err error) {
		path, err = findPort("/sys/class/virtio-ports", PortName)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find port %s: %w", PortName, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open port: %w", err)
	}
	return f, nil
}

func findPort(class, name string) (string, error) {
	files, err := filepath.Glob(filepath.Join(class, "*", "name"))
	if err != nil {
		return "", err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && strings.TrimSpace(string(b)) == name {
			return filepath.Join("/dev", filepath.Base(filepath.Dir(f))), nil
		}
	}
	return "", fs.ErrNotExist
}

// await tries until f works or deviceWait has passed. Devices appear some time
// after their driver; a poll of a few milliseconds is cheaper than a netlink
// listener for the two or three that there are.
func await(f func() error) error {
	deadline := time.Now().Add(deviceWait)
	for {
		err := f()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}
