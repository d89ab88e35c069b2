package report

import (
	"fmt"
	"strconv"
	"strings"

	"thaw/bench"
)

// Warning is a reason not to take figures at their word.
type Warning struct {
	// Code is busy, few, scatter, emulated or readahead.
	Code string `json:"code"`
	Text string `json:"text"`
}

// fewRounds is where intervals of a median begin to mean something: of ten rounds,
// the median lies between the second and the ninth value with 98 %.
const fewRounds = 10

// wide is the distance of the quartiles, over the median, from which samples
// scatter.
const wide = .25

// Warnings are those that a run gives reason for.
func Warnings(d Data) []Warning {
	var all []Warning
	add := func(code, text string) {
		if text != "" {
			all = append(all, Warning{code, text})
		}
	}
	e := d.environment()
	add("busy", busy(e))
	functions := d.functions()
	add("few", few(functions))
	add("scatter", scatter(functions))
	if d.Bench != nil {
		add("emulated", emulated(e))
	}
	add("readahead", readahead(e))
	return all
}

// functions are what was measured, of VMs or else of replays.
func (d Data) functions() []bench.Function {
	switch {
	case d.Bench != nil:
		return d.Bench.Functions
	case d.Replay != nil:
		return d.Replay.Timed()
	}
	return nil
}

func busy(e bench.Environment) string {
	first, _, _ := strings.Cut(e.LoadBefore, " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil || load <= float64(e.Cores)/2 {
		return ""
	}
	return fmt.Sprintf("The machine was busy before the run: load %s on %s. What else runs takes time from some starts and not from others; measure again when it is idle.",
		first, count(e.Cores, "processor"))
}

func few(functions []bench.Function) string {
	least := 0
	for _, f := range functions {
		for _, k := range f.Kinds() {
			if n := len(f.Values(k, bench.Total)); least == 0 || n < least {
				least = n
			}
		}
	}
	if least == 0 || least >= fewRounds {
		return ""
	}
	return fmt.Sprintf("There are only %s of some kinds: the intervals are rough. Take %d or more (-n %d).", count(least, "sample"), fewRounds, fewRounds)
}

func scatter(functions []bench.Function) string {
	var worst float64
	var what string
	n, all := 0, 0
	for _, f := range functions {
		for _, k := range f.Kinds() {
			if k == bench.KindWarm {
				continue
			}
			s := bench.SpreadOf(f.Values(k, bench.Total))
			all++
			spread := (s.Q3 - s.Q1) / max(s.Median, 1e-9)
			if spread > wide {
				n++
			}
			if spread > worst {
				worst, what = spread, fmt.Sprintf("%s of %s", k, f.Name)
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("Samples scatter: for %d of %d rows the middle half spans more than %.0f %% of the median, most for %s (%.0f %%).", n, all, 100*wide, what, 100*worst)
}

// isEmulated says that guests ran without KVM.
func isEmulated(e bench.Environment) bool { return strings.HasPrefix(e.Accelerator, "TCG") }

func emulated(e bench.Environment) string {
	if !isEmulated(e) {
		return ""
	}
	return "Guests were emulated (TCG), not run by the processor (KVM): all that a guest computes took 10 to 20 times as long. " +
		"Every policy pays that alike, so policies differ by less here than they would under KVM; thaw bench replay compares them at native speed."
}

// usualReadahead is Linux's default in KiB (VM_READAHEAD_PAGES).
const usualReadahead = 128

func readahead(e bench.Environment) string {
	if e.ReadaheadDuring == usualReadahead || e.ReadaheadDuring == 0 {
		return ""
	}
	return fmt.Sprintf("The disk's readahead was %d KiB, not Linux's default of %d: a large one reads a snapshot whole at the first fault and hides what a policy does.",
		e.ReadaheadDuring, usualReadahead)
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
