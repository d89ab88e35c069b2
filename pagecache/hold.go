package pagecache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Held is a changed readahead setting. Release puts the old one back.
type Held struct {
	readahead Readahead
	before    int
	lock      *os.File // holds the old setting, as text, while it is changed
}

// ErrHeld says that another process has changed the setting.
var ErrHeld = errors.New("another process measures on this disk")

// Hold changes the setting to kib until Release, which one process at a time may
// do. A process that is killed meanwhile leaves the old value in a file in dir,
// from where the next one, or [Recover], puts it back.
func (r Readahead) Hold(kib int, dir string) (_ *Held, err error) {
	lock, err := os.OpenFile(r.lockFile(dir), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("hold readahead: %w", err)
	}
	h := &Held{readahead: r, lock: lock}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("hold readahead: %w", ErrHeld)
	}
	if h.before, err = h.original(); err != nil {
		return nil, err
	}
	if _, err := lock.WriteAt([]byte(strconv.Itoa(h.before)+"\n"), 0); err != nil {
		return nil, fmt.Errorf("hold readahead: %w", err)
	}
	return h, r.Set(kib)
}

func (r Readahead) lockFile(dir string) string {
	return filepath.Join(dir, "thaw-readahead-"+filepath.Base(filepath.Dir(r.file)))
}

// original is the setting before anybody changed it.
func (h *Held) original() (int, error) {
	b := make([]byte, 16)
	n, _ := h.lock.ReadAt(b, 0) // empty unless somebody was killed
	if kib, err := strconv.Atoi(strings.TrimSpace(string(b[:n]))); err == nil {
		return kib, nil
	}
	return h.readahead.Get()
}

// Before is the setting in KiB that Release puts back.
func (h *Held) Before() int { return h.before }

// Release puts the old setting back.
func (h *Held) Release() error {
	return errors.Join(h.readahead.Set(h.before), h.lock.Truncate(0), h.lock.Close())
}

// Recover puts back what a killed process has left changed on the disk of r, if
// one has.
func (r Readahead) Recover(dir string) error {
	info, err := os.Stat(r.lockFile(dir))
	if err != nil || info.Size() == 0 {
		return nil //nolint:nilerr // nobody has
	}
	now, err := r.Get()
	if err != nil {
		return err
	}
	h, err := r.Hold(now, dir)
	if errors.Is(err, ErrHeld) {
		return nil // it is alive
	}
	if err != nil {
		return err
	}
	return h.Release()
}
