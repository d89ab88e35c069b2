// Package simulate tells what keep-alive policies would have cost on a trace of
// invocations: cold starts on one side, memory that waits for nothing on the other.
// It decides by the code that the daemon decides by, package scale. It is pure.
//
// The model is that of section 5.1 of "Serverless in the Wild" (ATC'20): an
// application is loaded as a whole, executions take no time, which makes the time that
// memory waits the most it can be, the first invocation of an application is cold, and
// what is left in memory when the trace ends is charged until then.
package simulate

import (
	"fmt"
	"math"
	"slices"
	"time"

	"thaw"
	"thaw/scale"
)

// App is one application of a trace.
type App struct {
	Name string
	// Minutes are the minutes of the trace in which it was invoked, ascending, each
	// once: a trace knows no more.
	Minutes []int
	// Invocations is how many there were in each of them.
	Invocations []int
	// MemoryBytes is what it occupies, 0 where nobody knows.
	MemoryBytes int64
}

// Total is how many invocations it had.
func (a App) Total() (n int) {
	for _, i := range a.Invocations {
		n += i
	}
	return n
}

// Trace is what is simulated.
type Trace struct {
	// Source says where it comes from, for people.
	Source string
	// Synthetic says that nobody ever made these invocations.
	Synthetic bool
	// Length is that of the trace in minutes.
	Length int
	Apps   []App
}

// Policy is one that is simulated.
type Policy struct {
	Name string `json:"name"`
	// None keeps nothing at all.
	None      bool            `json:"none,omitempty"`
	KeepAlive scale.KeepAlive `json:"-"`
}

// Baseline is the name of the policy that memory is compared with.
const Baseline = "fixed 10m"

// Policies are those that the paper compares, and the histogram with two fallbacks:
// its own, which keeps for the range of the histogram, and ten minutes.
func Policies() []Policy {
	all := []Policy{{Name: "none", None: true}}
	for _, m := range []int{1, 5, 10, 20, 60} {
		d := time.Duration(m) * time.Minute
		all = append(all, Policy{Name: "fixed " + short(d), KeepAlive: scale.KeepAlive{Policy: thaw.KeepAliveFixed, Idle: d}})
	}
	for _, d := range []time.Duration{10 * time.Minute, scale.Bins * scale.BinWidth} {
		all = append(all, Policy{Name: "histogram, else " + short(d), KeepAlive: scale.KeepAlive{Policy: thaw.KeepAliveHistogram, Idle: d}})
	}
	return all
}

func short(d time.Duration) string { return fmt.Sprintf("%dm", int(d.Minutes())) }

// Result is what a policy would have cost.
type Result struct {
	Policy string `json:"policy"`
	// Invocations are all, Cold those that found nothing in memory. Of those in one
	// minute only the first can.
	Invocations int `json:"invocations"`
	Cold        int `json:"cold"`
	// P50, P75 and P99 are percentiles over the applications of the share of their
	// invocations that was cold; AlwaysCold is the share of applications all of whose
	// invocations were.
	P50        float64 `json:"app_cold_p50"`
	P75        float64 `json:"app_cold_p75"`
	P99        float64 `json:"app_cold_p99"`
	AlwaysCold float64 `json:"apps_always_cold"`
	// WastedGBs is the memory that waited times for how long, in gigabyte-seconds, and
	// Wasted the same in relation to [Baseline], 0 without that.
	WastedGBs float64 `json:"wasted_gb_s"`
	Wasted    float64 `json:"wasted_relative"`
	// ByHistogram is the share of decisions that a representative histogram made.
	ByHistogram float64 `json:"by_histogram"`
}

// ColdShare is the part of all invocations that was cold.
func (r Result) ColdShare() float64 { return ratio(float64(r.Cold), float64(r.Invocations)) }

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Run simulates each policy.
func Run(t Trace, policies []Policy) []Result {
	results := make([]Result, 0, len(policies))
	for _, p := range policies {
		results = append(results, t.run(p))
	}
	i := slices.IndexFunc(results, func(r Result) bool { return r.Policy == Baseline })
	for j := range results {
		if i >= 0 {
			results[j].Wasted = ratio(results[j].WastedGBs, results[i].WastedGBs)
		}
	}
	return results
}

// typicalMemory is charged for an application of which nobody knows what it
// occupies: half of them allocate 170 MB at most (figure 8 of the paper).
const typicalMemory = 170e6

func (t Trace) run(p Policy) Result {
	r := Result{Policy: p.Name}
	shares := make([]float64, 0, len(t.Apps))
	var decisions, learned, always int
	for _, a := range t.Apps {
		o := a.run(p, t.Length)
		n := a.Total()
		if n == 0 {
			continue
		}
		r.Invocations, r.Cold = r.Invocations+n, r.Cold+o.cold
		decisions, learned = decisions+len(a.Minutes), learned+o.learned
		if o.cold == n {
			always++
		}
		shares = append(shares, float64(o.cold)/float64(n))
		memory := float64(a.MemoryBytes)
		if memory == 0 {
			memory = typicalMemory
		}
		r.WastedGBs += memory / 1e9 * o.waited.Seconds()
	}
	slices.Sort(shares)
	r.P50, r.P75, r.P99 = percentile(shares, .5), percentile(shares, .75), percentile(shares, .99)
	r.AlwaysCold, r.ByHistogram = ratio(float64(always), float64(len(shares))), ratio(float64(learned), float64(decisions))
	return r
}

// percentile is the smallest of sorted values that the share p of them is not above.
func percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(p*float64(len(sorted))))-1)]
}

// outcome is what a policy did to one application.
type outcome struct {
	cold    int
	learned int // decisions by a representative histogram
	waited  time.Duration
}

// run goes from invocation to invocation. Those of one minute count as one that
// comes at its beginning.
func (a App) run(p Policy, length int) (o outcome) {
	var h scale.Histogram
	for i, minute := range a.Minutes {
		next := length
		if i+1 < len(a.Minutes) {
			next = a.Minutes[i+1]
		}
		idle := time.Duration(next-minute) * time.Minute
		if i == 0 {
			o.cold++
		}
		var w scale.Windows
		if p.None {
			o.cold += a.Invocations[i] - 1 // those of a minute come one after the other
			w.Prewarm = math.MaxInt64
		} else {
			w = p.KeepAlive.Windows(&h)
			o.waited += w.Held(idle)
		}
		if p.KeepAlive.Policy == thaw.KeepAliveHistogram && w.Reason == "" {
			o.learned++
		}
		if i+1 < len(a.Minutes) {
			if !w.Warm(idle) {
				o.cold++
			}
			h.Add(idle)
		}
	}
	return o
}
