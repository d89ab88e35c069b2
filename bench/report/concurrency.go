package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"thaw/bench"
	"thaw/bench/report/svg"
)

// Point is what starts cost that begin at the same time.
type Point struct {
	// Function is what was started, "" for many.
	Function string
	Clones   int
	// Different says that each had a snapshot of its own; else all had the same.
	Different bool
	Kind      bench.Kind
	// Median is of all their times in milliseconds, between the quartiles.
	Median, Q1, Q3 float64
	// ReadMiB is what all of them together read from the disk, the median of the
	// rounds.
	ReadMiB float64
}

// Points are those of a report.
func Points(r bench.Report) (all []Point) {
	for _, f := range r.Functions {
		for _, cell := range f.Cells() {
			in := f.In(cell)
			for _, k := range in.Kinds() {
				s := bench.SpreadOf(in.Values(k, bench.Total))
				p := Point{
					Function: titleAlone(f, cell), Clones: max(1, cell.Clones), Different: cell.Snapshots == bench.DifferentSnapshots, Kind: k,
					Median: s.Median, Q1: s.Q1, Q3: s.Q3, ReadMiB: readByRound(in, k),
				}
				all = append(all, p)
				if p.Clones == 1 && !p.Different { // one alone begins both curves
					p.Different = true
					all = append(all, p)
				}
			}
		}
	}
	return all
}

// titleAlone names a cell but for how many start at the same time.
func titleAlone(f bench.Function, cell bench.Coordinates) string {
	other := func(s bench.Sample) bool { return s.Input != cell.Input }
	if !slices.ContainsFunc(f.Samples, other) {
		cell.Input = "" // there is nothing to tell it from
	}
	cell.Clones, cell.Snapshots = 1, bench.SameSnapshot
	return f.Title(cell)
}

// alone is r with each function's cells as functions of their own, those with the
// fewest starts at the same time: what the other sections are about.
func alone(r bench.Report) bench.Report {
	split := r
	split.Functions = nil
	for _, f := range r.Functions {
		cells := f.Cells()
		if len(cells) == 0 {
			split.Functions = append(split.Functions, f)
			continue
		}
		fewest := slices.MinFunc(cells, func(a, b bench.Coordinates) int { return a.Clones - b.Clones }).Clones
		for _, cell := range cells {
			if in := f.In(cell); cell.Clones == fewest && cell.Snapshots != bench.DifferentSnapshots {
				in.Name = titleAlone(f, cell)
				split.Functions = append(split.Functions, in)
			}
		}
	}
	return split
}

func readByRound(f bench.Function, k bench.Kind) float64 {
	sums := map[int]float64{}
	for _, s := range f.Samples {
		if s.Kind == k {
			sums[s.Round] += bench.MiBRead(s)
		}
	}
	var values []float64
	for _, v := range sums {
		values = append(values, v)
	}
	return bench.SpreadOf(values).Median
}

// series are the points of one picture.
type series struct {
	function  string
	different bool
}

func (s series) String() string {
	text := "the same snapshot"
	if s.different {
		text = "a snapshot each"
	}
	if s.function == "" {
		return text
	}
	return s.function + ", " + text
}

func concurrency(d Data) section {
	s := section{ID: "concurrency", Title: "Many at the same time"}
	s.Text = []string{"What a start takes, and what all of them together read from the disk, by how many begin at the same time. Bars span the quartiles."}
	points := d.Points
	var seen []bench.Kind
	n := 0
	for _, one := range curves(points) {
		of := slices.DeleteFunc(slices.Clone(points), func(p Point) bool { return (series{p.Function, p.Different}) != one || p.Median <= 0 })
		seen = append(seen, drawn(of)...)
		s.Figures = append(s.Figures, timeCurve(n, one, of), diskCurve(n, one, of))
		n++
	}
	s.Keys = policyKeys(seen)
	return s
}

