package remote_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"thaw/remote"
)

// cat starts a process that is blocked in read(2) and echoes lines.
func cat(t *testing.T) (pid int, echo func(string) string) {
	t.Helper()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewReader(out)
	echo = func(s string) string {
		if _, err := io.WriteString(in, s+"\n"); err != nil {
			t.Fatal(err)
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(line)
	}
	echo("ready")
	return cmd.Process.Pid, echo
}

func mmap(size uintptr) remote.Call {
	return remote.Call{Nr: unix.SYS_MMAP, Args: [6]uintptr{0, size, unix.PROT_READ, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS, ^uintptr(0), 0}}
}

func maps(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRunMapsInTheTarget(t *testing.T) {
	pid, echo := cat(t)
	before := maps(t, pid)
	got, err := remote.Run(pid, []remote.Call{mmap(1 << 20), {Nr: unix.SYS_GETPID}})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[1] != uintptr(pid) {
		t.Fatalf("Run = %x, want an address and pid %d", got, pid)
	}
	if want := fmt.Sprintf("%x", got[0]); !strings.Contains(maps(t, pid), want) {
		t.Errorf("no mapping at %s in the target", want)
	}
	if got := echo("still here"); got != "still here" {
		t.Errorf("echo after Run = %q", got)
	}
	if _, err := remote.Run(pid, []remote.Call{{Nr: unix.SYS_MUNMAP, Args: [6]uintptr{got[0], 1 << 20}}}); err != nil {
		t.Fatal(err)
	}
	if after := maps(t, pid); after != before {
		t.Errorf("mappings changed:\n%s\nwant\n%s", after, before)
	}
}

func TestRunStopsAtTheFirstError(t *testing.T) {
	pid, echo := cat(t)
	calls := []remote.Call{{Nr: unix.SYS_GETPID}, {Nr: unix.SYS_CLOSE, Args: [6]uintptr{9999}}, {Nr: unix.SYS_GETPID}}
	got, err := remote.Run(pid, calls)
	var ce *remote.CallError
	if !errors.As(err, &ce) || ce.Index != 1 || !errors.Is(err, unix.EBADF) {
		t.Fatalf("Run error = %v, want EBADF of call 1", err)
	}
	if len(got) != 1 {
		t.Errorf("Run returned %d results, want the 1 before the error", len(got))
	}
	if got := echo("on"); got != "on" {
		t.Errorf("echo after a failed Run = %q", got)
	}
}

func TestRunThousandsOfCalls(t *testing.T) {
	pid, _ := cat(t)
	calls := make([]remote.Call, 5000)
	for i := range calls {
		calls[i] = remote.Call{Nr: unix.SYS_GETPPID}
	}
	got, err := remote.Run(pid, calls)
	if err != nil || len(got) != len(calls) {
		t.Fatalf("Run = %d results, %v", len(got), err)
	}
	for i, r := range got {
		if r != uintptr(os.Getpid()) {
			t.Fatalf("result %d = %d, want %d", i, r, os.Getpid())
		}
	}
}

func TestRunConcurrently(t *testing.T) {
	var wg sync.WaitGroup
	for range 8 {
		pid, _ := cat(t)
		wg.Go(func() {
			for range 20 {
				if got, err := remote.Run(pid, []remote.Call{{Nr: unix.SYS_GETPID}}); err != nil || got[0] != uintptr(pid) {
					t.Errorf("Run = %v, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestRunUnderSignals has the target interrupted all the time: no signal is taken
// for one of our stops, and none is lost.
func TestRunUnderSignals(t *testing.T) {
	perl, err := exec.LookPath("perl")
	if err != nil {
		t.Skip("perl is missing: apt-get install perl-base")
	}
	cmd := exec.Command(perl, "-MTime::HiRes=ualarm", "-e", `$| = 1; my $n = 0; $SIG{ALRM} = sub { $n++ }; $SIG{TERM} = sub { print "$n\n"; exit }; ualarm(300, 300); print "ready\n"; select(undef, undef, undef, 0.01) while 1`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewReader(out)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		if got, err := remote.Run(cmd.Process.Pid, []remote.Call{{Nr: unix.SYS_GETPID}}); err != nil || got[0] != uintptr(cmd.Process.Pid) {
			t.Fatalf("Run = %v, %v", got, err)
		}
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if n, err := lines.ReadString('\n'); err != nil || n == "0\n" {
		t.Errorf("the target saw %q signals, %v", n, err)
	}
}

func TestRunOnAProcessThatIsGone(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Run(cmd.Process.Pid, []remote.Call{{Nr: unix.SYS_GETPID}}); !errors.Is(err, remote.ErrGone) {
		t.Errorf("Run = %v, want ErrGone", err)
	}
}

// TestRunOnAProcessThatExits makes the target end in the middle of the table:
// the parent must still be able to collect it.
func TestRunOnAProcessThatExits(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, err := remote.Run(cmd.Process.Pid, []remote.Call{{Nr: unix.SYS_EXIT_GROUP, Args: [6]uintptr{7}}})
	if !errors.Is(err, remote.ErrGone) {
		t.Errorf("Run = %v, want ErrGone", err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("Wait = %v, exit %d, want 7", err, cmd.ProcessState.ExitCode())
	}
}

func BenchmarkRun(b *testing.B) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			calls := make([]remote.Call, n)
			for i := range calls {
				calls[i] = remote.Call{Nr: unix.SYS_GETPID}
			}
			for b.Loop() {
				if _, err := remote.Run(cmd.Process.Pid, calls); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
