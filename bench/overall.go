package bench

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
)

// Certain says that the interval of r leaves no doubt which of the two is faster.
func (r Ratio) Certain() bool { return r.High < 1 || r.Low > 1 }

// Overall compares two kinds over all functions, by the geometric mean of the
// ratios of their medians: no function counts for more because it takes longer.
// It is false when one of the kinds was not measured for each function.
func (r Report) Overall(of, over Kind) (Ratio, bool) { return overall(r.Functions, of, over) }

// Overall compares as that of a [Report] does.
func (r ReplayReport) Overall(of, over Kind) (Ratio, bool) {
	return overall(r.Timed(), of, over)
}

// Timed are the totals as samples of functions, to compare them as those of VMs
// are: Total is all they have.
func (r ReplayReport) Timed() (functions []Function) {
	for _, f := range r.Functions {
		functions = append(functions, f.timed())
	}
	return functions
}

// Interval bounds the median of the totals of kind k with 95 % confidence, in
// milliseconds, as [Ratio] does; zeroes when k was not measured.
func (f Function) Interval(k Kind) (low, high float64) {
	rounds := f.byRound(k)
	var values []float64
	for _, round := range slices.Sorted(maps.Keys(rounds)) {
		values = append(values, rounds[round])
	}
	if len(values) == 0 {
		return 0, 0
	}
	return bootstrap(values, slices.Repeat([]float64{1}, len(values)))
}

// Interval bounds the median as that of a [Function] does.
func (f Replayed) Interval(k Kind) (low, high float64) { return f.timed().Interval(k) }

// paired are the rounds in which two kinds of one function were measured.
type paired struct{ a, b []float64 }

func overall(functions []Function, of, over Kind) (Ratio, bool) {
	var all []paired
	sum := 0.0
	for _, f := range functions {
		ratio, ok := f.Compare(of, over)
		if !ok {
			return Ratio{}, false
		}
		a, b := f.paired(of, over)
		all, sum = append(all, paired{a, b}), sum+math.Log(ratio.Ratio)
	}
	if len(all) == 0 {
		return Ratio{}, false
	}
	low, high := bootstrapMean(all)
	return Ratio{Of: of, Over: over, Ratio: math.Exp(sum / float64(len(all))), Low: low, High: high}, true
}

// bootstrapMean is bootstrap for the geometric mean: each function draws rounds of
// its own.
func bootstrapMean(all []paired) (low, high float64) {
	draw := rand.New(rand.NewPCG(1, 2))
	means := make([]float64, resamples)
	for i := range means {
		for _, p := range all {
			means[i] += math.Log(resample(draw, p.a, p.b)) / float64(len(all))
		}
	}
	slices.Sort(means)
	return math.Exp(means[resamples*25/1000]), math.Exp(means[resamples*975/1000])
}

// resample draws as many rounds as there are, again and again the same perhaps, and
// returns the ratio of the medians of a and b in them.
func resample(draw *rand.Rand, a, b []float64) float64 {
	x, y := make([]float64, len(a)), make([]float64, len(b))
	for j := range x {
		round := draw.IntN(len(a))
		x[j], y[j] = a[round], b[round]
	}
	return SpreadOf(x).Median / SpreadOf(y).Median
}
