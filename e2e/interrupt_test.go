package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"thaw/bench"
	"thaw/pagecache"
)

// odd is a readahead that nobody else asks for.
const odd = 136

// benching is a benchmark that runs as a process and has changed the readahead of
// a disk.
type benching struct {
	cmd    *exec.Cmd
	out    bytes.Buffer
	ended  chan struct{}
	disk   pagecache.Readahead
	before int // the readahead

	mu       sync.Mutex
	problems bytes.Buffer
}

// Write takes what it writes to standard error.
func (b *benching) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.problems.Write(p)
}

func (b *benching) said() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.problems.String()
}

// startBench starts a benchmark and returns after its first samples. The readahead
// is put back when the test ends, whatever happened.
func startBench(t *testing.T, bin string, env []string, state string, args ...string) *benching {
	t.Helper()
	b := &benching{ended: make(chan struct{})}
	var err error
	if b.disk, err = pagecache.ReadaheadOf(state); err != nil {
		t.Skipf("%v: run the tests with TMPDIR on a disk", err)
	}
	if b.before, err = b.disk.Get(); err != nil {
		t.Fatal(err)
	}
	b.cmd = exec.Command(bin, append([]string{"bench", "probe", "-n", "20", "--policies", "cached", "-o", "json", "--readahead", fmt.Sprint(odd)}, args...)...)
	b.cmd.Env, b.cmd.Stdout, b.cmd.Stderr = append(os.Environ(), env...), &b.out, b
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(b.ended); _ = b.cmd.Wait() }()
	t.Cleanup(func() { b.end(t) })
	eventually(t, "some samples", func() bool { return b.ran(t) || strings.Contains(b.said(), "6 of 60 samples") })
	if now := b.readahead(t); now != odd {
		t.Fatalf("readahead is %d KiB meanwhile, want %d", now, odd)
	}
	return b
}

// ran says that the benchmark has ended; it should not yet.
func (b *benching) ran(t *testing.T) bool {
	t.Helper()
	select {
	case <-b.ended:
	default:
		return false
	}
	if strings.Contains(b.said(), "another benchmark") {
		t.Skip("another benchmark runs on this disk: run the test when it has ended")
	}
	t.Fatalf("the benchmark ended: %s", b.said())
	return true
}

func (b *benching) readahead(t *testing.T) int {
	t.Helper()
	now, err := b.disk.Get()
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// end ends the benchmark and puts back what it would have.
func (b *benching) end(t *testing.T) {
	_ = b.cmd.Process.Kill()
	<-b.ended
	if now, err := b.disk.Get(); err != nil || now == odd {
		if err := errors.Join(err, b.disk.Set(b.before)); err != nil {
			t.Error(err)
		}
	}
}

// checkPutBack wants the readahead that was there before.
func (b *benching) checkPutBack(t *testing.T) {
	t.Helper()
	if now := b.readahead(t); now != b.before {
		t.Errorf("readahead is %d KiB, want %d as before", now, b.before)
	}
}

// testBenchInterrupt: the setting is put back at once, and nothing that was
// measured is lost.
func testBenchInterrupt(t *testing.T, bin string, env []string, state string) {
	file := filepath.Join(t.TempDir(), "samples")
	b := startBench(t, bin, env, state, "--go", file)
	if err := b.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-b.ended
	b.checkPutBack(t)
	if code := b.cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit %d, want 130: %s", code, b.said())
	}
	var r bench.Report
	if err := json.Unmarshal(b.out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if n := len(r.Functions[0].Samples); n < 6 || n >= 60 || r.Partial == "" {
		t.Errorf("%d samples, partial because %q", n, r.Partial)
	}
	text, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(text, []byte("BenchmarkStart/function=probe/start=cached/")) {
		t.Errorf("%v: %s", err, text)
	}
}

// testBenchKill: the next benchmark puts the setting back, as does the next daemon.
func testBenchKill(t *testing.T, bin string, env []string, state string) {
	for name, next := range map[string]func(t *testing.T){
		"Bench": func(t *testing.T) {
			out, code := execute(t, bin, env, "bench", "probe", "-n", "1", "--policies", "cached", "--readahead", "0")
			if code != 0 {
				t.Errorf("exit %d: %s", code, out)
			}
		},
		"Serve": func(t *testing.T) {
			if err := serve(t, bin, t.TempDir(), "--images", t.TempDir()).cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := startBench(t, bin, env, state)
			if err := b.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-b.ended
			if now := b.readahead(t); now != odd {
				t.Errorf("readahead is %d KiB after a kill, want %d still", now, odd)
			}
			next(t)
			b.checkPutBack(t)
		})
	}
}
