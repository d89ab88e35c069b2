package uffd_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"thaw/uffd"
)

const page = 4096

// The faults are raised by a copy of this test binary: a process must not serve
// its own.
func TestMain(m *testing.M) {
	if os.Getenv("THAW_TEST_VICTIM") != "" {
		if err := victim(os.Stdin, os.Stdout); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// victim maps pages, creates a userfaultfd and then does as it is told: "read
// N" prints the first byte of page N and the number of distinct bytes in it,
// "drop N" gives it back to the kernel, "storm N" gives back and touches all pages
// N times in two threads.
func victim(in io.Reader, out io.Writer) error {
	const pages = 64
	mem, err := unix.Mmap(-1, 0, pages*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK, 0, 0)
	if errno != 0 {
		return errno
	}
	fmt.Fprintln(out, uintptr(unsafe.Pointer(&mem[0])), len(mem), fd)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var what string
		var n int
		if _, err := fmt.Sscan(lines.Text(), &what, &n); err != nil {
			return err
		}
		if what == "storm" {
			storm(mem, n)
			fmt.Fprintln(out, "calm")
			continue
		}
		p := mem[n*page : (n+1)*page]
		if what == "drop" {
			if err := unix.Madvise(p, unix.MADV_DONTNEED); err != nil {
				return err
			}
			fmt.Fprintln(out, "dropped")
			continue
		}
		fmt.Fprintln(out, p[0], bytes.Count(p, p[:1]))
	}
	return lines.Err()
}

func storm(mem []byte, rounds int) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range rounds {
			_ = unix.Madvise(mem, unix.MADV_DONTNEED)
		}
	}()
	sum := byte(0)
	for i := range rounds {
		sum += mem[i%(len(mem)/page)*page]
	}
	<-done
	mem[0] = sum
}

// process is a victim whose memory is registered.
type process struct {
	fd    *uffd.FD
	base  uint64
	size  uint64
	ask   func(format string, args ...any) string
	write func(format string, args ...any)
	read  func() string
	kill  func()
}

func start(t *testing.T) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "THAW_TEST_VICTIM=1")
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
	lines := bufio.NewReader(out)
	p := &process{}
	p.write = func(format string, args ...any) { fmt.Fprintf(in, format+"\n", args...) }
	p.read = func() string { s, _ := lines.ReadString('\n'); return strings.TrimSpace(s) }
	p.ask = func(format string, args ...any) string { p.write(format, args...); return p.read() }
	p.kill = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	var remote int
	if _, err := fmt.Sscan(p.read(), &p.base, &p.size, &remote); err != nil {
		t.Fatalf("victim does not start (userfaultfd needs root or vm.unprivileged_userfaultfd=1): %v", err)
	}
	p.fd = take(t, cmd.Process.Pid, remote)
	t.Cleanup(func() { p.kill(); _ = p.fd.Close() })
	if err := p.fd.Register(p.base, p.size); err != nil {
		t.Fatal(err)
	}
	return p
}

