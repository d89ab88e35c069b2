package bench_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/perf/benchfmt"

	"thaw"
	"thaw/bench"
	"thaw/bench/analysis"
)

const ours = bench.Kind("thaw+pool")

// matrix is a function that was measured alone, and with others beside it.
func matrix() bench.Function {
	f := measured("hello")
	f.Memory = &analysis.Memory{Booted: 20000, WorkingSet: 1200, Runs: 500, Written: 300, Zero: 40, Inputs: &analysis.Inputs{Same: 1150, OnlyRecorded: 50, OnlyMeasured: 50}}
	f.Recordings = []bench.Recording{{Policy: thaw.PolicyThaw, Input: "a", Pages: 1200, InvocationMS: 360, PublishMS: 80.5}}
	f.Files = []thaw.SnapshotFile{{Name: "memory", Bytes: 256 << 20, DiskBytes: 50 << 20}, {Name: "loading-set-thaw", Bytes: 5 << 20, DiskBytes: 5 << 20}}
	f.Samples = nil
	for round := range 3 {
		for _, at := range []bench.Coordinates{{Clones: 1, Snapshots: bench.SameSnapshot}, {Clones: 2, Snapshots: bench.SameSnapshot}, {Clones: 2, Snapshots: bench.DifferentSnapshots}} {
			for clone := range at.Clones {
				for i, k := range []bench.Kind{vanilla, "reap-parallel", "reap-buffered", reap, bench.KindFloor, ours, bench.KindWarm} {
					s := sample(round+1, k, float64(200-20*i+100*clone+10*round), 12, map[string]float64{thaw.PhasePrefetch: float64(10 * i), thaw.PhaseInvoke: 20})
					s.Coordinates, s.Clone = at, clone
					s.Kind, s.Input, s.MemoryMiB = k, "b", 256
					f.Samples = append(f.Samples, s)
				}
			}
		}
	}
	return f
}

func TestCells(t *testing.T) {
	f := matrix()
	want := []bench.Coordinates{
		{Input: "b", Clones: 1, Snapshots: bench.SameSnapshot, MemoryMiB: 256},
		{Input: "b", Clones: 2, Snapshots: bench.SameSnapshot, MemoryMiB: 256},
		{Input: "b", Clones: 2, Snapshots: bench.DifferentSnapshots, MemoryMiB: 256},
	}
	if d := cmp.Diff(want, f.Cells()); d != "" {
		t.Error(d)
	}
	total := 0
	for _, cell := range want {
		in := f.In(cell)
		if n := len(in.Samples); n != 3*7*cell.Clones {
			t.Errorf("%v: %d samples", cell, n)
		}
		total += len(in.Samples)
	}
	if total != len(f.Samples) {
		t.Errorf("%d of %d samples are in a cell", total, len(f.Samples))
	}
	if got, want := f.Title(want[2]), "hello, input b, 2 at the same time of different snapshots"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLadder(t *testing.T) {
	steps := matrix().Ladder()
	mbps := func(ms float64, pages int64) float64 { return float64(pages*thaw.PageSize) / 1e3 / ms }
	want := []bench.Step{
		{Kind: vanilla, TotalMS: 210}, {Kind: "reap-parallel", TotalMS: 190, FetchMS: 10}, {Kind: "reap-buffered", TotalMS: 170, FetchMS: 20},
		{Kind: reap, TotalMS: 150, FetchMS: 30, MBps: mbps(30, 1200)},
	}
	if d := cmp.Diff(want, steps, near()); d != "" {
		t.Error(d)
	}
}

func TestCrowds(t *testing.T) {
	var got []bench.Crowd
	for _, c := range matrix().Crowds() {
		if c.Kind == reap {
			got = append(got, c)
		}
	}
	at := bench.Coordinates{Kind: reap, Input: "b", Clones: 1, Snapshots: bench.SameSnapshot, MemoryMiB: 256}
	two, different := at, at
	two.Clones, different.Clones, different.Snapshots = 2, 2, bench.DifferentSnapshots
	mib := func(ms float64) float64 { return ms * 20_000 / (1 << 20) }
	want := []bench.Crowd{
		{Coordinates: at, MedianMS: 150, MaxMS: 160, MiBRead: mib(150), PrivateMiB: 5},
		{Coordinates: two, MedianMS: 200, MaxMS: 260, MiBRead: mib(200), PrivateMiB: 5},
		{Coordinates: different, MedianMS: 200, MaxMS: 260, MiBRead: mib(200), PrivateMiB: 5},
	}
	if d := cmp.Diff(want, got, near()); d != "" {
		t.Error(d)
	}
}

// TestComparePairs: a round in which one of the two is missing says nothing.
func TestComparePairs(t *testing.T) {
	f := bench.Function{Samples: []bench.Sample{
		sample(1, reap, 10, 0, nil), sample(2, reap, 1000, 0, nil), sample(3, reap, 30, 0, nil),
		sample(1, vanilla, 20, 0, nil), sample(3, vanilla, 60, 0, nil), sample(4, vanilla, 1, 0, nil),
	}}
	r, ok := f.Compare(reap, vanilla)
	if d := cmp.Diff(bench.Ratio{Of: reap, Over: vanilla, Ratio: .5, Low: .5, High: .5}, r, near()); d != "" || !ok {
		t.Error(d)
	}
}

func TestWriteMatrix(t *testing.T) {
	r := report()
	r.Clones, r.Functions = 2, []bench.Function{matrix()}
	text := golden(t, "matrix.txt", func(b *bytes.Buffer) error { return r.WriteText(b) })
	_, table, _ := strings.Cut(text, "by how many start at the same time:\n")
	checkAligned(t, table, 1+7*3)
}

// TestWriteGoCoordinates: no two samples of different cells have one name.
func TestWriteGoCoordinates(t *testing.T) {
	r := report()
	r.Functions = []bench.Function{matrix()}
	r.Functions[0].Samples[0].Input = "a b/c=d\n"
	var b bytes.Buffer
	if err := r.WriteGo(&b); err != nil {
		t.Fatal(err)
	}
	names := map[string]int{}
	for reader := benchfmt.NewReader(&b, ""); reader.Scan(); {
		switch r := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			t.Error(r)
		case *benchfmt.Result:
			names[string(r.Name)]++
		}
	}
	for name, want := range map[string]int{
		"Start/function=hello/start=reap/input=b/clones=1/snapshots=same/memory=256MiB":           3,
		"Start/function=hello/start=thaw+pool/input=b/clones=2/snapshots=different/memory=256MiB": 6,
		"Start/function=hello/start=vanilla/input=a_b_c_d_/clones=1/snapshots=same/memory=256MiB": 1,
	} {
		if names[name] != want {
			t.Errorf("%d samples of %s, want %d", names[name], name, want)
		}
	}
	if len(names) != 3*7+1 {
		t.Errorf("%d names: %v", len(names), names)
	}
}

