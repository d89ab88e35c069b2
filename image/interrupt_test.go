package image_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/image"
)

// killedStore names, for a copy of the test program, the store to build in until
// it is killed.
const killedStore = "THAW_TEST_KILLED_STORE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedStore); dir != "" {
		s, err := image.Open(config(dir))
		if err == nil {
			_, err = s.Base(context.Background(), python(), func(msg string) { fmt.Println(msg) })
		}
		fmt.Println("end:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// inTheMiddle is a step after the download of most packages.
const inTheMiddle = "extracting archives"

// TestInterrupted ends a build in the middle, once by its context and once by
// SIGKILL, and looks for what is left and what is downloaded again.
func TestInterrupted(t *testing.T) {
	needReal(t)
	if testing.Short() {
		t.Skip("downloads 40 MB: run without -short")
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	cancelBuild(t, s)
	closeStore(t, s)
	empty(t, dir)
	nothingRuns(t, dir)
	before := cached(t, dir)
	if len(before) < 20 {
		t.Fatalf("%d packages were kept", len(before))
	}

	killBuild(t, dir)
	nothingRuns(t, dir)
	s = open(t, dir)
	empty(t, dir)
	after := cached(t, dir)
	for name, inode := range before {
		if after[name] != inode {
			t.Errorf("%s was downloaded again", name)
		}
	}
	if _, err := s.Files(thaw.Images{}); thaw.CodeOf(err) != thaw.CodeUnavailable {
		t.Errorf("Files = %v", err)
	}
}

func cancelBuild(t *testing.T, s *image.Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, err := s.Base(ctx, python(), func(msg string) {
		t.Log(msg)
		if strings.Contains(msg, inTheMiddle) {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled build gave %v", err)
	}
}

func killBuild(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killedStore+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), inTheMiddle) {
		t.Log(lines.Text())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.String() != "signal: killed" {
		t.Fatalf("build ended before it was killed: %v", err)
	}
}

// nothingRuns waits until no process and no mount names dir.
func nothingRuns(t *testing.T, dir string) {
	t.Helper()
	var left []string
	for range 50 {
		if left = users(dir); len(left) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("still there: %q", left)
}

func users(dir string) (found []string) {
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range append(names, "/proc/self/mounts") {
		b, err := os.ReadFile(name)
		if err == nil && bytes.Contains(b, []byte(dir)) {
			found = append(found, string(b))
		}
	}
	return found
}

func cached(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	debs, err := filepath.Glob(filepath.Join(dir, "cache/archives/*.deb"))
	if err != nil {
		t.Fatal(err)
	}
	inodes := map[string]uint64{}
	for _, d := range debs {
		var st unix.Stat_t
		if err := unix.Stat(d, &st); err != nil {
			t.Fatal(err)
		}
		inodes[filepath.Base(d)] = st.Ino
	}
	return inodes
}

// TestShared checks that callers who want the same image at the same time all
// get it, also when some of them give up.
func TestShared(t *testing.T) {
	needErofs(t)
	dir := t.TempDir()
	s := open(t, dir)
	stream := tarOf(t, file("app.py", strings.Repeat("x", 1<<20), 0o644))
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			quits := i%3 == 0
			if quits {
				time.AfterFunc(time.Duration(i)*time.Millisecond, cancel)
			}
			if _, err := s.Code(ctx, bytes.NewReader(stream), python(), nil); err != nil && !(quits && errors.Is(err, context.Canceled)) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	empty(t, dir)
}

func TestDiskFull(t *testing.T) {
	needErofs(t)
	dir := t.TempDir()
	if err := unix.Mount("thaw", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("cannot mount a small file system: run as root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s := open(t, dir)
	for name, size := range map[string]int{"unpacking": 4 << 20, "writing the disk": 3 << 19} {
		t.Run(name, func(t *testing.T) {
			stream := tarOf(t, file("app.py", strings.Repeat("x", size), 0o644))
			_, err := s.Code(context.Background(), bytes.NewReader(stream), python(), nil)
			if thaw.CodeOf(err) != thaw.CodeUnavailable || !strings.Contains(fmt.Sprint(err), "is full") {
				t.Errorf("got %s: %v", thaw.CodeOf(err), err)
			}
			empty(t, dir)
		})
	}
}

func TestPrune(t *testing.T) {
	needErofs(t)
	s := open(t, t.TempDir())
	kept, gone := code(t, s, tarOf(t, file("app.py", "1", 0o644))), code(t, s, tarOf(t, file("app.py", "2", 0o644)))
	old := filepath.Join(filepath.Dir(kept.Path), "python-"+gone.Key)
	if err := os.Mkdir(old, 0o755); err != nil {
		t.Fatal(err)
	}
	freed, err := s.Prune(func(key string) bool { return key == kept.Key })
	if err != nil || freed != gone.Bytes {
		t.Errorf("Prune = %d, %v", freed, err)
	}
	if _, err := os.Stat(kept.Path); err != nil {
		t.Error(err)
	}
	for _, path := range []string{gone.Path, old} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("not pruned: %s: %v", path, err)
		}
	}
}

func TestNoTools(t *testing.T) {
	s := open(t, t.TempDir())
	t.Setenv("PATH", t.TempDir())
	_, err := s.Base(context.Background(), python(), nil)
	if thaw.CodeOf(err) != thaw.CodeUnavailable || !strings.Contains(fmt.Sprint(err), "apt-get install") {
		t.Errorf("Base without tools: %v", err)
	}
	_, err = s.Code(context.Background(), strings.NewReader(""), python(), nil)
	if thaw.CodeOf(err) != thaw.CodeUnavailable || !strings.Contains(fmt.Sprint(err), "erofs-utils") {
		t.Errorf("Code without tools: %v", err)
	}
}

func TestNoAgent(t *testing.T) {
	c := config(t.TempDir())
	c.Agent = []byte{}
	s, err := image.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	_, err = s.Base(context.Background(), python(), nil)
	if thaw.CodeOf(err) != thaw.CodeUnavailable || !strings.Contains(fmt.Sprint(err), "make build") {
		t.Errorf("Base without an agent: %v", err)
	}
}

// TestNoNetwork builds with a proxy that is not there.
func TestNoNetwork(t *testing.T) {
	needReal(t)
	dir := t.TempDir()
	s := open(t, dir)
	t.Setenv("http_proxy", "http://127.0.0.1:9")
	t.Setenv("https_proxy", "http://127.0.0.1:9")
	impatient := filepath.Join(t.TempDir(), "apt.conf")
	write(t, filepath.Dir(impatient), "apt.conf", `Acquire::Retries "0";`, 0o644)
	t.Setenv("APT_CONFIG", impatient)
	_, err := s.Base(context.Background(), python(), nil)
	if err == nil {
		t.Skip("apt has a proxy of its own and reached the network: take it out of /etc/apt/apt.conf.d")
	}
	if thaw.CodeOf(err) != thaw.CodeUnavailable || !strings.Contains(fmt.Sprint(err), "check the machine's network") {
		t.Errorf("got %s: %v", thaw.CodeOf(err), err)
	}
	empty(t, dir)
}
