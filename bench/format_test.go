package bench_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchmath"

	"thaw"
	"thaw/bench"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares what write writes with a file in testdata.
func golden(t *testing.T, name string, write func(*bytes.Buffer) error) string {
	t.Helper()
	var got bytes.Buffer
	if err := write(&got); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Error(d)
	}
	return got.String()
}

func TestWriteText(t *testing.T) {
	text := golden(t, "report.txt", func(b *bytes.Buffer) error { return report().WriteText(b) })
	tables := strings.Split(text, "\n\n")
	checkAligned(t, tables[3], 6)
	checkAligned(t, tables[4], 6)
}

// TestWriteTwo adds the table that compares functions.
func TestWriteTwo(t *testing.T) {
	r := report()
	r.Functions = append(r.Functions, measured("other"))
	r.Functions[1].MemoryMiB = 4096
	text := golden(t, "two.txt", func(b *bytes.Buffer) error { return r.WriteText(b) })
	_, table, _ := strings.Cut(text, "warm invocation\n")
	checkAligned(t, table, 3)
}

func TestWriteTable(t *testing.T) {
	checkAligned(t, golden(t, "table.txt", func(b *bytes.Buffer) error { return measured("hello").WriteTable(b) }), 6)
}

// checkAligned checks that all lines of a table end in the same column, as right
// alignment makes them.
func checkAligned(t *testing.T, table string, lines int) {
	t.Helper()
	rows := strings.Split(strings.TrimRight(table, "\n"), "\n")
	if len(rows) != lines {
		t.Errorf("table has %d lines, want %d:\n%s", len(rows), lines, table)
	}
	for _, r := range rows {
		if len(r) != len(rows[0]) {
			t.Errorf("columns do not align:\n%s", table)
			return
		}
		if strings.TrimSpace(r) == "" {
			t.Errorf("table has an empty line:\n%s", table)
		}
	}
}

// TestWriteNothing: a run that ended before its first sample can be written.
func TestWriteNothing(t *testing.T) {
	var b bytes.Buffer
	r := bench.Report{Functions: []bench.Function{{Name: "hello"}, {Name: "other"}}}
	if err := errors.Join(r.WriteText(&b), r.Functions[0].WriteTable(&b), r.WriteGo(&b)); err != nil {
		t.Error(err)
	}
	if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf") {
		t.Errorf("not a number:\n%s", &b)
	}
}

var errFull = errors.New("disk full")

// full is a disk with room for n bytes.
type full struct{ n int }

func (f *full) Write(b []byte) (int, error) {
	if f.n -= len(b); f.n < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestWriteToAFullDisk(t *testing.T) {
	r := report()
	for _, room := range []int{0, 300, 800} {
		for name, err := range map[string]error{"WriteText": r.WriteText(&full{room}), "WriteTable": r.Functions[0].WriteTable(&full{room % 300}), "WriteGo": r.WriteGo(&full{room})} {
			if !errors.Is(err, errFull) {
				t.Errorf("%s with room for %d bytes = %v", name, room, err)
			}
		}
	}
}

// TestWriteGo reads what is written with the reader that benchstat uses.
func TestWriteGo(t *testing.T) {
	text := golden(t, "report.bench", func(b *bytes.Buffer) error { return report().WriteGo(b) })
	reader := benchfmt.NewReader(strings.NewReader(text), "report.bench")
	samples := measured("hello").Samples
	n := 0
	for reader.Scan() {
		switch r := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			t.Error(r)
		case *benchfmt.Result:
			if n < len(samples) {
				checkResult(t, r, samples[n])
			}
			n++
		}
	}
	if err := reader.Err(); err != nil {
		t.Error(err)
	}
	if n != len(samples) {
		t.Errorf("%d results, want %d", n, len(samples))
	}
	units := reader.Units()
	if b := units.GetBetter("trapped"); b != -1 {
		t.Errorf("better of trapped is %d, want -1: fewer", b)
	}
	if a := units.GetAssumption("prefetched-pages"); a != benchmath.AssumeExact {
		t.Errorf("assumption of prefetched-pages is %v, want exact", a)
	}
	if u := units.Get("trapped", "better"); u == nil || u.Value != "lower" {
		t.Errorf("metadata of trapped is %+v", u)
	}
}

