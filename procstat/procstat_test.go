package procstat

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"thaw/pagecache"
)

func TestParseStat(t *testing.T) {
	line := "42 (qemu) x) (y) S 1 42 42 0 -1 4194560 2275 9 13 8 1 2 0 0 20 0 4 0 123 999 7 18446744073709551615 1\n"
	m, err := parseStat([]byte(line))
	if err != nil || m != (Memory{MinorFaults: 2275, MajorFaults: 13, RSSBytes: 7 * int64(os.Getpagesize())}) {
		t.Errorf("parseStat = %+v, %v", m, err)
	}
	for _, bad := range []string{"", "42 (x) S 1", "42 (x) S 1 42 42 0 -1 4194560 many 9 13 8 1 2 0 0 20 0 4 0 123 999 7 1"} {
		if m, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("parseStat(%q) = %+v", bad, m)
		}
	}
}

func TestParseIO(t *testing.T) {
	n, err := parseIO([]byte("rchar: 1\nwchar: 2\nread_bytes: 4096\nwrite_bytes: 0\n"))
	if err != nil || n != 4096 {
		t.Errorf("parseIO = %d, %v", n, err)
	}
	if _, err := parseIO([]byte("rchar: 1\n")); err == nil {
		t.Error("parseIO without read_bytes worked")
	}
}

func TestProcess(t *testing.T) {
	p, err := Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if m, err := p.Memory(); err != nil || m.MinorFaults == 0 || m.RSSBytes == 0 {
		t.Errorf("Memory = %+v, %v", m, err)
	}
}

func TestProcessThatHasEnded(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if m, err := p.Memory(); err == nil {
		t.Errorf("Memory of a process that has ended = %+v", m)
	}
}

func TestThreadCountsItsOwnReads(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := pagecache.Evict(f); err != nil {
		t.Fatal(err)
	}
	thread, err := OpenThread(unix.Gettid())
	if err != nil {
		t.Fatal(err)
	}
	defer thread.Close()
	before, err := thread.ReadBytes()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Pread(int(f.Fd()), make([]byte, 1<<20), 0); err != nil {
		t.Fatal(err)
	}
	after, err := thread.ReadBytes()
	if err != nil || after-before < 1<<20 {
		t.Errorf("the thread read %d bytes, %v, want 1 MiB at least", after-before, err)
	}
}

func BenchmarkProcess(b *testing.B) {
	p, err := Open(os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	for b.Loop() {
		if _, err := p.Memory(); err != nil {
			b.Fatal(err)
		}
		if _, err := p.ReadBytes(); err != nil {
			b.Fatal(err)
		}
	}
}
