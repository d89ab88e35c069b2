package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/bench"
)

// TestBench measures real functions with the program.
func TestBench(t *testing.T) {
	bin, state := build(t), t.TempDir()
	p := serve(t, bin, state)
	p.deploy(t, "probe", "testdata/probe")
	p.deploy(t, "probe-1", "testdata/probe")
	p.deploy(t, "other", "../examples/hello")
	env := []string{"THAW_ADDR=" + strings.TrimPrefix(p.Addr(), "http://")}
	t.Run("Functions", func(t *testing.T) { testBenchFunctions(t, bin, env) })
	t.Run("Clones", func(t *testing.T) { testBenchClones(t, bin, env) })
	t.Run("NoCopy", func(t *testing.T) {
		out, code := execute(t, bin, env, "bench", "probe", "other", "--different", "--clones", "2", "-n", "1")
		if code != 2 || !strings.Contains(out, "other is no copy of probe") {
			t.Errorf("exit %d:\n%s", code, out)
		}
	})
	t.Run("Text", func(t *testing.T) {
		out, code := execute(t, bin, env, "bench", "probe", "-n", "2", "-d", helloEvent)
		for _, want := range []string{"thaw+pool / cached+pool", "reap leaves", "every start from it found the page cache empty", "MiB booted; working set"} {
			if code != 0 || !strings.Contains(words(out), want) {
				t.Errorf("exit %d, want %q:\n%s", code, want, out)
			}
		}
	})
	t.Run("Interrupt", func(t *testing.T) { testBenchInterrupt(t, bin, env, state) })
	t.Run("Kill", func(t *testing.T) { testBenchKill(t, bin, env, state) })
}

// words is text with single spaces, whatever its columns are.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }

// measure runs the benchmark and reads its report.
func measure(t *testing.T, bin string, env []string, args ...string) (r bench.Report) {
	t.Helper()
	cmd := exec.Command(bin, append([]string{"bench", "-o", "json"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		t.Fatalf("thaw bench %s: %v\n%s", strings.Join(args, " "), err, &problems)
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back bench.Report
	if err := json.Unmarshal(again, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, back); d != "" {
		t.Errorf("the report changes on its way through JSON: %s", d)
	}
	return r
}

func testBenchFunctions(t *testing.T, bin string, env []string) {
	r := measure(t, bin, env, "probe", "other", "-n", "2", "--policies", "vanilla,thaw", "--record", `{"name": "Ada"}`, "-d", `{"name": "Grace"}`)
	if len(r.Functions) != 2 || r.Partial != "" || r.Environment.DiskModel == "" || r.Environment.LoadAfter == "" {
		t.Fatalf("%+v", r.Environment)
	}
	for _, f := range r.Functions {
		if got, want := fmt.Sprint(f.Kinds()), "[vanilla thaw vanilla+pool thaw+pool warm]"; got != want || len(f.Samples) != 10 {
			t.Errorf("%s: %d samples of %s, want 10 of %s", f.Name, len(f.Samples), got, want)
		}
		for _, s := range f.Samples {
			checkSample(t, f, s)
		}
		m := f.Memory
		if m == nil || m.Inputs == nil || m.Booted < 5000 || m.WorkingSet < 300 || m.Runs < 10 || m.Runs > m.WorkingSet || m.Written == 0 || m.Inputs.Same < 100 {
			t.Errorf("%s: memory %+v", f.Name, m)
		}
		if len(f.Recordings) != 3 || len(f.Files) < 5 {
			t.Errorf("%s: recordings %+v, files %+v", f.Name, f.Recordings, f.Files)
		}
		for _, l := range f.Recordings {
			if l.Pages == 0 || l.InvocationMS <= 0 || l.PublishMS <= 0 {
				t.Errorf("%s: recording %+v", f.Name, l)
			}
		}
	}
}

func checkSample(t *testing.T, f bench.Function, s bench.Sample) {
	t.Helper()
	want := bench.Coordinates{Kind: s.Kind, Clones: 1, Snapshots: bench.SameSnapshot, MemoryMiB: thaw.DefaultMemory >> 20}
	if d := cmp.Diff(want, s.Coordinates); d != "" {
		t.Error(d)
	}
	if s.Function != f.Name || s.Start != s.Kind.Start() || s.WallMS < s.DurationMS || s.FunctionError != "" {
		t.Errorf("%s: %+v", f.Name, s)
	}
	if s.Start == thaw.StartCold && s.BytesRead == 0 {
		t.Errorf("%s, %s: nothing came from the disk", f.Name, s.Kind)
	}
}

// testBenchClones starts the same snapshot and different ones together, cold and
// warm.
func testBenchClones(t *testing.T, bin string, env []string) {
	r := measure(t, bin, env, "probe", "probe-1", "--different", "--clones", "1,2", "-n", "1", "--policies", "thaw,cached", "-d", helloEvent)
	if len(r.Functions) != 1 {
		t.Fatalf("%d functions, want 1", len(r.Functions))
	}
	f := r.Functions[0]
	if got := len(f.Cells()); got != 3 {
		t.Fatalf("%d cells, want 1 alone, 2 of the same, 2 of different snapshots", got)
	}
	for _, cell := range f.Cells() {
		in := f.In(cell)
		for _, k := range []bench.Kind{"thaw", "thaw+pool", "cached", "cached+pool", bench.KindWarm} {
			functions, instances := map[string]bool{}, map[string]bool{}
			for _, s := range in.Samples {
				if s.Kind == k {
					functions[s.Function], instances[s.Instance] = true, true
				}
			}
			want := 1
			if cell.Snapshots == bench.DifferentSnapshots {
				want = 2
			}
			if len(functions) != want || k != bench.KindWarm && len(instances) != cell.Clones {
				t.Errorf("%v, %s: %d functions and %d instances", cell, k, len(functions), len(instances))
			}
		}
	}
}
