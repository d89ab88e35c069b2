package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"

	"thaw"
	"thaw/bench"
	"thaw/bench/report/svg"
)

// totals are the medians of all kinds, fastest first.
func totals(d Data) section {
	s := section{ID: "totals", Title: "How long a start takes"}
	if d.Bench == nil {
		return s
	}
	s.Text = []string{"Medians of the whole invocation as the daemon saw it, fastest first, with the range that holds the median with 95 % confidence."}
	floor := false
	for i, f := range d.Bench.Functions {
		if fig, ok := totalsFigure(i, f); ok {
			s.Figures = append(s.Figures, fig)
			floor = floor || f.Median(bench.KindFloor, bench.Total) > 0
		}
	}
	c := comparison{d.Bench.Functions, d.Bench.Overall}
	for _, pool := range []bool{true, false} {
		if t := c.ratios(func(k bench.Kind) bool { return k.Start() == thaw.StartCold && k.Pool() == pool }); len(t.Rows) > 0 {
			s.Tables = append(s.Tables, t)
		}
	}
	if floor {
		s.Text = append(s.Text, "The dashed line is the floor: a VMM that was waiting, and every file in memory (cached+pool).")
	}
	return s
}

// ratios compares the fastest policy with all other kinds of its form.
func (c comparison) ratios(form func(bench.Kind) bool) (t table) {
	best := c.ranking(func(k bench.Kind) bool { return form(k) && restores(k) })
	if len(best) == 0 {
		return t
	}
	t = table{Caption: fmt.Sprintf("Time of %s over that of the others%s", best[0], c.how()), Head: []string{"over", "ratio", "95" + noBreak + "%", string(best[0]) + " is"}}
	for _, k := range c.ranking(form) {
		if r, ok := c.compare(best[0], k); ok && k != best[0] {
			t.Rows = append(t.Rows, []string{string(k), fmt.Sprintf("%.2f", r.Ratio), fmt.Sprintf("%.2f–%.2f", r.Low, r.High), inWords(r)})
		}
	}
	return t
}

func inWords(r bench.Ratio) string {
	switch {
	case !r.Certain():
		return "not distinguishable"
	case r.Ratio < 1:
		return "faster"
	}
	return "slower"
}

func totalsFigure(n int, f bench.Function) (figure, bool) {
	var bars []bar
	var told []string
	inks := map[svg.Ink]bool{}
	of := slices.DeleteFunc(f.Kinds(), func(k bench.Kind) bool { return k.Start() != thaw.StartCold })
	slices.SortStableFunc(of, func(a, b bench.Kind) int { return cmp.Compare(f.Median(a, bench.Total), f.Median(b, bench.Total)) })
	for _, k := range of {
		m := f.Median(k, bench.Total)
		low, high := f.Interval(k)
		bars = append(bars, bar{label: string(k), parts: []part{{inkOf(k), m}}, low: low, high: high, note: digits(m)})
		told, inks[inkOf(k)] = append(told, fmt.Sprintf("%s %s", k, ms(m))), true
	}
	if len(bars) == 0 {
		return figure{}, false
	}
	p := barChart(crop(bars), sorted(inks), f.Median(bench.KindFloor, bench.Total), "milliseconds")
	return figure{f.Name, "", render(p, barsHeight(len(bars)), fmt.Sprintf("totals%d", n), "Cold starts of "+f.Name, "Medians: "+strings.Join(told, ", ")+".")}, true
}

// crop shortens whiskers to twice the longest bar: one bad round is not to make
// all the bars short.
func crop(bars []bar) []bar {
	longest := 0.0
	for _, b := range bars {
		longest = max(longest, b.total())
	}
	for i := range bars {
		if bars[i].high > 2*longest {
			bars[i].high = 2 * longest
			bars[i].note += " →"
		}
	}
	return bars
}

func sorted(set map[svg.Ink]bool) (inks []svg.Ink) {
	for ink := range set {
		inks = append(inks, ink)
	}
	slices.Sort(inks)
	return inks
}

// distributions show all samples, not only their middle.
func distributions(d Data) section {
	s := section{ID: "distributions", Title: "How starts vary"}
	if d.Bench == nil {
		return s
	}
	s.Text = []string{"The share of cold starts that took no longer than the time below: the further to the left a line rises, the faster; the steeper, the steadier."}
	for i, f := range d.Bench.Functions {
		if fig, ok := distribution(i, f); ok {
			s.Figures = append(s.Figures, fig)
		}
	}
	s.Keys = policyKeys(kinds(d.Bench.Functions))
	return s
}

const linesHeight = 220

func distribution(n int, f bench.Function) (figure, bool) {
	p := newPlot("milliseconds")
	p.Add(&plotter.Grid{Vertical: line(inkGrid, 1, false), Horizontal: line(inkGrid, 1, false)})
	low, high := math.Inf(1), 0.0
	drawn := drawable(f)
	for _, k := range drawn {
		s := bench.SpreadOf(f.Values(k, bench.Total))
		low, high = min(low, s.Min), max(high, s.Max)
	}
	if len(drawn) == 0 || low <= 0 {
		return figure{}, false
	}
	var told []string
	for _, k := range drawn {
		p.Add(&plotter.Line{XYs: steps(f.Values(k, bench.Total), high), LineStyle: line(inkOf(k), 2, !k.Pool())})
		s := bench.SpreadOf(f.Values(k, bench.Total))
		told = append(told, fmt.Sprintf("%s from %s to %s", k, digits(s.Min), ms(s.Max)))
	}
	p.Y.Min, p.Y.Max, p.Y.Tick.Marker = 0, 1, shares()
	p.X.Min, p.X.Max = low, high
	if high > 3*low {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.TickerFunc(logTicks)
	}
	if low == high {
		p.X.Min, p.X.Max = 0, 2*high
	}
	return figure{f.Name, "", render(p, linesHeight, fmt.Sprintf("distribution%d", n), "Distribution of the cold starts of "+f.Name, "Each kind: "+strings.Join(told, ", ")+".")}, true
}

// drawable are the kinds of f that are drawn as lines.
func drawable(f bench.Function) (drawn []bench.Kind) {
	policies := lines(f.Kinds())
	for _, k := range f.Kinds() {
		if slices.Contains(policies, bench.Kind(strings.TrimSuffix(string(k), "+pool"))) {
			drawn = append(drawn, k)
		}
	}
	return drawn
}

func shares() plot.ConstantTicks {
	return plot.ConstantTicks{{Value: 0, Label: "0"}, {Value: .25, Label: "25 %"}, {Value: .5, Label: "50 %"}, {Value: .75, Label: "75 %"}, {Value: 1, Label: "all"}}
}