func checkResult(t *testing.T, r *benchfmt.Result, s bench.Sample) {
	t.Helper()
	if got, want := string(r.Name), "Start/function=hello/start="+string(s.Kind)+"/input=event/clones=1/snapshots=same/memory=256MiB"; got != want {
		t.Errorf("name is %q, want %q", got, want)
	}
	if got, want := string(r.Name.Base()), "Start"; got != want {
		t.Errorf("base name is %q, want %q", got, want)
	}
	got := map[string]float64{}
	for _, unit := range []string{"sec/op", "trapped", "major", "minor", "read-B", "prefetched-pages"} {
		v, ok := r.Value(unit)
		if !ok {
			t.Errorf("no value in %s", unit)
		}
		got[unit] = v
	}
	want := map[string]float64{
		"sec/op": s.DurationMS / 1e3, "trapped": float64(s.Faults.Trapped), "major": float64(s.Faults.Major), "minor": float64(s.Faults.Minor),
		"read-B": float64(s.BytesRead), "prefetched-pages": float64(s.PagesPrefetched),
	}
	if d := cmp.Diff(want, got, near()); d != "" {
		t.Error(d)
	}
	for key, want := range map[string]string{
		"kernel": "6.1.0-40-amd64", "cpu": "Some CPU @ 2.40GHz", "cores": "2", "vmm": "qemu 7.2.22 (Debian 1:7.2+dfsg-7)",
		"thaw": "v1", "disk": "virtio_blk, vda", "load-after": "0.20 0.20 0.30 1/99 1234", "readahead-kib": "128", "load": "0.10 0.20 0.30 1/99 1234",
	} {
		if got := r.GetConfig(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}

// TestWriteGoNames: a name may look like the parts of the format.
func TestWriteGoNames(t *testing.T) {
	for _, name := range []string{"a", "json-8", "A_b-c-16", strings.Repeat("x", thaw.MaxNameLen)} {
		r := report()
		r.Functions[0].Name = name
		var b bytes.Buffer
		if err := r.WriteGo(&b); err != nil {
			t.Fatal(err)
		}
		for reader := benchfmt.NewReader(&b, ""); reader.Scan(); {
			switch r := reader.Result().(type) {
			case *benchfmt.SyntaxError:
				t.Error(r)
			case *benchfmt.Result:
				if !strings.HasPrefix(string(r.Name), "Start/function="+name+"/start=") {
					t.Errorf("name of function %s is %q", name, r.Name)
				}
			}
		}
	}
}

// TestWriteGoAssumptions: benchstat warns of a unit that is said to be exact
// when its samples differ, as faults do from one restore to the next.
func TestWriteGoAssumptions(t *testing.T) {
	r := report()
	samples := r.Functions[0].Samples
	for i := range samples {
		samples[i].Faults.Trapped += int64(samples[i].Round) // 1 more in the second round
	}
	var b bytes.Buffer
	if err := r.WriteGo(&b); err != nil {
		t.Fatal(err)
	}
	values := map[string][]float64{}
	reader := benchfmt.NewReader(&b, "")
	for reader.Scan() {
		if res, ok := reader.Result().(*benchfmt.Result); ok {
			v, _ := res.Value("trapped")
			values[string(res.Name)] = append(values[string(res.Name)], v)
		}
	}
	thresholds := benchmath.DefaultThresholds
	for name, v := range values {
		s := reader.Units().GetAssumption("trapped").Summary(benchmath.NewSample(v, &thresholds), 0.95)
		for _, w := range s.Warnings {
			if strings.Contains(w.Error(), "exact") {
				t.Errorf("%s: benchstat warns: %v", name, w)
			}
		}
	}
}
