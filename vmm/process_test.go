package vmm_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"thaw/vmm"
)

func TestMain(m *testing.M) {
	if os.Getenv("THAW_TEST_PARENT") != "" {
		parent()
		return
	}
	goleak.VerifyTestMain(m)
}

// parent starts a process and waits to be killed.
func parent() {
	p, err := vmm.StartProcess(exec.Command("sleep", "1000"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(p.PID())
	time.Sleep(time.Hour)
}

func TestProcessDiesWithItsParent(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "THAW_TEST_PARENT=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Fscan(out, &child); err != nil {
		t.Fatal(err)
	}
	pidfd, err := unix.PidfdOpen(child, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 5000); n != 1 || err != nil {
		t.Errorf("process %d outlives its parent (poll: %d, %v)", child, n, err)
	}
}

func TestProcessThatEnds(t *testing.T) {
	p, err := vmm.StartProcess(exec.Command("sh", "-c", "echo first; echo last words >&2; exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	var ended *vmm.ExitError
	if err := p.Exited(); !errors.As(err, &ended) || ended.State.ExitCode() != 3 || !strings.Contains(err.Error(), "last words") {
		t.Errorf("Exited = %v, want status 3 and the last words", err)
	}
}

func TestKillTwice(t *testing.T) {
	p, err := vmm.StartProcess(exec.Command("sleep", "1000"))
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	p.Kill()
	select {
	case <-p.Done():
	default:
		t.Error("process is not done after Kill")
	}
}

func TestStartProcessThatIsMissing(t *testing.T) {
	if _, err := vmm.StartProcess(exec.Command("/does/not/exist")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("StartProcess = %v, want a missing file", err)
	}
}

func TestConsole(t *testing.T) {
	var c vmm.Console
	for _, s := range []string{"one\ntw", "o\r\n\x1b[2J", "three"} {
		if n, err := c.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	if d := cmp.Diff([]string{"two", "[2Jthree"}, c.Tail(2)); d != "" {
		t.Error(d)
	}
	fmt.Fprint(&c, "\n[1.0] Kernel panic - not syncing\nCPU: 0\nCall Trace:\n")
	if d := cmp.Diff([]string{"[1.0] Kernel panic - not syncing", "CPU: 0"}, c.LastWords(2)); d != "" {
		t.Error(d)
	}
	for i := range 1000 {
		fmt.Fprintln(&c, i, strings.Repeat("x", 10_000))
	}
	lines := c.Tail(10_000)
	if len(lines) > 101 || len(lines[0]) > 400 {
		t.Errorf("console keeps %d lines, of %d bytes", len(lines), len(lines[0]))
	}
}
