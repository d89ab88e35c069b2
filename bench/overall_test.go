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
