package faults_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/perf/benchfmt"

	"thaw"
	"thaw/bench/faults"
	"thaw/bench/standin"
	"thaw/pagecache"
)

const standInEnv = "THAW_TEST_STAND_IN"

// The stand-in is a copy of this test program: the process that serves faults must
// not raise them.
func TestMain(m *testing.M) {
	if os.Getenv(standInEnv) != "" {
		if err := standin.Serve(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

const (
	rounds = 2
	pages  = 40
)

func options(t *testing.T) faults.Options {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("page faults are served as root: run the test with sudo")
	}
	dir := t.TempDir()
	if _, err := pagecache.ReadaheadOf(dir); err != nil {
		t.Skipf("%s is not on a disk: set TMPDIR to a folder that is", dir)
	}
	return faults.Options{N: rounds, Pages: pages, Folder: dir, Version: "test", Command: func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), standInEnv+"=1")
		return cmd
	}}
}

func quiet(int, int, string) {}

// TestRun raises real faults and reads what the kernel counted.
func TestRun(t *testing.T) {
	r, err := faults.Run(t.Context(), options(t), quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("Classes", func(t *testing.T) { checkClasses(t, r) })
	t.Run("Ways", func(t *testing.T) { checkWays(t, r) })
	t.Run("JSON", func(t *testing.T) { checkJSON(t, r) })
	t.Run("Go", func(t *testing.T) { checkGo(t, r) })
	t.Run("Text", func(t *testing.T) { checkText(t, r) })
}

// slack are faults of the touching thread's own, by round.
const slack = 2 * rounds

// checkClasses checks each class of 4 KiB pages by what it is. Not each machine
// has each class of 2 MiB pages, but those it has are what they are called.
func checkClasses(t *testing.T, r faults.Report) {
	for _, c := range r.Classes {
		if c.Unavailable != "" {
			if !c.Huge() {
				t.Errorf("%s is not available: %s", c.Kind, c.Unavailable)
			}
			continue
		}
		want := int64(rounds * pages)
		if c.Huge() || c.Backing == faults.PageCacheReadahead {
			want = int64(rounds * r.HugeTouches)
		}
		if c.Touches != want || len(c.RoundsUS) != rounds || len(c.RoundsUS[0])*rounds != int(want) {
			t.Errorf("%s: %d touches in %d rounds, want %d in %d", c.Kind, c.Touches, len(c.RoundsUS), want, rounds)
		}
		if s := c.US; s.Min < 0 || s.Min > s.Q1 || s.Q1 > s.Median || s.Median > s.Q3 || s.Q3 > s.Max || s.Max == 0 {
			t.Errorf("%s: spread %+v", c.Kind, s)
		}
		checkCounts(t, c)
	}
}

func checkCounts(t *testing.T, c faults.Class) {
	trap := c.Backing == faults.Userfaultfd || c.Backing == faults.UserfaultfdWrites
	untouched := c.Touch != faults.CopyOnWrite && c.Backing != faults.InPlace
	size := c.PageBytes / thaw.PageSize
	want := faults.Counts{Touches: c.Touches}
	switch {
	case c.Backing == faults.InPlace:
	case trap && (untouched || c.Backing == faults.UserfaultfdWrites):
		want.Trapped = c.Touches
	case trap: // installed ready to be written
	case c.Backing == faults.Disk && untouched:
		want.Major = c.Touches
	default:
		want.Minor = c.Touches
	}
	if untouched {
		want.Mapped = size * c.Touches
	}
	if c.Touch != faults.Read && !trap || trap && untouched {
		want.Own = size * c.Touches
	}
	got := c.Counts
	if trap { // whether waiting is minor or major is the kernel's
		got.Minor, got.Major = 0, 0
	}
	if over := got.Minor - want.Minor; over > 0 && over <= slack {
		got.Minor = want.Minor
	}
	neighbours := slices.Contains([]faults.Backing{faults.PageCacheAround, faults.PageCacheReadahead, faults.MemoryFile}, c.Backing)
	if neighbours && c.Touch == faults.Read && !c.Huge() && got.Mapped > want.Mapped {
		got.Mapped = want.Mapped // how many neighbours it maps is the kernel's
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: %s", c.Kind, d)
	}
}

func checkWays(t *testing.T, r faults.Report) {
	for _, w := range r.Ways {
		if w.Unavailable != "" {
			t.Logf("%s: %s", w.Method, w.Unavailable)
			continue
		}
		if len(w.RoundsUS) != rounds || w.US.Median <= 0 || w.GBps <= 0 {
			t.Errorf("%s: %d rounds, %.3f us, %.3f GB/s", w.Method, len(w.RoundsUS), w.US.Median, w.GBps)
		}
		mapped, own := 1.0, 1.0
		switch w.Way {
		case faults.DirectSequential, faults.DirectRandom:
			mapped, own = 0, 0
		case faults.MapPopulate, faults.PopulateRead:
			own = 0 // a file's page, not a copy
		}
		if w.Mapped < mapped-1e-9 || w.Mapped > mapped+1e-9 || w.Own < own-1e-9 || w.Own > own+1e-9 {
			t.Errorf("%s: %g mapped and %g own for each page, want %g and %g", w.Method, w.Mapped, w.Own, mapped, own)
		}
	}
}

func checkJSON(t *testing.T, r faults.Report) {
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back faults.Report
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, back); d != "" {
		t.Error(d)
	}
}

