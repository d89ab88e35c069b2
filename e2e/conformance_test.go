package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"thaw"
	"thaw/conformance"
)

// TestConformance runs the suite in short form: few clones, two policies.
func TestConformance(t *testing.T) {
	bin := build(t)
	p := serve(t, bin, t.TempDir())
	cmd := exec.Command(bin, "conformance", "--addr", p.Addr(), "--policy", "thaw,vanilla", "--clones", "2", "-o", "json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%v\n%s%s\nthe daemon's log:\n%s", err, out, &stderr, p.err)
	}
	var report conformance.Report
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v: %s%s", err, out, &stderr)
	}
	var names []string
	for _, r := range report.Results {
		names = append(names, r.Test)
		t.Logf("%s: %s, %s", r.Test, r.Result, r.Seen)
	}
	if !slices.Equal(names, conformance.TestNames()) {
		t.Errorf("tests %q, want %q", names, conformance.TestNames())
	}
	if report.Restores != 16 { // of the first version 1; by thaw 1 that records and 2, by vanilla 2; as many of the other runtimes
		t.Errorf("%d restores, want 16", report.Restores)
	}
	if left, err := p.Functions(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("functions left: %v, %v", left, err)
	}
}

// TestUnprovenRestore deploys into guests that cannot reseed after their snapshot,
// because they close what they need for that. Their clones must not serve.
func TestUnprovenRestore(t *testing.T) {
	requirements(t)
	agent := goBuild(t, "thaw-agent", "../cmd/thaw-agent", overlay(t, "../agent/guest/boot/system.go", func(source []byte) []byte {
		const head = "func (System) Quiesce() error {\n"
		if bytes.Count(source, []byte(head)) != 1 {
			t.Fatal("Quiesce is not where this test changes it")
		}
		return bytes.Replace(source, []byte(head), []byte("func (s System) Quiesce() error {\n\t_ = unix.Close(s.random)\n"), 1)
	}))
	bin := goBuild(t, "thaw", "../cmd/thaw", overlay(t, "../image/embedded/thaw-agent", func([]byte) []byte {
		b, err := os.ReadFile(agent)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}))
	p := serve(t, bin, t.TempDir())
	p.deploy(t, "probe", "testdata/probe")
	d, err := p.Describe(t.Context(), "probe")
	if err != nil || d.Snapshot != "" || !strings.Contains(d.Problem, "not fit to serve") || !strings.Contains(d.Problem, "bad file descriptor") {
		t.Fatalf("snapshot %q, problem %q, %v: want none, because its clone was refused", d.Snapshot, d.Problem, err)
	}
	reply, err := p.Invoke(t.Context(), thaw.InvokeRequest{Function: "probe", Payload: []byte(helloEvent), Policy: thaw.PolicyThaw, Cold: true})
	if err != nil || reply.Start != thaw.StartBoot || reply.FunctionError != "" {
		t.Errorf("start %q, %v: want a boot instead", reply.Start, err)
	}
}

// goBuild builds a static program.
func goBuild(t *testing.T, name, folder string, args ...string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-o", bin}, args...), folder)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return bin
}

// overlay returns arguments of go build that put another content in a file's
// place. The file need not be there.
func overlay(t *testing.T, file string, change func([]byte) []byte) string {
	t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	dir := t.TempDir()
	changed, list := filepath.Join(dir, filepath.Base(path)), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{changed: change(source), list: replace} {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return "-overlay=" + list
}
