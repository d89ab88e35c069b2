package bench

import (
	"math"
	"slices"

	"thaw"
)

// Spread is a distribution in five numbers. The quartiles are Tukey's hinges:
// medians of the halves, the middle value in both.
type Spread struct {
	Min    float64 `json:"min"`
	Q1     float64 `json:"q1"`
	Median float64 `json:"median"`
	Q3     float64 `json:"q3"`
	Max    float64 `json:"max"`
}

// SpreadOf returns the spread of values; of none it is all zeroes.
func SpreadOf(values []float64) Spread {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	if n == 0 {
		return Spread{}
	}
	return Spread{Min: v[0], Q1: median(v[:(n+1)/2]), Median: median(v), Q3: median(v[n/2:]), Max: v[n-1]}
}

// median of sorted values.
func median(v []float64) float64 {
	n := len(v)
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}

// Kinds returns the kinds that were measured, in the order they took turns.
func (f Function) Kinds() []Kind {
	var kinds []Kind
	for _, s := range f.Samples {
		if !slices.Contains(kinds, s.Kind) {
			kinds = append(kinds, s.Kind)
		}
	}
	return kinds
}

// Phases returns the names of the phases that any sample has, in order.
func (f Function) Phases() []string {
	return slices.DeleteFunc(thaw.PhaseNames(), func(name string) bool {
		return !slices.ContainsFunc(f.Samples, func(s Sample) bool { _, ok := s.PhasesMS[name]; return ok })
	})
}

// Values returns one figure of each sample of a kind that has it.
func (f Function) Values(k Kind, figure func(Sample) float64) []float64 {
	var values []float64
	for _, s := range f.Samples {
		if v := figure(s); s.Kind == k && !math.IsNaN(v) {
			values = append(values, v)
		}
	}
	return values
}

// Mean returns the mean of a figure over the samples of a kind, 0 of none.
func (f Function) Mean(k Kind, figure func(Sample) float64) float64 {
	sum, values := 0.0, f.Values(k, figure)
	for _, v := range values {
		sum += v
	}
	return sum / float64(max(1, len(values)))
}

// Median returns the median of a figure over the samples of a kind.
func (f Function) Median(k Kind, figure func(Sample) float64) float64 {
	return SpreadOf(f.Values(k, figure)).Median
}

// The figures of a sample that reports are made of.

// Total is the whole invocation as the daemon saw it, in milliseconds.
func Total(s Sample) float64 { return s.DurationMS }

// Phase returns the figure of one phase in milliseconds, 0 where it did not
// happen.
func Phase(name string) func(Sample) float64 {
	return func(s Sample) float64 { return s.PhasesMS[name] }
}

// FaultsLeft is the faults that were trapped although the set was installed.
func FaultsLeft(s Sample) float64 { return float64(s.Faults.Trapped) }

// MajorFaults and MinorFaults are the kernel's counts for the VMM.
func MajorFaults(s Sample) float64 { return float64(s.Faults.Major) }

// MinorFaults is the other one.
func MinorFaults(s Sample) float64 { return float64(s.Faults.Minor) }

// MiBRead is what came from the disk.
func MiBRead(s Sample) float64 { return float64(s.BytesRead) / (1 << 20) }

// Recall and Precision are shares, not a number where they were not measured.
func Recall(s Sample) float64 { return ofQuality(s, thaw.Quality.Recall) }

// Precision is the other one.
func Precision(s Sample) float64 { return ofQuality(s, thaw.Quality.Precision) }

func ofQuality(s Sample, figure func(thaw.Quality) float64) float64 {
	if s.Quality == nil || s.Quality.Brought == 0 {
		return math.NaN()
	}
	return figure(*s.Quality)
}

// PrivateMiB is the guest memory that belongs to this guest alone, not a number
// where it was not measured.
func PrivateMiB(s Sample) float64 {
	if s.Memory == nil {
		return math.NaN()
	}
	return float64(s.Memory.Private) / (1 << 20)
}

// Overhead is what the platform adds to the round trip to the agent, in
// milliseconds, as the client sees it.
func Overhead(s Sample) float64 { return s.WallMS - s.PhasesMS[thaw.PhaseInvoke] }