// curves are the series that have more than one point to draw.
func curves(points []Point) (all []series) {
	clones := map[series][]int{}
	for _, p := range points {
		s := series{p.Function, p.Different}
		if !slices.Contains(clones[s], p.Clones) && p.Median > 0 {
			clones[s] = append(clones[s], p.Clones)
		}
		if len(clones[s]) == 2 && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// drawn are the kinds that are drawn as lines.
func drawn(points []Point) (of []bench.Kind) {
	for _, p := range points {
		of = append(of, p.Kind)
	}
	f := bench.Function{}
	for _, k := range of {
		f.Samples = append(f.Samples, bench.Sample{Coordinates: bench.Coordinates{Kind: k}})
	}
	return drawable(f)
}

func timeCurve(n int, s series, points []Point) figure {
	p := curve(points, func(p Point) float64 { return p.Median }, true)
	return figure{"Median ms of a start", s.String(), render(p, linesHeight, fmt.Sprintf("concurrency%d", n),
		"Median time by how many start at the same time, "+s.String(), tell(points, func(p Point) string { return ms(p.Median) }))}
}

func diskCurve(n int, s series, points []Point) figure {
	p := curve(points, func(p Point) float64 { return p.ReadMiB }, false)
	return figure{"MiB read from the disk by all together", s.String(), render(p, linesHeight, fmt.Sprintf("concurrencydisk%d", n),
		"Bytes from the disk by how many start at the same time, "+s.String(), tell(points, func(p Point) string { return digits(p.ReadMiB) + " MiB" }))}
}

func tell(points []Point, figure func(Point) string) string {
	text := "By number at the same time:"
	for i, p := range points {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf(" %s at %d %s", p.Kind, p.Clones, figure(p))
	}
	return text + "."
}

// curve draws a figure of each kind over the number of clones, on a logarithmic
// axis.
func curve(points []Point, figure func(Point) float64, quartiles bool) *plot.Plot {
	p := newPlot("at the same time")
	p.Add(&plotter.Grid{Vertical: line(inkGrid, 1, false), Horizontal: line(inkGrid, 1, false)})
	clones := map[int]bool{}
	for _, k := range drawn(points) {
		of := slices.DeleteFunc(slices.Clone(points), func(p Point) bool { return p.Kind != k })
		slices.SortFunc(of, func(a, b Point) int { return cmp.Compare(a.Clones, b.Clones) })
		var xys plotter.XYs
		whiskers := &plotter.YErrorBars{LineStyle: line(inkOf(k), 1, false), CapWidth: 5}
		for _, one := range of {
			clones[one.Clones] = true
			xy := plotter.XY{X: math.Log2(float64(one.Clones)), Y: figure(one)}
			xys, whiskers.XYs = append(xys, xy), append(whiskers.XYs, xy)
			whiskers.YErrors = append(whiskers.YErrors, struct{ Low, High float64 }{one.Median - one.Q1, one.Q3 - one.Median})
		}
		if quartiles {
			p.Add(whiskers)
		}
		p.Add(&plotter.Line{XYs: xys, LineStyle: line(inkOf(k), 2, !k.Pool())}, dots(xys, inkOf(k)))
	}
	p.Y.Min, p.Y.Tick.Marker = 0, plot.TickerFunc(ticks)
	p.X.Tick.Marker = cloneTicks(clones)
	return p
}

func dots(xys plotter.XYs, ink svg.Ink) *plotter.Scatter {
	return &plotter.Scatter{XYs: xys, GlyphStyle: draw.GlyphStyle{Color: ink, Radius: vg.Points(2.5), Shape: draw.CircleGlyph{}}}
}

func cloneTicks(clones map[int]bool) (ticks plot.ConstantTicks) {
	for n := range clones {
		ticks = append(ticks, plot.Tick{Value: math.Log2(float64(n)), Label: fmt.Sprint(n)})
	}
	slices.SortFunc(ticks, func(a, b plot.Tick) int { return cmp.Compare(a.Value, b.Value) })
	return ticks
}