func take(t *testing.T, pid, remote int) *uffd.FD {
	t.Helper()
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	local, err := unix.PidfdGetfd(pidfd, remote, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := uffd.New(local, uffd.FeatureEventRemove)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// numbered is a memory file whose page n is full of the byte n+1.
type numbered struct{ pages int64 }

func (m numbered) ReadAt(b []byte, off int64) (int, error) {
	if off/page >= m.pages {
		return 0, io.ErrUnexpectedEOF
	}
	for i := range b {
		b[i] = byte(off/page) + 1
	}
	return len(b), nil
}

func (p *process) server(memory io.ReaderAt) *uffd.Server {
	return &uffd.Server{FD: p.fd, Memory: memory, Regions: []uffd.Region{{Addr: p.base, Len: p.size}}}
}

func serve(t *testing.T, s *uffd.Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

func want(t *testing.T, what, got string, first byte) {
	t.Helper()
	if w := fmt.Sprintf("%d %d", first, page); got != w {
		t.Errorf("%s = %q, want %q", what, got, w)
	}
}

func TestServeFirstTouches(t *testing.T) {
	p := start(t)
	s := p.server(numbered{64})
	faults := make(chan int64, 64)
	s.OnFault = func(offset int64) { faults <- offset / page }
	serve(t, s)
	for _, n := range []int{5, 3, 63, 0} {
		want(t, fmt.Sprint("page ", n), p.ask("read %d", n), byte(n)+1)
		want(t, fmt.Sprint("page again ", n), p.ask("read %d", n), byte(n)+1)
	}
	for _, want := range []int64{5, 3, 63, 0} {
		if got := <-faults; got != want {
			t.Errorf("fault on page %d, want %d", got, want)
		}
	}
	if s.Trapped() != 4 {
		t.Errorf("trapped %d faults, want 4", s.Trapped())
	}
}

func pieces(pages ...int64) iter.Seq2[int64, []byte] {
	return func(yield func(int64, []byte) bool) {
		for _, n := range pages {
			if !yield(n*page, bytes.Repeat([]byte{200}, 2*page)) {
				return
			}
		}
	}
}

func TestInstallBeforeTheFault(t *testing.T) {
	p := start(t)
	s := p.server(numbered{64})
	if err := s.Install(pieces(4, 10)); err != nil {
		t.Fatal(err)
	}
	serve(t, s)
	for _, n := range []int{4, 5, 10, 11} {
		want(t, fmt.Sprint("page ", n), p.ask("read %d", n), 200)
	}
	want(t, "page 12", p.ask("read 12"), 13)
	if s.Trapped() != 1 || s.Installed() != 4 {
		t.Errorf("trapped %d, installed %d, want 1 and 4", s.Trapped(), s.Installed())
	}
}

// TestInstallWakesAThreadThatWaits covers the race of the paper's monitor: the
// guest faults while the working set is being installed.
func TestInstallWakesAThreadThatWaits(t *testing.T) {
	p := start(t)
	s := p.server(numbered{64})
	p.write("read 4")
	time.Sleep(50 * time.Millisecond) // let it fault; if it has not yet, the test still holds
	if err := s.Install(pieces(4)); err != nil {
		t.Fatal(err)
	}
	serve(t, s)
	want(t, "page 4", p.read(), 200)
}

func TestInstallOverPagesThatAreThere(t *testing.T) {
	p := start(t)
	s := p.server(numbered{64})
	for range 2 {
		if err := s.Install(pieces(4, 6)); err != nil {
			t.Fatal(err)
		}
	}
	if s.Installed() != 4 {
		t.Errorf("installed %d pages, want 4", s.Installed())
	}
}

func TestRemovedPagesReadAsZeroes(t *testing.T) {
	p := start(t)
	serve(t, p.server(numbered{64}))
	want(t, "page 7", p.ask("read 7"), 8)
	if got := p.ask("drop 7"); got != "dropped" {
		t.Fatalf("drop = %q", got)
	}
	want(t, "page 7 after it was given back", p.ask("read 7"), 0)
}

// TestFaultsWhileMemoryIsGivenBack keeps the kernel in the state in which it
// installs nothing until an event is read.
func TestFaultsWhileMemoryIsGivenBack(t *testing.T) {
	p := start(t)
	serve(t, p.server(numbered{64}))
	if got := p.ask("storm 3000"); got != "calm" {
		t.Errorf("storm = %q", got)
	}
}

func TestServeReturnsTheErrorOfTheMemoryFile(t *testing.T) {
	p := start(t)
	done := make(chan error, 1)
	go func() { done <- p.server(numbered{2}).Serve(context.Background()) }()
	p.write("read 9")
	if err := <-done; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Serve = %v, want an unexpected EOF", err)
	}
}

func TestCopyToAProcessThatIsGone(t *testing.T) {
	p := start(t)
	p.kill()
	if err := p.server(numbered{64}).Install(pieces(4)); !errors.Is(err, uffd.ErrGone) {
		t.Errorf("Install = %v, want ErrGone", err)
	}
}

func TestInstallOutsideTheRegions(t *testing.T) {
	p := start(t)
	if err := p.server(numbered{64}).Install(pieces(63)); err == nil {
		t.Error("Install past the end of guest memory worked")
	}
}

func TestNewRefusesUnknownFeatures(t *testing.T) {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK, 0, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	if _, err := uffd.New(int(fd), 1<<60); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("New = %v, want ErrUnsupported", err)
	}
}
