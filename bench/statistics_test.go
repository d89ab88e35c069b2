package bench_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/bench"
)

func TestSpreadOf(t *testing.T) {
	for name, c := range map[string]struct {
		values []float64
		want   bench.Spread
	}{
		"None":  {nil, bench.Spread{}},
		"One":   {[]float64{7}, bench.Spread{Min: 7, Q1: 7, Median: 7, Q3: 7, Max: 7}},
		"Two":   {[]float64{3, 1}, bench.Spread{Min: 1, Q1: 1, Median: 2, Q3: 3, Max: 3}},
		"Three": {[]float64{30, 10, 20}, bench.Spread{Min: 10, Q1: 15, Median: 20, Q3: 25, Max: 30}},
		"Four":  {[]float64{4, 1, 3, 2}, bench.Spread{Min: 1, Q1: 1.5, Median: 2.5, Q3: 3.5, Max: 4}},
		// Odd: the middle value, 7, is in both halves.
		"Nine":     {[]float64{15, 3, 9, 7, 6, 13, 1, 8, 5}, bench.Spread{Min: 1, Q1: 5, Median: 7, Q3: 9, Max: 15}},
		"Ten":      {[]float64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, bench.Spread{Min: 1, Q1: 3, Median: 5.5, Q3: 8, Max: 10}},
		"Ties":     {[]float64{2, 2, 2, 2, 9}, bench.Spread{Min: 2, Q1: 2, Median: 2, Q3: 2, Max: 9}},
		"Negative": {[]float64{-1, -2, 0, 4}, bench.Spread{Min: -2, Q1: -1.5, Median: -0.5, Q3: 2, Max: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			given := slices.Clone(c.values)
			if d := cmp.Diff(c.want, bench.SpreadOf(given)); d != "" {
				t.Error(d)
			}
			if !slices.Equal(given, c.values) {
				t.Error("SpreadOf changes what it is given")
			}
		})
	}
}

func TestKind(t *testing.T) {
	for k, want := range map[bench.Kind]struct {
		start  thaw.Start
		policy thaw.Policy
		pool   bool
	}{
		boot:           {thaw.StartBoot, thaw.PolicyBoot, false},
		vanilla:        {thaw.StartCold, thaw.PolicyVanilla, false},
		"thaw+pool":    {thaw.StartCold, thaw.PolicyThaw, true},
		"cached":       {thaw.StartCold, thaw.PolicyVanilla, false},
		"cached+pool":  {thaw.StartCold, thaw.PolicyVanilla, true},
		bench.KindWarm: {thaw.StartWarm, "", false},
	} {
		if k.Start() != want.start || k.Policy() != want.policy || k.Pool() != want.pool {
			t.Errorf("%s: start %s, policy %q, pool %v; want %+v", k, k.Start(), k.Policy(), k.Pool(), want)
		}
	}
}

func TestKinds(t *testing.T) {
	got := bench.Kinds([]bench.Kind{boot, reap, "thaw+pool", "cached", reap})
	want := []bench.Kind{boot, reap, "thaw+pool", "cached", "reap+pool", "cached+pool", bench.KindWarm}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestParseKind(t *testing.T) {
	for _, s := range []string{"boot", "vanilla", "reap+pool", "cached", "cached+pool", "per-region"} {
		if k, err := bench.ParseKind(s); err != nil || string(k) != s {
			t.Errorf("ParseKind(%q) = %q, %v", s, k, err)
		}
	}
	for _, s := range []string{"", "auto", "boot+pool", "reap+", "warm", "+pool", "reap+pool+pool"} {
		if _, err := bench.ParseKind(s); thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), "cached") {
			t.Errorf("ParseKind(%q) = %v, want an error that lists what there is", s, err)
		}
	}
}

const (
	boot    = bench.Kind(thaw.PolicyBoot)
	vanilla = bench.Kind(thaw.PolicyVanilla)
	reap    = bench.Kind(thaw.PolicyReap)
)

// sample is an invocation of a function that took total milliseconds.
func sample(round int, k bench.Kind, total float64, trapped int64, phases map[string]float64) bench.Sample {
	s := bench.Sample{Coordinates: bench.Coordinates{Kind: k, Clones: 1, Snapshots: bench.SameSnapshot, MemoryMiB: 256}, Round: round, WallMS: total + 1.5}
	s.ID, s.Function, s.Start, s.DurationMS, s.PhasesMS = "id", "hello", k.Start(), total, phases
	s.Faults = thaw.Faults{Trapped: trapped, Major: trapped / 10, Minor: 2000}
	s.BytesRead = int64(total * 20_000)
	if k == reap {
		s.PagesPrefetched = 1200
		s.Quality = &thaw.Quality{Brought: 1200, Hits: 1140, Misses: 60}
		s.Memory = &thaw.MemoryUse{Resident: 8 << 20, Private: 5 << 20}
	}
	return s
}

