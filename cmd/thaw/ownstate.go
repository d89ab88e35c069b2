package main

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"thaw"
)

// ownPattern is what state folders of daemons of our own are called.
const ownPattern = "thaw-own-"

// ownState is a state folder that is thrown away. Its lock (flock(2)) is held as
// long as its owner lives.
type ownState struct {
	path string
	lock *os.File
}

// newOwnState makes one in folder, "" for where temporary files are, and removes
// those that a kill has left there.
func newOwnState(folder string) (_ ownState, err error) {
	folder = cmp.Or(folder, os.TempDir())
	// Nobody may take for abandoned what is not locked yet.
	parent, err := lockFolder(folder, 0)
	if err != nil {
		return ownState{}, thaw.Errorf(thaw.CodeInvalid, "make a state folder: %w", err)
	}
	defer parent.Close()
	removeAbandoned(folder)
	s := ownState{}
	if s.path, err = os.MkdirTemp(folder, ownPattern); err != nil {
		return ownState{}, thaw.Errorf(thaw.CodeInvalid, "make a state folder: %w", err)
	}
	if s.lock, err = lockFolder(s.path, 0); err != nil {
		return ownState{}, errors.Join(err, os.Remove(s.path))
	}
	return s, nil
}

func (s ownState) remove() error { return errors.Join(os.RemoveAll(s.path), s.lock.Close()) }

// removeAbandoned removes state folders whose owner and whose daemon have ended. One
// that cannot be removed is left to the next who comes.
func removeAbandoned(folder string) {
	found, _ := filepath.Glob(filepath.Join(folder, ownPattern+"*")) // the pattern is right
	for _, path := range found {
		owner, err := lockFolder(path, unix.LOCK_NB)
		if err != nil {
			continue
		}
		if !daemonIn(path) {
			_ = os.RemoveAll(path)
		}
		_ = owner.Close()
	}
}

// daemonIn says that a daemon uses a state folder: it keeps its registry locked.
func daemonIn(state string) bool {
	f, err := lockFolder(filepath.Join(state, "registry.db"), unix.LOCK_NB)
	if err == nil {
		_ = f.Close()
	}
	return err != nil && !errors.Is(err, os.ErrNotExist)
}

// lockFolder locks a folder, or a file, until it is closed.
func lockFolder(path string, how int) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
