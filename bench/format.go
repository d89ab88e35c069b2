package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteText writes a report for people.
func (r Report) WriteText(w io.Writer) error {
	e := r.Environment
	fmt.Fprintf(w, "%s, %d samples of each, taken in turns\n", r.Function, len(r.Samples)/max(1, len(r.Kinds())))
	fmt.Fprintf(w, "machine   %d x %s, Linux %s, load %s\n", e.Cores, e.CPU, e.Kernel, e.LoadBefore)
	fmt.Fprintf(w, "guest     %s, %d MiB, %s\n", e.VMM, e.MemoryMiB, e.Accelerator)
	fmt.Fprintf(w, "disk      readahead %d KiB (%d before); every cold start found the page cache empty (mincore)\n\n", e.ReadaheadDuring, e.ReadaheadBefore)
	if err := r.writeTotals(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := r.writePhases(w); err != nil {
		return err
	}
	f := r.Findings()
	_, err := fmt.Fprintf(w, `
reap takes %.2f of vanilla's time and leaves %.1f %% of the %d recorded faults.
Remote control of guest memory costs %.2f ms; a warm invocation costs %.2f ms on top of the agent's own round trip.
`, f.ReapOverVanilla, 100*f.FaultsLeft, r.WorkingSetPages, f.LayoutMS, f.WarmOverheadMS)
	return err
}

func (r Report) writeTotals(w io.Writer) error {
	t := newTable(w)
	fmt.Fprintln(t, "start\tmedian ms\tquartiles\tmin\tmax\ttrapped\tmajor\tminor\tMiB read\t")
	for _, k := range r.Kinds() {
		s := SpreadOf(r.Values(k, Total))
		fmt.Fprintf(t, "%s\t%.1f\t%.1f to %.1f\t%.1f\t%.1f\t%s\t\n", k, s.Median, s.Q1, s.Q3, s.Min, s.Max, r.costs(k))
	}
	return t.Flush()
}

// costs are the cells for faults and bytes of a row.
func (r Report) costs(k Kind) string {
	return fmt.Sprintf("%.0f\t%.0f\t%.0f\t%.1f", r.Median(k, FaultsLeft), r.Median(k, MajorFaults), r.Median(k, MinorFaults), r.Median(k, MiBRead))
}

func (r Report) writePhases(w io.Writer) error {
	t := newTable(w)
	fmt.Fprintf(t, "median ms of\t%s\t\n", strings.Join(r.Phases(), "\t"))
	for _, k := range r.Kinds() {
		fmt.Fprintf(t, "%s\t%s\t\n", k, r.phaseCells(k))
	}
	return t.Flush()
}

// phaseCells are the medians of the phases of a row; a dash is a phase that
// this kind does not have.
func (r Report) phaseCells(k Kind) string {
	cells := []string{}
	for _, name := range r.Phases() {
		cell := "-"
		if m := r.Median(k, Phase(name)); m > 0 {
			cell = fmt.Sprintf("%.1f", m)
		}
		cells = append(cells, cell)
	}
	return strings.Join(cells, "\t")
}

// WriteTable writes one row per kind: everything at a glance.
func (r Report) WriteTable(w io.Writer) error {
	t := newTable(w)
	fmt.Fprintf(t, "start\ttotal ms\t%s\ttrapped\tmajor\tminor\tMiB read\t\n", strings.Join(r.Phases(), "\t"))
	for _, k := range r.Kinds() {
		fmt.Fprintf(t, "%s\t%.1f\t%s\t%s\t\n", k, r.Median(k, Total), r.phaseCells(k), r.costs(k))
	}
	return t.Flush()
}

func newTable(w io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
}

// WriteGo writes the samples in the Go benchmark format
// (golang.org/design/14313-benchmark-format), one line each, which benchstat
// reads.
func (r Report) WriteGo(w io.Writer) error {
	e := r.Environment
	fmt.Fprintf(w, "kernel: %s\ncpu: %s\ncores: %d\naccelerator: %s\nvmm: %s\nguest-memory-mib: %d\nreadahead-kib: %d\nload: %s\n",
		e.Kernel, e.CPU, e.Cores, e.Accelerator, e.VMM, e.MemoryMiB, e.ReadaheadDuring, e.LoadBefore)
	fmt.Fprint(w, "Unit trapped better=lower\nUnit prefetched-pages assume=exact\n")
	for _, s := range r.Samples {
		_, err := fmt.Fprintf(w, "BenchmarkStart/function=%s/start=%s 1 %.0f ns/op %d trapped %d major %d minor %d read-B %d prefetched-pages\n",
			r.Function, s.Kind, s.DurationMS*1e6, s.Faults.Trapped, s.Faults.Major, s.Faults.Minor, s.BytesRead, s.PagesPrefetched)
		if err != nil {
			return err
		}
	}
	return nil
}
