package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"thaw/bench/report/svg"
)

// A picture is as wide as a phone's page, in CSS pixels, so that its text can be
// read there; on a wide page several stand side by side.
const (
	pictureWidth = 360
	fontSize     = 12
	rowHeight    = 21
	barWidth     = 13
	axisHeight   = 36 // ticks, their labels and that of the axis
)

// The inks that the style sheet knows, besides those of policies and phases.
const (
	inkDim     svg.Ink = "dim"     // axes and what is beside the point
	inkGrid    svg.Ink = "grid"    // lines behind the data
	inkSurface svg.Ink = "surface" // what is behind a picture
	inkPaper   svg.Ink = "paper"   // figures of the papers
)

// newPlot is an empty plot in the page's colours.
func newPlot(label string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.LineStyle = line(inkDim, 1, false)
		a.Tick.LineStyle = line(inkDim, 1, false)
		a.Tick.Length, a.Padding = 3, 0
		a.Tick.Label.Font, a.Tick.Label.Color = sans(fontSize-1), inkDim
		a.Label.TextStyle.Font, a.Label.TextStyle.Color = sans(fontSize), inkDim
	}
	p.X.Label.Text, p.X.Label.Padding = label, 2
	p.X.Tick.Marker = plot.TickerFunc(ticks)
	return p
}

func sans(size float64) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(size)}
}

func line(ink svg.Ink, width float64, dashed bool) draw.LineStyle {
	s := draw.LineStyle{Color: ink, Width: vg.Points(width)}
	if dashed {
		s.Dashes = []vg.Length{5, 3}
	}
	return s
}

// render draws p. id must be unique on the page.
func render(p *plot.Plot, height float64, id, title, description string) template.HTML {
	c := svg.New(pictureWidth, height)
	p.Draw(draw.Crop(draw.New(c), 1, -1, 1, -1)) // lines on the edge have a width
	return template.HTML(c.String(id, title, description))
}

// ticks are about five, at round numbers.
func ticks(low, high float64) (all []plot.Tick) {
	step := roundStep((high - low) / 4)
	for i := math.Ceil(low/step - 1e-9); i*step <= high+step*1e-9; i++ {
		v := i*step + 0 // -0 becomes 0
		all = append(all, plot.Tick{Value: v, Label: fmt.Sprintf("%.12g", v)})
	}
	return all
}

// roundStep is the next of 1, 2, 5, 10, … from v on.
func roundStep(v float64) float64 {
	if v <= 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return 1
	}
	ten := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*ten >= v*(1-1e-9) {
			return m * ten
		}
	}
	return 10 * ten
}

// logTicks are at 1, 2, 5, 10, … if there is room, else at powers of ten.
func logTicks(low, high float64) (all []plot.Tick) {
	steps := []float64{1, 2, 5}
	if high > 200*low {
		steps = steps[:1]
	}
	for ten := math.Pow(10, math.Floor(math.Log10(low))); ten <= high; ten *= 10 {
		for _, m := range steps {
			if v := m * ten; v >= low*(1-1e-9) && v <= high*(1+1e-9) {
				all = append(all, plot.Tick{Value: v, Label: fmt.Sprintf("%g", v)})
			}
		}
	}
	return all
}

// bar is a row of a chart of bars.
type bar struct {
	label string
	parts []part // stacked from left to right
	// low and high are the ends of a whisker; there is none when they are equal.
	low, high float64
	note      string // behind the bar
}

type part struct {
	ink   svg.Ink
	value float64
}

func (b bar) total() (sum float64) {
	for _, p := range b.parts {
		sum += p.value
	}
	return sum
}

func (b bar) of(ink svg.Ink) (sum float64) {
	for _, p := range b.parts {
		if p.ink == ink {
			sum += p.value
		}
	}
	return sum
}

