package bench

import (
	"maps"
	"math/rand/v2"
	"slices"

	"thaw"
)

// Ratio compares two kinds by the ratio of their median totals. Low and High
// bound it with 95 % confidence: a bootstrap over the rounds, in which both were
// measured.
type Ratio struct {
	Of    Kind    `json:"of"`
	Over  Kind    `json:"over"`
	Ratio float64 `json:"ratio"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// Findings are the answers a reader looks for.
type Findings struct {
	Ratios []Ratio `json:"ratios"`
	// FaultsLeft is the median share of the recorded faults that reap still
	// took.
	FaultsLeft float64 `json:"faults_left"`
	// LayoutMS is the median cost of remote control by thaw, or else by reap.
	LayoutMS float64 `json:"layout_ms"`
	// WarmOverheadMS is the median of Overhead over the warm invocations.
	WarmOverheadMS float64 `json:"warm_overhead_ms"`
	// RecordOverhead is what the invocation that recorded the trace took longer than
	// vanilla in the median, as a share of that; 0 where either was not measured.
	RecordOverhead float64 `json:"record_overhead,omitempty"`
}

// Found is a report with what follows from its samples.
type Found struct {
	Report
	// Findings are by [Function.Title]: by function, and by cell where there is more
	// than the plainest.
	Findings map[string]Findings `json:"findings"`
	// Ladders and Crowds are by function; see [Function.Ladder] and [Function.Crowds].
	Ladders map[string][]Step  `json:"ladders,omitempty"`
	Crowds  map[string][]Crowd `json:"crowds,omitempty"`
	// Warnings say what to hold against the figures.
	Warnings []string `json:"warnings"`
}

// WithFindings adds what follows from the samples, for machines that read.
func (r Report) WithFindings() Found {
	found := Found{Report: r, Findings: map[string]Findings{}, Ladders: map[string][]Step{}, Crowds: map[string][]Crowd{}, Warnings: r.Warnings()}
	for _, f := range r.Functions {
		found.Ladders[f.Name], found.Crowds[f.Name] = f.Ladder(), f.Crowds()
		for _, cell := range f.Cells() {
			found.Findings[f.Title(cell)] = f.In(cell).Findings()
		}
	}
	return found
}

// pairs are the comparisons that are of interest: thaw as it is shipped with the
// others as they were published, with the floor, and with the others that have its
// pool; and those of the papers.
func pairs() [][2]Kind {
	ours := Of(thaw.PolicyThaw, true)
	reap, faasnap, vanilla := Of(thaw.PolicyReap, false), Of(thaw.PolicyFaaSnap, false), Of(thaw.PolicyVanilla, false)
	return [][2]Kind{
		{ours, vanilla}, {ours, reap}, {ours, faasnap}, {ours, KindCached},
		{ours, reap + poolSuffix}, {ours, faasnap + poolSuffix}, {ours, KindFloor},
		{reap, vanilla}, {faasnap, reap}, {faasnap, KindCached},
	}
}

// Findings computes them from the samples.
func (f Function) Findings() Findings {
	reap, ours := Of(thaw.PolicyReap, false), Of(thaw.PolicyThaw, true)
	found := Findings{WarmOverheadMS: f.Median(KindWarm, Overhead), LayoutMS: f.Median(reap, Phase(thaw.PhaseLayout))}
	if slices.Contains(f.Kinds(), ours) {
		found.LayoutMS = f.Median(ours, Phase(thaw.PhaseLayout))
	}
	if f.WorkingSetPages > 0 {
		found.FaultsLeft = f.Median(reap, FaultsLeft) / float64(f.WorkingSetPages)
	}
	found.RecordOverhead = f.recordOverhead()
	for _, p := range pairs() {
		if r, ok := f.Compare(p[0], p[1]); ok {
			found.Ratios = append(found.Ratios, r)
		}
	}
	return found
}

func (f Function) recordOverhead() float64 {
	if slices.ContainsFunc(f.Samples, func(s Sample) bool { return s.Clones > 1 }) {
		return 0 // it was recorded alone
	}
	vanilla := f.Median(Of(thaw.PolicyVanilla, false), Total)
	i := slices.IndexFunc(f.Recordings, func(r Recording) bool { return r.Policy == thaw.PolicyThaw })
	if i < 0 || vanilla == 0 {
		return 0
	}
	return f.Recordings[i].InvocationMS/vanilla - 1
}

// Compare compares the totals of two kinds over the rounds in which both were
// measured; false when there is none, or one took no time.
func (f Function) Compare(of, over Kind) (Ratio, bool) {
	a, b := f.paired(of, over)
	if len(a) == 0 || SpreadOf(a).Median <= 0 || SpreadOf(b).Median <= 0 {
		return Ratio{}, false
	}
	low, high := bootstrap(a, b)
	return Ratio{Of: of, Over: over, Ratio: SpreadOf(a).Median / SpreadOf(b).Median, Low: low, High: high}, true
}

// paired are the medians of two kinds in each round that has both.
func (f Function) paired(of, over Kind) (a, b []float64) {
	x, y := f.byRound(of), f.byRound(over)
	for _, round := range slices.Sorted(maps.Keys(x)) {
		if other, ok := y[round]; ok {
			a, b = append(a, x[round]), append(b, other)
		}
	}
	return a, b
}

// byRound are the medians of the totals of kind k, by round.
func (f Function) byRound(k Kind) map[int]float64 {
	rounds := map[int][]float64{}
	for _, s := range f.Samples {
		if s.Kind == k {
			rounds[s.Round] = append(rounds[s.Round], Total(s))
		}
	}
	medians := map[int]float64{}
	for round, values := range rounds {
		medians[round] = SpreadOf(values).Median
	}
	return medians
}

// resamples is how often the bootstrap draws: enough for two digits.
const resamples = 2000

// bootstrap returns the 95 % interval of the ratio of medians of a and b, whose
// values belong together by round (Efron and Tibshirani, An Introduction to the
// Bootstrap, 13.3: percentiles). It draws the same each time.
func bootstrap(a, b []float64) (low, high float64) {
	draw := rand.New(rand.NewPCG(1, 2))
	ratios := make([]float64, resamples)
	for i := range ratios {
		ratios[i] = resample(draw, a, b)
	}
	slices.Sort(ratios)
	return ratios[resamples*25/1000], ratios[resamples*975/1000]
}

// OverFloor is the median of what kind k takes longer than the floor in the same
// round, in milliseconds; false when one was not measured.
func (f Function) OverFloor(k Kind) (float64, bool) {
	a, b := f.paired(k, KindFloor)
	if len(a) == 0 {
		return 0, false
	}
	over := make([]float64, len(a))
	for i := range over {
		over[i] = a[i] - b[i]
	}
	return SpreadOf(over).Median, true
}
