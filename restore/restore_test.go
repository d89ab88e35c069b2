package restore_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"thaw"
	"thaw/plan"
	"thaw/restore"
	"thaw/vmm/qemu"
	"thaw/workingset"
)

// The reader is a copy of this test program: the process that serves faults must
// not raise them.
func TestMain(m *testing.M) {
	if args := os.Getenv("THAW_TEST_READER"); args != "" {
		if err := reader(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// reader copies memory of another process to standard output; args are its id,
// an address and a length.
func reader(args string) error {
	var pid, base, length int
	if _, err := fmt.Sscan(args, &pid, &base, &length); err != nil {
		return err
	}
	buf := make([]byte, 1<<16)
	for at := 0; at < length; at += len(buf) {
		buf = buf[:min(len(buf), length-at)]
		local := []unix.Iovec{{Base: &buf[0], Len: uint64(len(buf))}}
		n, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: uintptr(base + at), Len: len(buf)}}, 0)
		if err != nil || n != len(buf) {
			return fmt.Errorf("read %d bytes at %#x: %d, %w", len(buf), base+at, n, err)
		}
		if _, err := os.Stdout.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

func readCommand(ctx context.Context, pid int, base uint64, length int) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("THAW_TEST_READER=%d %d %d", pid, base, length))
	cmd.Stderr = os.Stderr
	return cmd
}

const memoryBytes = 128 << 20

// memoryFile is a guest memory file: random pages, with holes between.
func memoryFile(t *testing.T) (*os.File, []byte) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "memory"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	content := make([]byte, memoryBytes)
	random := rand.NewChaCha8([32]byte{1})
	for at := 0; at < memoryBytes; at += 1 << 20 {
		_, _ = random.Read(content[at : at+300<<10])
		if _, err := f.WriteAt(content[at:at+300<<10], int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(memoryBytes); err != nil {
		t.Fatal(err)
	}
	return f, content
}

// start returns a real VMM that waits for a snapshot.
func start(t *testing.T) *qemu.VM {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("VMMs are controlled as root: run the tests with sudo")
	}
	if _, err := exec.LookPath(qemu.Binary); err != nil {
		t.Skipf("%s is missing: run scripts/deps.sh", qemu.Binary)
	}
	driver, err := qemu.New(t.Context(), qemu.TCG)
	if err != nil {
		t.Fatal(err)
	}
	vm, err := driver.Prestart(t.Context(), memoryBytes, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vm.Close)
	return vm
}

// read returns guest memory as the VMM sees it.
func read(t *testing.T, pid int, base uint64) []byte {
	t.Helper()
	out, err := readCommand(t.Context(), pid, base, memoryBytes).Output()
	if err != nil {
		t.Fatalf("read guest memory: %v", err)
	}
	return out
}

func set(pages int) *workingset.Set {
	s := &workingset.Set{MemoryPages: memoryBytes / thaw.PageSize}
	for i := range pages {
		s.Touches = append(s.Touches, workingset.Touch{Page: uint32(i * 7 % (memoryBytes / thaw.PageSize))})
	}
	return s
}

func pieces(s *workingset.Set, content []byte) iter.Seq2[int64, []byte] {
	return func(yield func(int64, []byte) bool) {
		for _, r := range s.Runs() {
			from, n := int64(r.Page)*thaw.PageSize, int64(r.Pages)*thaw.PageSize
			if !yield(from, content[from:from+n]) {
				return
			}
		}
	}
}

// TestMemoryIsTheSnapshots compares all of guest memory, byte for byte, after
// each policy.
func TestMemoryIsTheSnapshots(t *testing.T) {
	f, content := memoryFile(t)
	for name, c := range map[string]struct {
		policy thaw.Policy
		set    *workingset.Set
	}{
		"Vanilla":        {thaw.PolicyVanilla, nil},
		"ReapRecords":    {thaw.PolicyReap, nil},
		"ReapPrefetches": {thaw.PolicyReap, set(3000)},
	} {
		t.Run(name, func(t *testing.T) { compare(t, c.policy, c.set, f, content) })
	}
}

func compare(t *testing.T, policy thaw.Policy, s *workingset.Set, f *os.File, content []byte) {
	vm := start(t)
	base, err := vm.GuestMemory(memoryBytes)
	if err != nil {
		t.Fatal(err)
	}
	var runs []workingset.Run
	if s != nil {
		runs = s.Runs()
	}
	p, err := plan.New(policy, thaw.Manifest{MemoryBytes: memoryBytes}, runs)
	if err != nil {
		t.Fatal(err)
	}
	m, err := restore.Map(t.Context(), vm, base, p, f)
	if err != nil {
		t.Fatal(err)
	}
	var install iter.Seq2[int64, []byte]
	if s != nil {
		install = pieces(s, content)
	}
	failed := make(chan error, 1)
	m.Serve(install, workingset.DefaultLimits(), func() {}, func(err error) { failed <- err; vm.Kill() })
	if got := read(t, vm.PID(), base); !bytes.Equal(got, content) {
		t.Errorf("guest memory differs from the snapshot's at byte %d", firstDifference(got, content))
	}
	check(t, p, m)
	vm.Kill()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-failed:
		t.Errorf("page faults could not be served: %v", err)
	default:
	}
}

// check compares the counters with the plan.
func check(t *testing.T, p plan.Plan, m *restore.Memory) {
	t.Helper()
	const pages = memoryBytes / thaw.PageSize
	c, installed := m.Counters(), p.InstallPages()
	if c.Installed != installed || p.Trap && c.Trapped != pages-installed || !p.Trap && c.Trapped != 0 {
		t.Errorf("%d pages installed and %d trapped, of %d planned and %d in all", c.Installed, c.Trapped, installed, pages)
	}
	recorded, ok := m.StopRecording()
	if ok != p.Record || p.Record && len(recorded.Touches) != pages {
		t.Errorf("recorded %d pages (%v), want %d", len(recorded.Touches), ok, pages)
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// TestAFaultThatCannotBeServed cuts the memory file: whoever waits for the page
// must not wait for ever.
func TestAFaultThatCannotBeServed(t *testing.T) {
	f, _ := memoryFile(t)
	vm := start(t)
	base, err := vm.GuestMemory(memoryBytes)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(thaw.PolicyReap, thaw.Manifest{MemoryBytes: memoryBytes}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := restore.Map(t.Context(), vm, base, p, f)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	m.Serve(nil, workingset.DefaultLimits(), func() {}, func(err error) { failed <- err; vm.Kill() })
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ended := make(chan struct{})
	cmd := readCommand(ctx, vm.PID(), base+2<<20, thaw.PageSize)
	cmd.Stderr = nil
	go func() {
		defer close(ended)
		_ = cmd.Run() // it cannot get the page; that it ends is what matters
	}()
	if err := <-failed; err == nil {
		t.Error("no error")
	}
	<-vm.Done() // its own threads are gone with it
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	<-ended
	if ctx.Err() != nil {
		t.Error("somebody waited for the page for 10 s")
	}
}
