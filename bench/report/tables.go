package report

import (
	"fmt"

	"thaw"
	"thaw/bench"
)

// results are the numbers behind the pictures.
func results(d Data) section {
	s := section{ID: "results", Title: "All results"}
	if d.Bench == nil {
		return s
	}
	if len(d.Bench.Functions) > 1 {
		s.Tables = append(s.Tables, overview(d.Bench.Functions))
	}
	for _, f := range d.Bench.Functions {
		s.Tables = append(s.Tables, resultTable(f))
	}
	return s
}

// overview has a row for each kind and a column for each function.
func overview(functions []bench.Function) table {
	t := table{Caption: "Median ms, and in brackets how many times the floor (cached+pool) of the function", Head: []string{"start"}}
	for _, f := range functions {
		t.Head = append(t.Head, f.Name)
	}
	for _, k := range kinds(functions) {
		row := []string{string(k)}
		for _, f := range functions {
			row = append(row, overviewCell(f, k))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func overviewCell(f bench.Function, k bench.Kind) string {
	if len(f.Values(k, bench.Total)) == 0 {
		return "–"
	}
	cell := digits(f.Median(k, bench.Total))
	if r, ok := f.Compare(k, bench.KindFloor); ok && k != bench.KindWarm {
		cell += fmt.Sprintf(" (%.2f)", r.Ratio)
	}
	return cell
}

func resultTable(f bench.Function) table {
	t := table{
		Caption: fmt.Sprintf("%s: %d MiB, snapshot of %.0f MiB on disk; recorded were %d pages by trace, %d by host pages", f.Name, f.MemoryMiB, float64(f.SnapshotBytes)/(1<<20), f.WorkingSetPages, f.HostPages),
		Head:    []string{"start", "samples", "median ms", "95" + noBreak + "%", "quartiles", "× floor", "95" + noBreak + "%", "trapped", "major", "minor", "MiB read", "recall", "precision", "private MiB"},
	}
	for _, k := range f.Kinds() {
		t.Rows = append(t.Rows, resultRow(f, k))
	}
	return t
}

func resultRow(f bench.Function, k bench.Kind) []string {
	s := bench.SpreadOf(f.Values(k, bench.Total))
	low, high := f.Interval(k)
	row := []string{string(k), fmt.Sprint(len(f.Values(k, bench.Total))), digits(s.Median), span(low, high), span(s.Q1, s.Q3)}
	if r, ok := f.Compare(k, bench.KindFloor); ok && k.Start() == thaw.StartCold && k != bench.KindFloor {
		row = append(row, fmt.Sprintf("%.2f", r.Ratio), fmt.Sprintf("%.2f–%.2f", r.Low, r.High))
	} else {
		row = append(row, "–", "–")
	}
	whole := func(figure func(bench.Sample) float64) string { return fmt.Sprintf("%.0f", f.Median(k, figure)) }
	return append(row, whole(bench.FaultsLeft), whole(bench.MajorFaults), whole(bench.MinorFaults), fmt.Sprintf("%.1f", f.Mean(k, bench.MiBRead)),
		measured(f, k, bench.Recall, "%.3f"), measured(f, k, bench.Precision, "%.3f"), measured(f, k, bench.PrivateMiB, "%.1f"))
}

// measured is the median of a figure that not every sample has.
func measured(f bench.Function, k bench.Kind, figure func(bench.Sample) float64, format string) string {
	if len(f.Values(k, figure)) == 0 {
		return "–"
	}
	return fmt.Sprintf(format, f.Median(k, figure))
}

// papers puts the REAP paper's table beside ours.
func papers(d Data) section {
	s := section{ID: "papers", Title: "Beside the REAP paper"}
	if d.Bench == nil {
		return s
	}
	s.Text = []string{"Their figures are from another machine: guests under KVM, two Xeon E5-2680 v3, a SATA SSD (850 MB/s, 32 MB/s by single pages), Linux 4.15, guests of 256 MB; read from the paper's figures, to 1 or 2 %. Ours are of the functions of the same name; what a function does may differ. Compare ratios, not milliseconds."}
	t := table{
		Caption: "Milliseconds, and working sets in MB of 10⁶ bytes",
		Groups:  []group{{"", 1}, {"warm", 2}, {"vanilla", 2}, {"REAP", 2}, {"vanilla / REAP", 2}, {"working set MB", 2}},
		Head:    []string{"function", "theirs", "ours", "theirs", "ours", "theirs", "ours", "theirs", "ours", "theirs", "ours"},
	}
	for _, row := range theirs() {
		t.Rows = append(t.Rows, paperRow(row, d.Bench.Functions))
	}
	for _, f := range d.Bench.Functions {
		if theirName(f.Name) == "" {
			t.Rows = append(t.Rows, besides(f.Name, [5]string{"–", "–", "–", "–", "–"}, ours(f)))
		}
	}
	s.Tables = []table{t}
	return s
}

func paperRow(t Theirs, functions []bench.Function) []string {
	mine := [5]string{"–", "–", "–", "–", "–"}
	name := t.Function
	for _, f := range functions {
		if theirName(f.Name) == t.Function {
			mine = ours(f)
			if f.Name != name {
				name += " (" + f.Name + ")"
			}
		}
	}
	return besides(name, [5]string{
		fmt.Sprintf("%.0f", t.Warm), fmt.Sprintf("%.0f", t.Vanilla), fmt.Sprintf("%.0f", t.Reap), fmt.Sprintf("%.2f", t.Vanilla/t.Reap), fmt.Sprintf("%.0f", t.WorkingSetMB),
	}, mine)
}

// ours are the columns of [papers] for a function.
func ours(f bench.Function) [5]string {
	cell := func(v float64) string {
		if v == 0 {
			return "–"
		}
		return digits(v)
	}
	ratio := 0.0
	if r, ok := f.Compare("vanilla", "reap"); ok {
		ratio = r.Ratio
	}
	return [5]string{
		cell(f.Median(bench.KindWarm, bench.Total)), cell(f.Median("vanilla", bench.Total)), cell(f.Median("reap", bench.Total)),
		cell(ratio), cell(float64(f.WorkingSetPages*thaw.PageSize) / 1e6),
	}
}

func besides(name string, theirs, ours [5]string) []string {
	row := []string{name}
	for i := range theirs {
		row = append(row, theirs[i], ours[i])
	}
	return row
}