func TestJSON(t *testing.T) {
	r := report()
	r.Partial, r.Clones, r.Functions = "interrupted", 2, []bench.Function{matrix()}
	r.Functions[0].Problem = "it broke"
	r.Functions[0].Refusals = []bench.Refusal{{Coordinates: r.Functions[0].Samples[3].Coordinates, Round: 2, Why: "warm"}}
	b, err := json.Marshal(r.WithFindings())
	if err != nil {
		t.Fatal(err)
	}
	var back bench.Found
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r.WithFindings(), back); d != "" {
		t.Error(d)
	}
	if len(back.Findings) != 3 || len(back.Crowds["hello"]) != 21 || len(back.Ladders["hello"]) != 4 {
		t.Errorf("findings %v", back.Findings)
	}
}

func TestWarnings(t *testing.T) {
	calm := report()
	calm.Functions = nil
	if got := calm.Warnings(); len(got) != 0 {
		t.Errorf("of nothing: %q", got)
	}
	r := report()
	r.Environment.LoadBefore, r.Environment.Noise.Steal, r.Partial = "1.50 1 1 1/1 1", 0.05, "interrupted"
	r.Functions[0].Problem = "it broke"
	r.Functions[0].Refusals = []bench.Refusal{{Why: "not cold"}}
	got := strings.Join(r.Warnings(), "\n")
	for _, want := range []string{"load 1.50 on 2 cores", "5.0 % of the processors", "partial: interrupted", "hello: it broke", "1 measurements were refused, the last: not cold", "hello, reap: the middle half", "5 medians are of fewer"} {
		if !strings.Contains(got, want) {
			t.Errorf("no warning of %q:\n%s", want, got)
		}
	}
}

// TestWarningsAreFew: what spreads everywhere is not told a hundred times.
func TestWarningsAreFew(t *testing.T) {
	r := report()
	for range 30 {
		r.Functions = append(r.Functions, measured("more"))
	}
	if got := r.Warnings(); len(got) > 12 || !strings.Contains(strings.Join(got, "\n"), "and 23 more") {
		t.Errorf("%d warnings: %q", len(got), got)
	}
}
