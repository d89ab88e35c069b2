package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"thaw"
)

// WriteText writes a report for people.
func (r Report) WriteText(w io.Writer) error {
	e := r.Environment
	fmt.Fprintf(w, "machine  %d x %s, Linux %s, load %s\n", e.Cores, e.CPU, e.Kernel, e.LoadBefore)
	accelerator, _, _ := strings.Cut(e.Accelerator, ":") // why is in the daemon's info
	fmt.Fprintf(w, "guest    %s, %s\n", e.VMM, accelerator)
	fmt.Fprintf(w, "disk     readahead %d KiB (%d before); every start from it found the page cache empty (mincore)\n", e.ReadaheadDuring, e.ReadaheadBefore)
	if r.Clones > 1 {
		fmt.Fprintf(w, "clones   %d at the same time\n", r.Clones)
	}
	for _, f := range r.Functions {
		if err := f.writeText(w, r.Clones); err != nil {
			return err
		}
	}
	if len(r.Functions) < 2 {
		return nil
	}
	fmt.Fprintln(w, "\nCold overhead: median ms above a warm invocation")
	return r.writeOverheads(w)
}

func (f Function) writeText(w io.Writer, clones int) error {
	fmt.Fprintf(w, "\n%s: %d MiB, snapshot %.0f MiB on disk, %d pages recorded by trace, %d by host pages; %d samples of each, in turns\n\n",
		f.Name, f.MemoryMiB, float64(f.SnapshotBytes)/(1<<20), f.WorkingSetPages, f.HostPages, len(f.Samples)/max(1, len(f.Kinds())*clones))
	if err := f.writeTotals(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := f.writePhases(w); err != nil {
		return err
	}
	return f.writeFindings(w)
}

func (f Function) writeTotals(w io.Writer) error {
	t := newTable(w)
	fmt.Fprintln(t, "start\tmedian ms\tquartiles\tmin\tmax\tabove floor\ttrapped\tmajor\tminor\tMiB read\trecall\tprecision\tprivate MiB\t")
	for _, k := range f.Kinds() {
		s := SpreadOf(f.Values(k, Total))
		fmt.Fprintf(t, "%s\t%.1f\t%.1f to %.1f\t%.1f\t%.1f\t%s\t%s\t%s\t%s\t%s\t\n", k, s.Median, s.Q1, s.Q3, s.Min, s.Max,
			f.overFloor(k), f.costs(k), f.cell(k, Recall, "%.3f"), f.cell(k, Precision, "%.3f"), f.cell(k, PrivateMiB, "%.1f"))
	}
	return t.Flush()
}

// cell is the median of a figure, or a dash where it was not measured.
func (f Function) cell(k Kind, figure func(Sample) float64, format string) string {
	if len(f.Values(k, figure)) == 0 {
		return "-"
	}
	return fmt.Sprintf(format, f.Median(k, figure))
}

func (f Function) overFloor(k Kind) string {
	over, ok := f.OverFloor(k)
	if !ok || k == KindFloor || k.Start() != thaw.StartCold {
		return "-"
	}
	return fmt.Sprintf("%+.1f", over)
}

// costs are the cells for faults and bytes of a row. Of clones that start
// together one may read for all: hence the mean.
func (f Function) costs(k Kind) string {
	return fmt.Sprintf("%.0f\t%.0f\t%.0f\t%.1f", f.Median(k, FaultsLeft), f.Median(k, MajorFaults), f.Median(k, MinorFaults), f.Mean(k, MiBRead))
}

func (f Function) writePhases(w io.Writer) error {
	t := newTable(w)
	fmt.Fprintf(t, "median ms of\t%s\t\n", strings.Join(f.Phases(), "\t"))
	for _, k := range f.Kinds() {
		fmt.Fprintf(t, "%s\t%s\t\n", k, f.phaseCells(k))
	}
	return t.Flush()
}

// phaseCells are the medians of the phases of a row; a dash is a phase that
// this kind does not have.
func (f Function) phaseCells(k Kind) string {
	cells := []string{}
	for _, name := range f.Phases() {
		cell := "-"
		if m := f.Median(k, Phase(name)); m > 0 {
			cell = fmt.Sprintf("%.1f", m)
		}
		cells = append(cells, cell)
	}
	return strings.Join(cells, "\t")
}

func (f Function) writeFindings(w io.Writer) error {
	found := f.Findings()
	if len(found.Ratios) > 0 {
		fmt.Fprintln(w, "\nMedian time of one over that of another, with 95 % confidence:")
	}
	t := newTable(w)
	for _, r := range found.Ratios {
		fmt.Fprintf(t, "%s\t/ %s\t%.2f\t%.2f to %.2f\t\n", r.Of, r.Over, r.Ratio, r.Low, r.High)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if reap := Of(thaw.PolicyReap, false); len(f.Values(reap, Total)) > 0 {
		fmt.Fprintf(w, "\nreap leaves %.1f %% of the %d recorded faults.", 100*found.FaultsLeft, f.WorkingSetPages)
	}
	_, err := fmt.Fprintf(w, "\nRemote control of guest memory costs %.2f ms; a warm invocation costs %.2f ms on top of the agent's own round trip.\n", found.LayoutMS, found.WarmOverheadMS)
	return err
}

// writeOverheads writes one row per function: what a start adds to a warm
// invocation.
func (r Report) writeOverheads(w io.Writer) error {
	t := newTable(w)
	kinds := r.Functions[0].Kinds()
	fmt.Fprint(t, "function\tguest MiB\tdisk MiB\twarm ms\t")
	for _, k := range kinds {
		if k != KindWarm {
			fmt.Fprintf(t, "%s\t", k)
		}
	}
	for _, f := range r.Functions {
		warm := f.Median(KindWarm, Total)
		fmt.Fprintf(t, "\n%s\t%d\t%.0f\t%.1f\t", f.Name, f.MemoryMiB, float64(f.SnapshotBytes)/(1<<20), warm)
		for _, k := range kinds {
			if k != KindWarm {
				fmt.Fprintf(t, "%.1f\t", f.Median(k, Total)-warm)
			}
		}
	}
	fmt.Fprintln(t)
	return t.Flush()
}

// WriteTable writes one row per kind: everything at a glance.
func (f Function) WriteTable(w io.Writer) error {
	t := newTable(w)
	fmt.Fprintf(t, "start\ttotal ms\t%s\ttrapped\tmajor\tminor\tMiB read\t\n", strings.Join(f.Phases(), "\t"))
	for _, k := range f.Kinds() {
		fmt.Fprintf(t, "%s\t%.1f\t%s\t%s\t\n", k, f.Median(k, Total), f.phaseCells(k), f.costs(k))
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
	fmt.Fprintf(w, "kernel: %s\ncpu: %s\ncores: %d\naccelerator: %s\nvmm: %s\nreadahead-kib: %d\nload: %s\nclones: %d\n",
		e.Kernel, e.CPU, e.Cores, e.Accelerator, e.VMM, e.ReadaheadDuring, e.LoadBefore, r.Clones)
	fmt.Fprint(w, "Unit trapped better=lower\nUnit prefetched-pages assume=exact\n")
	for _, f := range r.Functions {
		fmt.Fprintf(w, "guest-memory-mib: %d\n", f.MemoryMiB)
		for _, s := range f.Samples {
			_, err := fmt.Fprintf(w, "BenchmarkStart/function=%s/start=%s 1 %.0f ns/op %d trapped %d major %d minor %d read-B %d prefetched-pages\n",
				f.Name, s.Kind, s.DurationMS*1e6, s.Faults.Trapped, s.Faults.Major, s.Faults.Minor, s.BytesRead, s.PagesPrefetched)
			if err != nil {
				return err
			}
		}
	}
	return nil
}
