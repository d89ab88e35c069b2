package image_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"thaw"
	"thaw/image"
)

// openReal opens a store that test runs share, because its downloads are large.
// It skips on a machine that cannot build images.
func openReal(t *testing.T) *image.Store {
	t.Helper()
	needReal(t)
	dir := os.Getenv("THAW_TEST_CACHE")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Skipf("no cache folder: set THAW_TEST_CACHE: %v", err)
		}
		dir = filepath.Join(cache, "thaw-test")
	}
	return open(t, filepath.Join(dir, "images"))
}

func needReal(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("building images needs root: run the tests as root")
	}
	for _, tool := range []string{"mmdebstrap", "mkfs.erofs", "dpkg-deb", "apt-get", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: run scripts/deps.sh", tool)
		}
	}
}

func open(t *testing.T, dir string) *image.Store {
	t.Helper()
	s, err := image.Open(config(dir))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func config(dir string) image.Config {
	return image.Config{Dir: dir, Agent: []byte("an agent"), Bootstrap: []byte("print('bootstrap')\n")}
}

func TestBase(t *testing.T) {
	s := openReal(t)
	for _, rt := range thaw.Runtimes() {
		t.Run(string(rt), func(t *testing.T) {
			b, err := s.Base(context.Background(), rt, func(m string) { t.Log(m) })
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", b)
		})
	}
}