// checkGo reads what is written with the reader that benchstat uses.
func checkGo(t *testing.T, r faults.Report) {
	var b bytes.Buffer
	if err := r.WriteGo(&b); err != nil {
		t.Fatal(err)
	}
	reader, lines := benchfmt.NewReader(&b, "faults"), map[string]int{}
	for reader.Scan() {
		switch x := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			t.Error(x)
		case *benchfmt.Result:
			lines[string(x.Name)]++
			if v, ok := x.Value("sec/op"); !ok || v < 0 {
				t.Errorf("%s: %g sec/op", x.Name, v)
			}
			if x.GetConfig("kernel") != r.Environment.Kernel || x.GetConfig("disk") != r.Environment.Disk {
				t.Errorf("%s: the environment is missing", x.Name)
			}
		}
	}
	if err := reader.Err(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{
		"Fault/page=4KiB/backing=anonymous/touch=read", "Fault/page=4KiB/backing=userfaultfd/touch=copy-on-write",
		"Fault/page=4KiB/backing=disk/touch=write", "Bring/way=uffdio-copy/from=memory/pages=64",
	} {
		if lines[name] != rounds {
			t.Errorf("%d lines of %s, want %d", lines[name], name, rounds)
		}
	}
	if better := reader.Units().GetBetter("trapped/op"); better != -1 {
		t.Errorf("better of trapped/op is %d, want -1: fewer", better)
	}
}

func checkText(t *testing.T, r faults.Report) {
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"page-cache-around", "FaaSnap's, in a VM", "no fault", "6.7", r.Environment.Kernel, "uffdio-copy", "By read the order anonymous "} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, &b)
		}
	}
	if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf") {
		t.Errorf("not a number:\n%s", &b)
	}
	if err := r.WriteText(full{}); !errors.Is(err, errFull) {
		t.Errorf("WriteText to a full disk = %v", err)
	}
	if err := r.WriteGo(full{}); !errors.Is(err, errFull) {
		t.Errorf("WriteGo to a full disk = %v", err)
	}
}

var errFull = errors.New("disk full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// TestInterrupt ends a run in a phase of each sort. Nothing is left, nor is anything
// there to be left while it runs.
func TestInterrupt(t *testing.T) {
	o := options(t)
	for _, what := range []string{"userfaultfd, read, 4 KiB", "disk, write, 4 KiB", "uffdio-copy from memory, 8 pages a call"} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := faults.Run(ctx, o, func(_, _ int, now string) {
			if names, err := os.ReadDir(o.Folder); err != nil || len(names) > 0 {
				t.Errorf("the folder holds %v, %v", names, err)
			}
			if now == what {
				cancel()
			}
		})
		if err == nil || ctx.Err() == nil {
			t.Errorf("interrupted at %s: error %v", what, err)
		}
		cancel()
	}
}

func TestFolders(t *testing.T) {
	o := options(t)
	file := filepath.Join(o.Folder, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string]string{
		"/dev/shm": "not on a disk", "/proc": "not on a disk", filepath.Join(o.Folder, "none"): "no such file", file: "is not a folder",
	} {
		o.Folder = folder
		_, err := faults.Run(t.Context(), o, func(int, int, string) { t.Error("something is measured") })
		if err == nil || !strings.Contains(err.Error(), want) || thaw.CodeOf(err) != thaw.CodeInvalid {
			t.Errorf("in %s: error %v, want one that says %q", folder, err, want)
		}
	}
}
