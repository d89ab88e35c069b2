package pagecache

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Readahead is the kernel's readahead setting of the disk under a folder, in
// KiB (Linux's default is 128).
type Readahead struct {
	file string
}

// ReadaheadOf finds the setting for the disk that holds name. A file system
// without a disk of its own (tmpfs, overlay) has none: that is an error.
func ReadaheadOf(name string) (Readahead, error) {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return Readahead{}, fmt.Errorf("find the disk of %s: %w", name, err)
	}
	dev := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	r := Readahead{file: filepath.Join("/sys/class/bdi", dev, "read_ahead_kb")}
	if _, err := os.Stat(r.file); err != nil {
		return Readahead{}, fmt.Errorf("find the disk of %s: device %s has no readahead setting", name, dev)
	}
	return r, nil
}

// Get returns the setting in KiB.
func (r Readahead) Get() (int, error) {
	b, err := os.ReadFile(r.file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// Set changes the setting. Put the old value back when done.
func (r Readahead) Set(kib int) error {
	if err := os.WriteFile(r.file, []byte(strconv.Itoa(kib)), 0); err != nil {
		return fmt.Errorf("set readahead: %w", err)
	}
	return nil
}
