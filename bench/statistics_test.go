package bench_test

import (
	"math"
	"slices"
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

func TestKindStart(t *testing.T) {
	for k, want := range map[bench.Kind]thaw.Start{
		bench.KindBoot: thaw.StartBoot, bench.KindVanilla: thaw.StartCold, bench.KindReap: thaw.StartCold, bench.KindWarm: thaw.StartWarm,
	} {
		if got := k.Start(); got != want {
			t.Errorf("%s starts %s, want %s", k, got, want)
		}
	}
}

// sample is an invocation of a function that took total milliseconds.
func sample(round int, k bench.Kind, total float64, trapped int64, phases map[string]float64) bench.Sample {
	s := bench.Sample{Kind: k, Round: round, WallMS: total + 1.5}
	s.ID, s.Function, s.Start, s.DurationMS, s.PhasesMS = "id", "hello", k.Start(), total, phases
	s.Faults = thaw.Faults{Trapped: trapped, Major: trapped / 10, Minor: 2000}
	s.BytesRead = int64(total * 20_000)
	if k == bench.KindReap {
		s.PagesPrefetched = 1200
	}
	return s
}

// report is of two rounds, taken in turns.
func report() bench.Report {
	r := bench.Report{
		Function: "hello", WorkingSetPages: 1200,
		Environment: bench.Environment{
			Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Kernel: "6.1.0-40-amd64", CPU: "Some CPU @ 2.40GHz", Cores: 2,
			Accelerator: "KVM: the guest kernel boots in 600 ms", VMM: "qemu 7.2.22 (Debian 1:7.2+dfsg-7)", Version: "v1", MemoryMiB: 256,
			ReadaheadBefore: 8192, ReadaheadDuring: 128, LoadBefore: "0.10 0.20 0.30 1/99 1234",
		},
	}
	for round, extra := range []float64{0, 40} {
		r.Samples = append(r.Samples,
			sample(round+1, bench.KindBoot, 4000+extra, 0, map[string]float64{thaw.PhaseVMM: 60, thaw.PhaseBoot: 2700 + extra, thaw.PhaseInit: 1200, thaw.PhaseInvoke: 12}),
			sample(round+1, bench.KindVanilla, 220+extra, 0, map[string]float64{
				thaw.PhasePlan: 1.25, thaw.PhaseVMM: 55, thaw.PhaseLayout: 0, thaw.PhaseState: 15, thaw.PhaseResume: 9.96, thaw.PhaseInvoke: 100 + extra,
			}),
			sample(round+1, bench.KindReap, 110+extra, 12, map[string]float64{
				thaw.PhasePlan: 1.25, thaw.PhaseVMM: 55, thaw.PhaseLayout: 1 + extra/100, thaw.PhasePrefetch: 5, thaw.PhaseState: 15, thaw.PhaseResume: 9, thaw.PhaseInvoke: 20 + extra,
			}),
			sample(round+1, bench.KindWarm, 2, 0, map[string]float64{thaw.PhaseInvoke: 1.5}),
		)
	}
	return r
}

func TestFindings(t *testing.T) {
	got := report().Findings()
	want := bench.Findings{
		ReapOverVanilla: 130. / 240,
		FaultsLeft:      0.01,
		LayoutMS:        0.5, // of 0, 0, 1 and 1.4
		WarmOverheadMS:  2,   // 3.5 as the client sees it, less 1.5
	}
	if d := cmp.Diff(want, got, near()); d != "" {
		t.Error(d)
	}
}

// near forgives what floating point rounds.
func near() cmp.Option {
	return cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })
}

// TestFindingsOfLess: what was not measured is zero, not infinite.
func TestFindingsOfLess(t *testing.T) {
	for name, r := range map[string]bench.Report{
		"Nothing":  {},
		"NoKinds":  {WorkingSetPages: 10},
		"NoReap":   {Samples: report().Samples[:2]},
		"OnlyReap": {Samples: []bench.Sample{sample(1, bench.KindReap, 100, 3, nil)}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(bench.Findings{}, r.Findings()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestKindsAndPhases(t *testing.T) {
	r := report()
	if d := cmp.Diff([]bench.Kind{bench.KindBoot, bench.KindVanilla, bench.KindReap, bench.KindWarm}, r.Kinds()); d != "" {
		t.Error(d)
	}
	r.Samples = r.Samples[1:3] // no phase of a boot
	if d := cmp.Diff([]bench.Kind{bench.KindVanilla, bench.KindReap}, r.Kinds()); d != "" {
		t.Error(d)
	}
	want := []string{thaw.PhasePlan, thaw.PhaseVMM, thaw.PhaseLayout, thaw.PhasePrefetch, thaw.PhaseState, thaw.PhaseResume, thaw.PhaseInvoke}
	if d := cmp.Diff(want, r.Phases()); d != "" {
		t.Error(d)
	}
	if got := (bench.Report{}).Phases(); len(got) != 0 {
		t.Errorf("phases of nothing are %v", got)
	}
}
