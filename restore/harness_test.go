package restore_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"thaw"
	"thaw/pagecache"
	"thaw/plan"
	"thaw/resident"
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

const memoryBytes = 64 << 20

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
	vm, err := driver.Prestart(t.Context(), memoryBytes, 2, true)
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

// nonZero are the runs of memoryFile's pages that are not zero.
func nonZero() (runs []workingset.Run) {
	for at := uint32(0); at < memoryBytes/thaw.PageSize; at += 256 {
		runs = append(runs, workingset.Run{Page: at, Pages: 75})
	}
	return runs
}

// set is a working set of every seventh page, of which every second is written.
func set(pages int, source workingset.Source) *workingset.Set {
	s := &workingset.Set{MemoryPages: memoryBytes / thaw.PageSize, Recordings: 1, Source: source}
	for i := range pages {
		s.Touches = append(s.Touches, workingset.Touch{
			Page: uint32(i * 7 % (memoryBytes / thaw.PageSize)), Uses: 1, Written: i%2 == 0, Group: uint16(source) * uint16(1+i/1000),
		})
	}
	return s
}

// contents lays s out for policy and says where everything is.
func contents(t *testing.T, policy thaw.Policy, s *workingset.Set, f *os.File) (k plan.Known, c restore.Contents) {
	t.Helper()
	k.MemoryBytes, k.NonZero, c.Memory = memoryBytes, nonZero(), f.Name()
	if s == nil {
		return k, c
	}
	k.Working = s
	for _, a := range plan.Arrange(*s, nonZero()) {
		if a.Name == plan.Needs(policy).Loading {
			name := filepath.Join(t.TempDir(), a.Name)
			a.MemoryPages = memoryBytes / thaw.PageSize
			k.Loading = encode(t, name, a.LoadingSet, f)
			c.Set, c.Loading = k.Loading, direct(t, name)
		}
	}
	if policy == thaw.PolicyThaw {
		k.Alone, c.Image, c.Own = true, image(t, f), own(t, k.Loading, c.Loading.Name())
	}
	return k, c
}

// share makes k and c those of a clone that is not alone.
func share(t *testing.T, k *plan.Known, c *restore.Contents) {
	t.Helper()
	c.Close()
	k.Alone, c.Own = false, nil
	name := c.Loading.Name()
	c.Loading = nil
	var err error
	c.Load, c.First, err = c.Image.Load(cache(t), func() (*workingset.LoadingSet, *os.File, error) {
		return k.Loading, direct(t, name), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// encode writes a loading set and reads back what describes it.
func encode(t *testing.T, name string, l workingset.LoadingSet, f *os.File) *workingset.LoadingSet {
	t.Helper()
	var b bytes.Buffer
	if err := workingset.EncodeLoadingSet(&b, l, f); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := workingset.DecodeLoadingSet(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func direct(t *testing.T, name string) *os.File {
	t.Helper()
	file, err := pagecache.OpenDirect(name)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func image(t *testing.T, f *os.File) *resident.Image {
	t.Helper()
	i, err := resident.New(f.Name(), memoryBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Close)
	return i
}

func cache(t *testing.T) *resident.Cache {
	t.Helper()
	c := &resident.Cache{}
	t.Cleanup(c.Close)
	return c
}

func own(t *testing.T, set *workingset.LoadingSet, loading string) *resident.Own {
	t.Helper()
	o, err := resident.NewOwn(cache(t), set, direct(t, loading))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// guest is a VMM whose memory was laid out.
type guest struct {
	*restore.Memory
	vm       *qemu.VM
	base     uint64
	plan     plan.Plan
	failed   chan error
	finished chan struct{} // everything is installed
}

// layOut restores by policy; the guest never runs.
func layOut(t *testing.T, policy thaw.Policy, k plan.Known, c restore.Contents, f *os.File) *guest {
	t.Helper()
	g := &guest{vm: start(t), failed: make(chan error, 1), finished: make(chan struct{})}
	var err error
	if g.base, err = g.vm.GuestMemory(memoryBytes); err != nil {
		t.Fatal(err)
	}
	if g.plan, err = plan.New(policy, k, plan.DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	prefetch, err := restore.Begin(g.plan, c)
	if err != nil {
		t.Fatal(err)
	}
	if g.Memory, err = restore.Map(t.Context(), g.vm, g.base, memoryBytes, prefetch, f); err != nil {
		t.Fatal(err)
	}
	fail := func(err error) {
		select {
		case g.failed <- err:
		default: // only the first is told
		}
		g.vm.Kill()
	}
	if err := g.Serve(workingset.DefaultLimits(), func() { close(g.finished) }, fail); err != nil {
		t.Fatal(err)
	}
	return g
}

// end closes the guest; an error of serving it is one of the test.
func (g *guest) end(t *testing.T) {
	t.Helper()
	g.vm.Kill()
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-g.failed:
		t.Errorf("page faults could not be served: %v", err)
	default:
	}
}

func write(t *testing.T, pid int, base uint64, b []byte) {
	t.Helper()
	local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	if _, err := unix.ProcessVMWritev(pid, local, []unix.RemoteIovec{{Base: uintptr(base), Len: len(b)}}, 0); err != nil {
		t.Fatal(err)
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
