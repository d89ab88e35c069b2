package peers

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/perf/benchfmt"
	"golang.org/x/sys/unix"

	"thaw"
	"thaw/bench"
)

var update = flag.Bool("update", false, "write the golden files anew")

// report is of four rounds, in which qemu took twice what thaw took.
func report() Report {
	r := Report{
		Function: "hello", MemoryMiB: 256, Event: json.RawMessage(`{"name":"Ada"}`),
		Environment: bench.Environment{
			Kernel: "6.1.0-40-amd64", CPU: "Some CPU @ 2.40GHz", Cores: 2, Accelerator: "KVM: the guest kernel boots in 600 ms",
			VMM: "qemu 7.2.22", Version: "v1", ReadaheadBefore: 8192, ReadaheadDuring: 128, LoadBefore: "0.10 0.20 0.30 1/99 1234",
		},
		Peers: []Peer{
			{Name: Thaw, Version: "v1", SnapshotBytes: 60 << 20},
			{Name: QEMU, Version: "qemu 7.2.22", SnapshotBytes: 71 << 20},
		},
		Skipped: []Skip{{CRIU, "there is no criu: install the package criu"}},
	}
	for round, ms := range []float64{100, 140, 110, 130} {
		r.Peers[0].Samples = append(r.Peers[0].Samples, Sample{Round: round + 1, WallMS: ms, BytesRead: 8 << 20, Policy: thaw.PolicyThaw})
		r.Peers[1].Samples = append(r.Peers[1].Samples, Sample{Round: round + 1, WallMS: 2 * ms, BytesRead: 71 << 20})
	}
	return r
}

func TestWriteText(t *testing.T) {
	var got bytes.Buffer
	if err := report().WriteText(&got); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/report.txt"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Error(d)
	}
}

func TestWriteGo(t *testing.T) {
	var b bytes.Buffer
	if err := report().WriteGo(&b); err != nil {
		t.Fatal(err)
	}
	results := 0
	for r := benchfmt.NewReader(&b, "report"); r.Scan(); {
		result, ok := r.Result().(*benchfmt.Result)
		if !ok {
			t.Fatalf("not a result: %v", r.Result())
		}
		if ms, ok := result.Value("sec/op"); !ok || ms < 0.1 || ms > 0.28 {
			t.Errorf("%s took %v s", result.Name, ms)
		}
		results++
	}
	if results != 8 {
		t.Errorf("%d results, want 8", results)
	}
}

func TestRatios(t *testing.T) {
	want := []bench.Ratio{{Of: QEMU, Over: Thaw, Ratio: 2, Low: 2, High: 2}}
	if d := cmp.Diff(want, report().WithRatios().Ratios); d != "" {
		t.Error(d)
	}
	if got := (Report{Peers: []Peer{{Name: QEMU}}}).WithRatios().Ratios; len(got) != 0 {
		t.Errorf("nothing was compared with nothing: %v", got)
	}
}

// TestCheck: replies are compared as values, not as text.
func TestCheck(t *testing.T) {
	m := &measurement{expected: map[string]any{"a": 1., "b": []any{"x"}}}
	if err := m.check([]byte(`{"b": ["x"], "a": 1.0}`)); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{``, `null`, `{"a": 1}`, `{"a": 2, "b": ["x"]}`, `{"errorType": "KeyError"}`} {
		if m.check([]byte(wrong)) == nil {
			t.Errorf("the reply %q passed", wrong)
		}
	}
}

func TestOneLine(t *testing.T) {
	got, err := oneLine([]byte("{\n  \"a\": \"b c\\n\"\n}\n"))
	if string(got) != `{"a":"b c\n"}` || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := oneLine([]byte(`{`)); thaw.CodeOf(err) != thaw.CodeInvalid {
		t.Errorf("half an event: %v", err)
	}
}

// TestMissing: what is not there is said with what to do.
func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := findRunsc(t.Context(), Options{Cache: t.TempDir()})
	if thaw.CodeOf(err) != thaw.CodeUnavailable || !strings.Contains(err.Error(), "--runsc") {
		t.Errorf("no Go: %v", err)
	}
	_, err = findCriu(t.Context(), "")
	if thaw.CodeOf(err) != thaw.CodeUnavailable || !strings.Contains(err.Error(), "--criu") {
		t.Errorf("no criu: %v", err)
	}
	if _, err = findRunsc(t.Context(), Options{Runsc: "/nowhere/runsc"}); thaw.CodeOf(err) != thaw.CodeInvalid {
		t.Errorf("no such runsc: %v", err)
	}
	if _, err = findCriu(t.Context(), "/nowhere/criu"); thaw.CodeOf(err) != thaw.CodeInvalid {
		t.Errorf("no such criu: %v", err)
	}
}

// TestCriuOfAnotherKernel: its own words are part of the reason.
func TestCriuOfAnotherKernel(t *testing.T) {
	program := filepath.Join(t.TempDir(), "criu")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho unexpected vDSO >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := findCriu(t.Context(), program)
	if thaw.CodeOf(err) != thaw.CodeUnavailable || !strings.Contains(err.Error(), "unexpected vDSO") {
		t.Errorf("%v", err)
	}
}

// TestSweep: what a killed run left is removed, and what another one uses is not.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, workPrefix+"killed", "root")
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	first, err := newWork(dir, dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := newWork(dir, dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Base(first.dir), filepath.Base(second.dir)}
	if got := list(t, dir); !cmp.Equal(got, want, cmp.Transformer("sort", sorted)) {
		t.Errorf("folders %q, want %q", got, want)
	}
	if err := errors.Join(first.Close(), second.Close()); err != nil {
		t.Fatal(err)
	}
	if got := list(t, dir); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

func sorted(names []string) map[string]bool {
	set := map[string]bool{}
	for _, n := range names {
		set[n] = true
	}
	return set
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestAnotherDisk: the peers' files must be read from the same disk.
func TestAnotherDisk(t *testing.T) {
	dir := t.TempDir()
	var here, shm unix.Stat_t
	if errors.Join(unix.Stat(dir, &here), unix.Stat("/dev/shm", &shm)) != nil || here.Dev == shm.Dev {
		t.Skip("/dev/shm is no other file system: mount a tmpfs there")
	}
	if _, err := newWork(dir, "/dev/shm"); thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), "--dir") {
		t.Errorf("another disk: %v", err)
	}
	if got := list(t, dir); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}
