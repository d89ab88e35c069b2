package bench_test

import (
	"math"
	"testing"

	"thaw/bench"
)

// TestOverall: over functions counts the geometric mean, and nothing else.
func TestOverall(t *testing.T) {
	var r bench.Report
	for _, twice := range []float64{2, 8} {
		var f bench.Function
		for round := range 10 {
			ms := float64(100 + 7*(round%3))
			f.Samples = append(f.Samples, sample(round, vanilla, twice*ms, 0, nil), sample(round, reap, ms, 0, nil)) // from 0
		}
		r.Functions = append(r.Functions, f)
	}
	got, ok := r.Overall(vanilla, reap)
	if !ok || math.Abs(got.Ratio-4) > 1e-9 || math.Abs(got.Low-4) > 1e-9 || math.Abs(got.High-4) > 1e-9 || !got.Certain() {
		t.Errorf("%+v, %v, want 4 for sure", got, ok)
	}
	if same, _ := r.Overall(reap, reap); same.Certain() {
		t.Errorf("reap is not itself: %+v", same)
	}
	if _, ok := r.Overall(reap, boot); ok {
		t.Error("compared with what was not measured")
	}
	if low, high := r.Functions[0].Interval(reap); low < 100 || low > high || high > 114 {
		t.Errorf("the median of 100 to 114 lies between %v and %v", low, high)
	}
}

// TestOverDisk: until the set is in place counts, against the median of the disk's rates.
func TestOverDisk(t *testing.T) {
	replayed := func(installed ...float64) (f bench.Replayed) {
		f.SetBytes, f.Disks = 10e6, []bench.Disk{{SequentialMBps: 900}, {SequentialMBps: 1000}, {SequentialMBps: 5000}} // 10 ms
		for _, ms := range installed {
			f.Samples = append(f.Samples, bench.ReplaySample{Kind: "thaw", InstalledMS: ms}, bench.ReplaySample{Kind: "reap", InstalledMS: 500})
		}
		return f
	}
	r := bench.ReplayReport{Functions: []bench.Replayed{replayed(19, 20, 90), replayed(80)}}
	if got, ok := r.OverDisk(); !ok || math.Abs(got-4) > 1e-9 {
		t.Errorf("%v, %v, want the mean of 2 and 8", got, ok)
	}
	r.Functions[0].Disks = nil
	if got, ok := r.OverDisk(); ok {
		t.Errorf("%v without a disk", got)
	}
}
