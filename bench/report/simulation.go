package report

import (
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"thaw/bench/report/svg"
	"thaw/scale/simulate"
)

// simulationHeight is that of the picture.
const simulationHeight = 300

// WriteSimulation writes a page of what keep-alive policies cost on a trace.
func WriteSimulation(w io.Writer, t simulate.Trace, results []simulate.Result) error {
	p := page{Style: template.CSS(style), Title: "Keep-alive policies: a simulation", Made: t.Source}
	p.Summary.Findings = simulationFindings(results)
	p.Summary.Measured = []string{
		fmt.Sprintf("%s applications, %s invocations in %d minutes: %s.", thousands(len(t.Apps)), thousands(invocations(results)), t.Length, t.Source),
		"An execution takes no time and an application is loaded as a whole, as in the simulations of Serverless in the Wild (ATC'20): memory waits for the longest time that it could.",
	}
	if t.Synthetic {
		p.Summary.Warnings = []Warning{{Code: "synthetic", Text: "The trace is synthetic: nobody made these invocations. It follows distributions that were published of Azure Functions, not your functions."}}
	}
	p.Sections = []section{{
		ID: "trade", Title: "Cold starts against memory",
		Text:    []string{"Each point is a policy: the lower, the fewer cold starts a typical application has; the further to the left, the less memory waits for nothing. The line joins those that keep for a fixed time."},
		Figures: []figure{{"Cold starts of the application at the 75th percentile, %", "over the memory that waits, % of fixed 10m", simulationPicture(results)}},
		Tables:  []table{simulationTable(results)},
	}}
	return p.write(w)
}

// WriteSimulationSVG writes the picture alone.
func WriteSimulationSVG(w io.Writer, results []simulate.Result) error {
	colours, _, _ := strings.Cut(style, "\n* {")
	picture := string(simulationPicture(results))
	at := strings.Index(picture, "<title")
	_, err := fmt.Fprintf(w, "%s<style>%s\ntext { font-family: sans-serif; }</style>\n<rect width=\"100%%\" height=\"100%%\" style=\"fill:var(--surface)\"/>\n%s\n", picture[:at], colours, picture[at:])
	return err
}

func invocations(results []simulate.Result) int {
	if len(results) == 0 {
		return 0
	}
	return results[0].Invocations
}

func simulationFindings(results []simulate.Result) (all []string) {
	i := slices.IndexFunc(results, func(r simulate.Result) bool { return r.Policy == simulate.Baseline })
	if i < 0 {
		return nil
	}
	base := results[i]
	for _, r := range results {
		if strings.HasPrefix(r.Policy, "histogram") {
			all = append(all, fmt.Sprintf("%s: three quarters of the applications have at most %s of their invocations cold, against %s with %s, for %s of the memory time.",
				r.Policy, inPercent(r.P75), inPercent(base.P75), base.Policy, inPercent(r.Wasted)))
		}
	}
	return all
}

func inPercent(v float64) string { return digits(100*v) + noBreak + "%" }

// thousands renders n with commas.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func simulationTable(results []simulate.Result) table {
	t := table{Caption: "All policies", Head: []string{"policy", "cold", "app p50", "p75", "p99", "always cold", "memory", "GB·s"}}
	for _, r := range results {
		t.Rows = append(t.Rows, []string{
			r.Policy, inPercent(r.ColdShare()), inPercent(r.P50), inPercent(r.P75), inPercent(r.P99), inPercent(r.AlwaysCold), inPercent(r.Wasted), thousands(int(r.WastedGBs)),
		})
	}
	return t
}

// simulationPicture draws cold starts over memory.
func simulationPicture(results []simulate.Result) template.HTML {
	p := newPlot("memory that waits, % of " + simulate.Baseline)
	p.Add(&plotter.Grid{Vertical: line(inkGrid, 1, false), Horizontal: line(inkGrid, 1, false)})
	var fixed, learned plotter.XYs
	labels := &plotter.Labels{Offset: vg.Point{X: 5, Y: 3}}
	told := "Cold starts of the application at the 75th percentile, and memory that waits, by policy:"
	for _, r := range results {
		at := plotter.XY{X: 100 * r.Wasted, Y: 100 * r.P75}
		if strings.HasPrefix(r.Policy, "histogram") {
			learned = append(learned, at)
		} else {
			fixed = append(fixed, at)
		}
		labels.XYs, labels.Labels = append(labels.XYs, at), append(labels.Labels, strings.TrimPrefix(r.Policy, "fixed "))
		labels.TextStyle = append(labels.TextStyle, text.Style{Font: sans(fontSize - 1), Color: svg.InkText, Handler: plot.DefaultTextHandler})
		told += fmt.Sprintf(" %s %s and %s;", r.Policy, inPercent(r.P75), inPercent(r.Wasted))
	}
	const inkFixed, inkLearned svg.Ink = "policyvanilla", "policythaw"
	p.Add(&plotter.Line{XYs: fixed, LineStyle: line(inkFixed, 1.5, false)}, dots(fixed, inkFixed))
	if len(learned) > 0 {
		p.Add(bigDots(learned, inkLearned))
	}
	p.Add(labels)
	p.X.Min, p.Y.Min, p.Y.Max = 0, 0, 105
	p.X.Max *= 1.25 // for the labels
	p.Y.Tick.Marker = plot.TickerFunc(ticks)
	return render(p, simulationHeight, "simulation", "Cold starts over memory, by keep-alive policy", strings.TrimSuffix(told, ";")+".")
}

func bigDots(xys plotter.XYs, ink svg.Ink) *plotter.Scatter {
	return &plotter.Scatter{XYs: xys, GlyphStyle: draw.GlyphStyle{Color: ink, Radius: vg.Points(4.5), Shape: draw.CircleGlyph{}}}
}