// barChart draws bars from the top down, and a line at mark, a value that they are
// compared with, unless it is 0. The stack's order is that of inks.
func barChart(bars []bar, inks []svg.Ink, mark float64, label string) *plot.Plot {
	slices.Reverse(bars) // gonum counts from below
	p := newPlot(label)
	p.Add(&plotter.Grid{Vertical: line(inkGrid, 1, false)})
	addBars(p, bars, inks)
	p.Add(whiskers(bars), notes(bars))
	if mark > 0 {
		p.Add(&plotter.Line{XYs: plotter.XYs{{X: mark, Y: -.5}, {X: mark, Y: float64(len(bars)) - .5}}, LineStyle: line(svg.InkText, 1.2, true)})
	}
	names := make([]string, len(bars))
	for i, b := range bars {
		names[i] = b.label
	}
	p.NominalY(names...)
	p.X.Padding, p.Y.Tick.Label.Color, p.Y.Tick.Label.Font = 0, svg.InkText, sans(fontSize)
	p.X.Min, p.Y.Min, p.Y.Max = 0, -.5, float64(len(bars))-.5
	p.X.Max = max(p.X.Max, 1e-6)
	return p
}

func addBars(p *plot.Plot, bars []bar, inks []svg.Ink) {
	var below *plotter.BarChart
	for _, ink := range inks {
		values := make(plotter.Values, len(bars))
		for i, b := range bars {
			values[i] = b.of(ink)
		}
		chart := &plotter.BarChart{Values: values, Width: barWidth, Color: ink, Horizontal: true}
		if below != nil {
			chart.StackOn(below)
		}
		p.Add(chart)
		below = chart
	}
}

func whiskers(bars []bar) *plotter.XErrorBars {
	w := &plotter.XErrorBars{LineStyle: line(svg.InkText, 1.2, false), CapWidth: 6}
	for i, b := range bars {
		if b.low < b.high {
			w.XYs = append(w.XYs, plotter.XY{X: b.total(), Y: float64(i)})
			w.XErrors = append(w.XErrors, struct{ Low, High float64 }{b.total() - b.low, b.high - b.total()})
		}
	}
	return w
}

// notes are written behind the bars and their whiskers.
func notes(bars []bar) *plotter.Labels {
	l := &plotter.Labels{Offset: vg.Point{X: 4, Y: 1}}
	for i, b := range bars {
		l.XYs = append(l.XYs, plotter.XY{X: max(b.total(), b.high), Y: float64(i)})
		l.Labels = append(l.Labels, b.note)
		l.TextStyle = append(l.TextStyle, text.Style{
			Font: sans(fontSize - 1), Color: svg.InkText, YAlign: draw.YCenter, Handler: plot.DefaultTextHandler,
		})
	}
	return l
}

// barsHeight is how high a chart of n bars is.
func barsHeight(n int) float64 { return float64(n)*rowHeight + axisHeight }

// steps is the empirical distribution of values: which share of them is not above a
// value.
func steps(values []float64, until float64) plotter.XYs {
	values = slices.Sorted(slices.Values(values))
	var xys plotter.XYs
	for i, v := range values {
		xys = append(xys, plotter.XY{X: v, Y: float64(i) / float64(len(values))}, plotter.XY{X: v, Y: float64(i+1) / float64(len(values))})
	}
	return append(xys, plotter.XY{X: until, Y: 1})
}

// fromLow is a logarithmic scale that begins at the axis' lowest value, where bars
// begin: what is less is drawn there.
type fromLow struct{ plot.LogScale }

// Normalize implements [plot.Normalizer].
func (s fromLow) Normalize(low, high, v float64) float64 {
	return s.LogScale.Normalize(low, high, max(v, low))
}

// logarithmic makes p's axis one whose lowest value is the power of ten below the
// smallest bar.
func logarithmic(p *plot.Plot, bars []bar) {
	least := math.Inf(1)
	for _, b := range bars {
		if t := b.total(); t > 0 {
			least = min(least, t)
		}
	}
	p.X.Min = math.Pow(10, math.Floor(math.Log10(min(least, p.X.Max/10))))
	p.X.Scale, p.X.Tick.Marker = fromLow{}, plot.TickerFunc(logTicks)
}

// ms renders milliseconds with three digits.
func ms(v float64) string { return digits(v) + noBreak + "ms" }

// noBreak keeps a number and its unit on one line.
const noBreak = "\u00a0"

// span renders two bounds.
func span(low, high float64) string { return digits(low) + "–" + digits(high) }

// digits renders v with three digits that matter, at most.
func digits(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
