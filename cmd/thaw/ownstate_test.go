package main

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A folder goes when both its owner and its daemon are gone.
func TestAbandonedStateIsRemoved(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	abandoned, serving := filepath.Join(folder, ownPattern+"1"), filepath.Join(folder, ownPattern+"2")
	other := filepath.Join(folder, "thaw-other")
	for _, path := range []string{abandoned, serving, other} {
		if err := os.MkdirAll(filepath.Join(path, "snapshots"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "registry.db"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	daemon, err := lockFolder(filepath.Join(serving, "registry.db"), unix.LOCK_NB)
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()

	first, err := newOwnState(folder)
	if err != nil {
		t.Fatal(err)
	}
	second, err := newOwnState(folder)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{abandoned: false, serving: true, other: true, first.path: true, second.path: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", filepath.Base(path), err == nil, want)
		}
	}
	for _, s := range []ownState{first, second} {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(s.path); err == nil {
			t.Errorf("%s is still there", s.path)
		}
	}
}
