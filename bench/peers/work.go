package peers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"thaw"
)

const workPrefix = "thaw-peers-"

// work is a folder for everything that a run makes. Its lock tells others that it is
// in use; the one who finds it unlocked removes it.
type work struct {
	dir  string
	lock *os.File
}

// newWork makes a folder in dir, on the disk that holds beside, and removes those of
// runs that were killed.
func newWork(dir, beside string) (*work, error) {
	if err := sweep(dir); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(dir, workPrefix)
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "make a folder for the snapshots of the peers: %w: choose another place with --dir", err)
	}
	// MkdirTemp lets only its owner in, and the functions do not run as that.
	if err := os.Chmod(path, 0o755); err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	w := &work{dir: path}
	if w.lock, err = lock(path); err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	if err := sameDisk(path, beside); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func lock(folder string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the folder of the peers: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the folder of the peers: %w", err), f.Close())
	}
	return f, nil
}

// sweep removes what killed runs left in dir.
func sweep(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, workPrefix+"*"))
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "look into folder %s: %w", dir, err)
	}
	for _, path := range left {
		f, err := lock(path)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue // in use
		}
		if err != nil {
			return err
		}
		if err := (&work{dir: path, lock: f}).Close(); err != nil {
			return err
		}
	}
	return nil
}

func sameDisk(a, b string) error {
	var x, y unix.Stat_t
	if err := errors.Join(unix.Stat(a, &x), unix.Stat(b, &y)); err != nil {
		return fmt.Errorf("compare disks: %w", err)
	}
	if x.Dev != y.Dev {
		return thaw.Errorf(thaw.CodeInvalid, "%s is not on the disk of the daemon's snapshots (%s): choose a folder there with --dir", filepath.Dir(a), b)
	}
	return nil
}

// path is that of a name in the folder.
func (w *work) path(name string) string { return filepath.Join(w.dir, name) }

// folder makes one.
func (w *work) folder(name string) (string, error) {
	if err := os.Mkdir(w.path(name), 0o755); err != nil {
		return "", fmt.Errorf("make a folder: %w", err)
	}
	return w.path(name), nil
}

// Close removes the folder, and what runsc has mounted there: an empty network
// namespace that its gofers share, once or several times.
func (w *work) Close() error {
	for unix.Unmount(w.path(runscState+"/null-netns"), unix.MNT_DETACH) == nil {
	}
	return errors.Join(os.RemoveAll(w.dir), w.lock.Close())
}

// filesBelow are the regular files below a folder, or the file itself.
func filesBelow(root string) (names []string, err error) {
	err = filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			names = append(names, path)
		}
		return err
	})
	return names, err
}

// occupied is what files occupy on the disk.
func occupied(names []string) (bytes int64, err error) {
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err != nil {
			return 0, fmt.Errorf("size of %s: %w", name, err)
		}
		bytes += st.Blocks * 512
	}
	return bytes, nil
}
