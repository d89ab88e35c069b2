package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"thaw"
	"thaw/bench"
	"thaw/bench/report/svg"
)

// phaseOther is time in which no phase ran.
const phaseOther = "other"

// phaseNames are the parts of a bar in their order. What overlaps is counted once:
// prefetch only where no other phase ran, since a start waits for it only there.
func phaseNames() []string { return append(thaw.PhaseNames(), phaseOther) }

func phaseInk(name string) svg.Ink { return svg.Ink("phase" + name) }

// share divides an invocation's time among the phases, in milliseconds: they add
// up to all of it.
func share(i thaw.Invocation) map[string]float64 {
	whole := int64(i.DurationMS * 1e3)
	bounds := []int64{0, whole}
	for _, s := range i.Spans {
		bounds = append(bounds, min(max(s.StartUS, 0), whole), min(max(s.StartUS+s.DurationUS, 0), whole))
	}
	slices.Sort(bounds)
	parts := map[string]float64{}
	for n := range bounds[1:] {
		if from, to := bounds[n], bounds[n+1]; from < to {
			parts[running(i.Spans, from, to)] += float64(to-from) / 1e3
		}
	}
	return parts
}

// running is the phase that a stretch of time is counted for.
func running(spans []thaw.Span, from, to int64) string {
	found := phaseOther
	for _, s := range spans {
		if s.StartUS > from || s.StartUS+s.DurationUS < to {
			continue
		}
		if s.Phase != thaw.PhasePrefetch {
			return s.Phase
		}
		found = s.Phase
	}
	return found
}

// middle is the sample of kind k whose total is the median, or the one before.
func middle(f bench.Function, k bench.Kind) (bench.Sample, bool) {
	var of []bench.Sample
	for _, s := range f.Samples {
		if s.Kind == k {
			of = append(of, s)
		}
	}
	if len(of) == 0 {
		return bench.Sample{}, false
	}
	slices.SortStableFunc(of, func(a, b bench.Sample) int { return cmp.Compare(a.DurationMS, b.DurationMS) })
	return of[(len(of)-1)/2], true
}

func phases(d Data) section {
	s := section{ID: "phases", Title: "Where the time goes"}
	if d.Bench == nil {
		return s
	}
	s.Text = []string{"Each bar is one real start: of its kind, that of median time. The prefetch runs beside other phases and is shown only where nothing else ran, since only there a start waits for it."}
	seen := map[string]bool{}
	for i, f := range d.Bench.Functions {
		if fig, ok := phaseFigure(i, f, seen); ok {
			s.Figures = append(s.Figures, fig)
		}
		s.Tables = append(s.Tables, phaseTable(f))
	}
	for _, name := range phaseNames() {
		if seen[name] {
			s.Keys = append(s.Keys, key{Ink: string(phaseInk(name)), Name: name})
		}
	}
	return s
}

// phaseFigure draws what a function's samples show, and adds the phases to seen. A
// boot would leave no room for the others.
func phaseFigure(n int, f bench.Function, seen map[string]bool) (figure, bool) {
	var bars []bar
	var told, left []string
	for _, k := range f.Kinds() {
		m, _ := middle(f, k)
		if k == bench.KindWarm || k.Start() == thaw.StartBoot && len(f.Kinds()) > 2 {
			left = append(left, fmt.Sprintf("%s (%s)", k, ms(f.Median(k, bench.Total))))
			continue
		}
		parts := share(m.Invocation)
		b := bar{label: string(k), note: digits(m.DurationMS)}
		for _, name := range phaseNames() {
			if parts[name] > 0 {
				seen[name] = true
				b.parts = append(b.parts, part{phaseInk(name), parts[name]})
			}
		}
		bars, told = append(bars, b), append(told, fmt.Sprintf("%s %s", k, ms(m.DurationMS)))
	}
	if len(bars) == 0 {
		return figure{}, false
	}
	var inks []svg.Ink
	for _, name := range phaseNames() {
		inks = append(inks, phaseInk(name))
	}
	p := barChart(bars, inks, 0, "milliseconds")
	note := ""
	if len(left) > 0 {
		note = "not drawn: " + list(left)
	}
	return figure{f.Name, note, render(p, barsHeight(len(bars)), fmt.Sprintf("phases%d", n), "Phases of "+f.Name, "Stacked bars of the phases of one start of each kind: "+strings.Join(told, ", ")+".")}, true
}

// phaseTable are the medians of each phase by itself, beside others or not.
func phaseTable(f bench.Function) table {
	t := table{Caption: fmt.Sprintf("%s: median ms of each phase, also where it ran beside others", f.Name), Head: append([]string{"start"}, f.Phases()...), Folded: true}
	for _, k := range f.Kinds() {
		row := []string{string(k)}
		for _, name := range f.Phases() {
			cell := "–"
			if m := f.Median(k, bench.Phase(name)); m > 0 {
				cell = digits(m)
			}
			row = append(row, cell)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}