// report is of two rounds, taken in turns.
func report() bench.Report {
	return bench.Report{
		Clones: 1, Functions: []bench.Function{measured("hello")},
		Environment: bench.Environment{
			Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Kernel: "6.1.0-40-amd64", CPU: "Some CPU @ 2.40GHz", Cores: 2,
			Accelerator: "KVM: the guest kernel boots in 600 ms", VMM: "qemu 7.2.22 (Debian 1:7.2+dfsg-7)", Version: "v1",
			ReadaheadBefore: 8192, ReadaheadDuring: 128, LoadBefore: "0.10 0.20 0.30 1/99 1234",
			LoadAfter: "0.20 0.20 0.30 1/99 1234", DiskModel: "virtio_blk, vda", Disk: bench.Disk{SequentialMBps: 900, Random4KiBUS: 110},
			Noise: bench.Noise{Steal: 0.002, CPUPressure: 0.25, IOPressure: 0.125},
		},
	}
}

func measured(name string) bench.Function {
	f := bench.Function{Name: name, MemoryMiB: 256, SnapshotBytes: 60 << 20, WorkingSetPages: 1200, HostPages: 3000}
	for round, extra := range []float64{0, 40} {
		f.Samples = append(f.Samples,
			sample(round+1, boot, 4000+extra, 0, map[string]float64{thaw.PhaseVMM: 60, thaw.PhaseBoot: 2700 + extra, thaw.PhaseInit: 1200, thaw.PhaseInvoke: 12}),
			sample(round+1, vanilla, 220+extra, 0, map[string]float64{
				thaw.PhasePlan: 1.25, thaw.PhaseVMM: 55, thaw.PhaseLayout: 0, thaw.PhaseState: 15, thaw.PhaseResume: 9.96, thaw.PhaseInvoke: 100 + extra,
			}),
			sample(round+1, reap, 110+extra, 12, map[string]float64{
				thaw.PhasePlan: 1.25, thaw.PhaseVMM: 55, thaw.PhaseLayout: 1 + extra/100, thaw.PhasePrefetch: 5, thaw.PhaseState: 15, thaw.PhaseResume: 9, thaw.PhaseInvoke: 20 + extra,
			}),
			sample(round+1, bench.KindFloor, 100+extra/2, 0, map[string]float64{thaw.PhaseVMM: 5, thaw.PhaseInvoke: 20 + extra/2}),
			sample(round+1, bench.KindWarm, 2, 0, map[string]float64{thaw.PhaseInvoke: 1.5}),
		)
	}
	return f
}

func TestFindings(t *testing.T) {
	got := measured("hello").Findings()
	want := bench.Findings{
		Ratios:         []bench.Ratio{{Of: reap, Over: vanilla, Ratio: 130. / 240, Low: 110. / 220, High: 150. / 260}},
		FaultsLeft:     0.01,
		LayoutMS:       1.2, // of 1 and 1.4
		WarmOverheadMS: 2,   // 3.5 as the client sees it, less 1.5
	}
	if d := cmp.Diff(want, got, near()); d != "" {
		t.Error(d)
	}
}

// TestCompare: the interval of what is always twice another is a point, however
// much both vary, because they are compared by round.
func TestCompare(t *testing.T) {
	var f bench.Function
	for round := range 12 {
		ms := float64(100 + 17*(round%5))
		f.Samples = append(f.Samples, sample(round+1, reap, ms, 0, nil), sample(round+1, vanilla, 2*ms, 0, nil), sample(round+1, bench.KindFloor, ms-7, 0, nil))
	}
	r, ok := f.Compare(reap, vanilla)
	if d := cmp.Diff(bench.Ratio{Of: reap, Over: vanilla, Ratio: .5, Low: .5, High: .5}, r, near()); d != "" || !ok {
		t.Error(d)
	}
	if over, ok := f.OverFloor(reap); !ok || math.Abs(over-7) > 1e-9 {
		t.Errorf("reap is %v ms over the floor, want 7", over)
	}
	if _, ok := f.Compare(reap, boot); ok {
		t.Error("compared with what was not measured")
	}
}

// TestFindingsOfLess: what was not measured is zero, not infinite.
func TestFindingsOfLess(t *testing.T) {
	for name, f := range map[string]bench.Function{
		"Nothing":  {},
		"NoKinds":  {WorkingSetPages: 10},
		"NoReap":   {Samples: measured("hello").Samples[:2]},
		"OnlyReap": {Samples: []bench.Sample{sample(1, reap, 100, 3, nil)}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(bench.Findings{}, f.Findings()); d != "" {
				t.Error(d)
			}
		})
	}
}

// near forgives what floating point rounds.
func near() cmp.Option {
	return cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })
}

func TestKindsAndPhases(t *testing.T) {
	f := measured("hello")
	if d := cmp.Diff([]bench.Kind{boot, vanilla, reap, bench.KindFloor, bench.KindWarm}, f.Kinds()); d != "" {
		t.Error(d)
	}
	f.Samples = f.Samples[1:3] // no phase of a boot
	if d := cmp.Diff([]bench.Kind{vanilla, reap}, f.Kinds()); d != "" {
		t.Error(d)
	}
	want := []string{thaw.PhasePlan, thaw.PhaseVMM, thaw.PhaseLayout, thaw.PhasePrefetch, thaw.PhaseState, thaw.PhaseResume, thaw.PhaseInvoke}
	if d := cmp.Diff(want, f.Phases()); d != "" {
		t.Error(d)
	}
	if got := (bench.Function{}).Phases(); len(got) != 0 {
		t.Errorf("phases of nothing are %v", got)
	}
}
