package image

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"thaw"
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
	dir := os.Getenv("THAW_TEST_CACHE")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Skipf("no cache folder: set THAW_TEST_CACHE: %v", err)
		}
		dir = filepath.Join(cache, "thaw-test")
	}
	s, err := Open(Config{Dir: filepath.Join(dir, "images-test")})
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
		thaw.RuntimePython: {"/usr/bin/python3", "/usr/bin/pip3"},
		thaw.RuntimeNode:   {"/usr/bin/node", "/usr/bin/npm"},
	} {
		plain, err := planTree(r, nil)
		tools, terr := planTools(r)
		if err := errors.Join(err, terr); err != nil {
			t.Fatal(err)
		}
		group.Go(func() error {
			// The tools come second: most of their packages have been downloaded then.
			return errors.Join(checkTree(t, s, plain, programs[:1]), checkTree(t, s, tools, programs))
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func checkTree(t *testing.T, s *Store, p treePlan, programs []string) error {
	tree, err := s.debianTree(t.Context(), p, func(msg string) { t.Log(msg) })
	if err != nil {
		return err
	}
	f, err := os.Open(tree.path)
	if err != nil {
		return err
	}
	defer f.Close()
	missing := append([]string{"/bin", "/usr/bin/sh", "/usr/share/zoneinfo/Europe/Berlin", certificates}, programs...)
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name := path.Join("/", h.Name)
		missing = slices.DeleteFunc(missing, func(m string) bool { return m == name })
		for _, pattern := range p.excludes() {
			if out, err := path.Match(pattern, name); err != nil || out {
				t.Errorf("%s: holds %s (%v)", p.runtime, name, err)
			}
		}
		if name == "/bin" && h.Typeflag != tar.TypeSymlink {
			t.Errorf("%s: /bin is no link", p.runtime)
		}
	}
	if len(missing) > 0 {
		t.Errorf("%s with %q lacks %q", p.runtime, p.added, missing)
	}
	return nil
}
