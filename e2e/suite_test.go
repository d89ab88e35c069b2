package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/bench"
	"thaw/bench/suite"
	"thaw/functions"
)

// workloads are one that is right, one that is not, and one that cannot even be
// deployed.
func workloads(t *testing.T) (fstest.MapFS, []functions.Workload) {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, code := range map[string]string{
		"add":    "def handler(event, context):\n    return {'result': str(event['n'] + 1)}\n",
		"broken": "import nothing\n\n\ndef handler(event, context):\n    return {}\n",
		"wrong":  "def handler(event, context):\n    return {'result': 'no'}\n",
	} {
		fsys[name+"/app.py"] = &fstest.MapFile{Data: []byte(code), Mode: 0o644}
		fsys[name+"/"+functions.SpecName] = &fstest.MapFile{Mode: 0o644, Data: []byte(`{
			"description": "Adds", "papers": ["REAP"], "original": "none", "differs": "all", "packages": [], "memory_mib": 128, "timeout_s": 30,
			"a": {"event": {"n": 1}, "result": "2"}, "b": {"event": {"n": 2}, "result": "3"}}`)}
	}
	all, err := functions.Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return fsys, all
}

// TestSuite: one workload that fails does not keep it from the others, and what is
// interrupted is not lost.
func TestSuite(t *testing.T) {
	bin, state := build(t), t.TempDir()
	p := serve(t, bin, state)
	t.Run("Failures", func(t *testing.T) { testSuiteFailures(t, bin, p) })
	t.Run("Interrupt", func(t *testing.T) { testSuiteInterrupt(t, bin, p) })
}

func testSuiteFailures(t *testing.T, bin string, p *program) {
	fsys, all := workloads(t)
	var saved []suite.Result
	r, err := suite.Run(t.Context(), p.Client, suite.Options{
		Workloads: all, Code: fsys, Different: true,
		Bench:  bench.Options{N: 1, Clones: []int{1, 2}, Kinds: []bench.Kind{"thaw", "cached", bench.KindWarm}, ReadaheadKiB: 0},
		Replay: bench.ReplayOptions{N: 2, Kinds: []bench.Kind{"thaw", "cached"}, Factor: 17, Command: func() *exec.Cmd { return exec.Command(bin, "stand-in") }},
		Save:   func(r suite.Result) error { saved = append(saved, r); return nil },
	}, suite.Progress{
		Deploying: func(string, int, int) {}, Event: func(thaw.DeployEvent) {},
		Measuring: func(int, int, string) {}, Replaying: func(int, int, string) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bench.Function{}
	for _, f := range r.Report.Functions {
		got[f.Name] = f
	}
	if f := got["add"]; f.Problem != "" || len(f.Samples) != 3*(1+2+2) || f.Memory == nil || f.Memory.Inputs == nil || f.MemoryMiB != 128 {
		t.Errorf("add: %d samples, %q, %+v", len(f.Samples), f.Problem, f.Memory)
	}
	if f := got["wrong"]; !strings.Contains(f.Problem, `want the result "3"`) || len(f.Samples) != 0 {
		t.Errorf("wrong: %d samples, problem %q", len(f.Samples), f.Problem)
	}
	if f := got["broken"]; !strings.Contains(f.Problem, "deploy") || len(f.Samples) != 0 {
		t.Errorf("broken: %d samples, problem %q", len(f.Samples), f.Problem)
	}
	if len(r.Problems()) != 2 || r.Report.Partial != "" || len(r.Deploys) != 4 {
		t.Errorf("problems %q, partial %q, deploys %+v", r.Problems(), r.Report.Partial, r.Deploys)
	}
	if r.Replay == nil || len(r.Replay.Functions) != 1 || len(r.Replay.Functions[0].Samples) != 4 {
		t.Errorf("replay %+v", r.Replay)
	}
	checkSaved(t, saved, r)
	if left, err := p.Functions(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}

// checkSaved wants that there was something to keep before the end, and that the
// last is all.
func checkSaved(t *testing.T, saved []suite.Result, r suite.Result) {
	t.Helper()
	if len(saved) < 2 || saved[0].Report.Partial == "" || !saved[0].Report.Measured() {
		t.Fatalf("%d results saved, the first partial because %q", len(saved), saved[0].Report.Partial)
	}
	if d := cmp.Diff(r, saved[len(saved)-1]); d != "" {
		t.Errorf("the last that was saved is another: %s", d)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back suite.Result
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, back); d != "" {
		t.Errorf("the result changes on its way through JSON: %s", d)
	}
}

func testSuiteInterrupt(t *testing.T, bin string, p *program) {
	out := t.TempDir()
	report := filepath.Join(out, "bench-report.json")
	cmd := exec.Command(bin, "bench", "suite", "helloworld", "-n", "500", "--policies", "cached", "--readahead", "0", "--out", out)
	cmd.Env = append(os.Environ(), "THAW_ADDR="+strings.TrimPrefix(p.Addr(), "http://"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(t, "a deploy", func() bool { all, err := p.Functions(t.Context()); return err == nil && len(all) > 0 })
	eventually(t, "the report of a round", func() bool { _, err := os.Stat(report); return err == nil })
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit %d, want 130", code)
	}
	b, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var r suite.Result
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	if r.Report.Partial == "" || !r.Report.Measured() || r.Report.Environment.LoadAfter == "" {
		t.Errorf("partial because %q, %+v", r.Report.Partial, r.Report.Environment)
	}
	for _, name := range []string{"bench-report.txt", "bench-report.bench"} {
		if b, err := os.ReadFile(filepath.Join(out, name)); err != nil || !strings.Contains(string(b), "helloworld") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, err := p.Functions(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}
