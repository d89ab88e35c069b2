package bench

import (
	"slices"

	"thaw"
)

// Spread is a distribution in five numbers. The quartiles are Tukey's hinges:
// medians of the halves, the middle value in both.
type Spread struct {
	Min, Q1, Median, Q3, Max float64
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
func (r Report) Kinds() []Kind {
	var kinds []Kind
	for _, s := range r.Samples {
		if !slices.Contains(kinds, s.Kind) {
			kinds = append(kinds, s.Kind)
		}
	}
	return kinds
}

// Phases returns the names of the phases that any sample has, in order.
func (r Report) Phases() []string {
	return slices.DeleteFunc(thaw.PhaseNames(), func(name string) bool {
		return !slices.ContainsFunc(r.Samples, func(s Sample) bool { _, ok := s.PhasesMS[name]; return ok })
	})
}

// Values returns one figure of each sample of a kind.
func (r Report) Values(k Kind, figure func(Sample) float64) []float64 {
	var values []float64
	for _, s := range r.Samples {
		if s.Kind == k {
			values = append(values, figure(s))
		}
	}
	return values
}

// Median returns the median of a figure over the samples of a kind.
func (r Report) Median(k Kind, figure func(Sample) float64) float64 {
	return SpreadOf(r.Values(k, figure)).Median
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

// Overhead is what the platform adds to the round trip to the agent, in
// milliseconds, as the client sees it.
func Overhead(s Sample) float64 { return s.WallMS - s.PhasesMS[thaw.PhaseInvoke] }

// Findings are the answers a reader looks for.
type Findings struct {
	// ReapOverVanilla is the ratio of the median totals.
	ReapOverVanilla float64 `json:"reap_over_vanilla"`
	// FaultsLeft is the median share of the recorded faults that reap still
	// took.
	FaultsLeft float64 `json:"faults_left"`
	// LayoutMS is the median cost of remote control, over vanilla and reap.
	LayoutMS float64 `json:"layout_ms"`
	// WarmOverheadMS is the median of Overhead over the warm invocations.
	WarmOverheadMS float64 `json:"warm_overhead_ms"`
}

// Findings computes them from the samples.
func (r Report) Findings() Findings {
	layout := append(r.Values(KindVanilla, Phase(thaw.PhaseLayout)), r.Values(KindReap, Phase(thaw.PhaseLayout))...)
	f := Findings{LayoutMS: SpreadOf(layout).Median, WarmOverheadMS: r.Median(KindWarm, Overhead)}
	if v := r.Median(KindVanilla, Total); v > 0 {
		f.ReapOverVanilla = r.Median(KindReap, Total) / v
	}
	if r.WorkingSetPages > 0 {
		f.FaultsLeft = r.Median(KindReap, FaultsLeft) / float64(r.WorkingSetPages)
	}
	return f
}
