package image

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"thaw"
	"thaw/internal/testcache"
)

// openShared opens the store that test runs share.
func openShared(t *testing.T) *Store {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("building images needs root: run the tests as root")
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Skip("mmdebstrap is not installed: run scripts/deps.sh")
	}
	s, err := Open(Config{Dir: filepath.Join(testcache.Dir(t), "images-test")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestOwnTrees makes the Debian trees that every store has, at once, and looks for
// what they are made for and what they shall not hold.
func TestOwnTrees(t *testing.T) {
	s := openShared(t)
	var group errgroup.Group
	for r, programs := range map[thaw.Runtime][]string{
		thaw.RuntimePython: {"usr/bin/python3", "usr/bin/pip3"},
		thaw.RuntimeNode:   {"usr/bin/node", "usr/bin/npm"},
	} {
		plain, err := planTree(r, nil)
		tools, terr := planTools(r)
		if err := errors.Join(err, terr); err != nil {
			t.Fatal(err)
		}
		group.Go(func() error {
			tree, err := s.debianTree(t.Context(), plain, func(msg string) { t.Log(msg) })
			if err != nil {
				return err
			}
			dir := filepath.Join(t.TempDir(), "tree")
			if err := unpackTree(t.Context(), tree, dir); err != nil {
				return err
			}
			checkTree(t, plain, dir, programs[:1])
			// The tools come second: most of their packages have been downloaded then.
			if dir, err = s.toolsTree(t.Context(), tools, func(msg string) { t.Log(msg) }); err != nil {
				return err
			}
			checkTree(t, tools, dir, programs)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func checkTree(t *testing.T, p treePlan, dir string, programs []string) {
	for _, name := range slices.Concat(programs, []string{"usr/bin/sh", "usr/share/zoneinfo/Europe/Berlin", certificates}) {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s with %q: %v", p.runtime, p.added, err)
		}
	}
	for _, pattern := range p.leftOut() {
		if names, err := filepath.Glob(filepath.Join(dir, pattern)); err != nil || len(names) != 0 {
			t.Errorf("%s with %q holds %q (%v)", p.runtime, p.added, names, err)
		}
	}
	if to, err := os.Readlink(filepath.Join(dir, "bin")); err != nil || to != "usr/bin" {
		t.Errorf("%s with %q: /bin leads to %q (%v)", p.runtime, p.added, to, err)
	}
	if bad, err := filepath.Glob(filepath.Join(dir, "usr/share/perl/5*")); err != nil || len(bad) != 0 {
		t.Errorf("%s with %q has the whole of Perl: %q", p.runtime, p.added, bad)
	}
}
