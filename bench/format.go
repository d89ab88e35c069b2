package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"thaw"
)

// WriteText writes a report for people.
func (r Report) WriteText(w io.Writer) error {
	r.Environment.writeText(w)
	if warnings := r.Warnings(); len(warnings) > 0 {
		fmt.Fprintf(w, "beware   %s\n", strings.Join(warnings, "\n         "))
	}
	for _, f := range r.Functions {
		if err := f.writeText(w); err != nil {
			return err
		}
	}
	if len(r.Functions) < 2 {
		return nil
	}
	fmt.Fprintln(w, "\nCold overhead: median ms above a warm invocation")
	return r.writeOverheads(w)
}

func (e Environment) writeText(w io.Writer) {
	fmt.Fprintf(w, "machine  %d x %s, Linux %s, load %s before, %s after\n", e.Cores, e.CPU, e.Kernel, orNone(e.LoadBefore), orNone(e.LoadAfter))
	n := e.Noise
	fmt.Fprintf(w, "noise    steal %.1f %%; something waited for CPU %.0f %%, IO %.0f %%, memory %.0f %% of the time\n",
		100*n.Steal, 100*n.CPUPressure, 100*n.IOPressure, 100*n.MemoryPressure)
	accelerator, _, _ := strings.Cut(e.Accelerator, ":") // why is in the daemon's info
	fmt.Fprintf(w, "guest    %s, %s; thaw %s\n", e.VMM, accelerator, e.Version)
	fmt.Fprintf(w, "disk     %s: %s\n", orNone(e.DiskModel), e.Disk)
	fmt.Fprintf(w, "         readahead %d KiB (%d before); every start from it found the page cache empty (mincore)\n", e.ReadaheadDuring, e.ReadaheadBefore)
}

func orNone(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func (f Function) writeText(w io.Writer) error {
	fmt.Fprintf(w, "\n%s: %d MiB, snapshot %.0f MiB on disk, %d pages recorded by trace, %d by host pages\n",
		f.Name, f.MemoryMiB, float64(f.SnapshotBytes)/(1<<20), f.WorkingSetPages, f.HostPages)
	f.writeMemory(w)
	for _, cell := range f.Cells() {
		if err := f.In(cell).writeCell(w, cell); err != nil {
			return err
		}
	}
	if err := f.writeLadder(w); err != nil {
		return err
	}
	return f.writeConcurrency(w)
}

func (f Function) writeCell(w io.Writer, cell Coordinates) error {
	fmt.Fprintf(w, "\n%s: %d samples of each, in turns\n\n", f.Title(cell), len(f.Samples)/max(1, len(f.Kinds())*cell.Clones))
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
	if found.RecordOverhead != 0 {
		fmt.Fprintf(w, "\nThe invocation that recorded took %+.0f %% compared with vanilla.", 100*found.RecordOverhead)
	}
	_, err := fmt.Fprintf(w, "\nRemote control of guest memory costs %.2f ms; a warm invocation costs %.2f ms on top of the agent's own round trip.\n", found.LayoutMS, found.WarmOverheadMS)
	return err
}

// writeOverheads writes one row per function: what a start adds to a warm
// invocation.
func (r Report) writeOverheads(w io.Writer) error {
	t := newTable(w)
	kinds := r.kinds()
	fmt.Fprint(t, "function\tguest MiB\tdisk MiB\twarm ms\t")
	for _, k := range kinds {
		if k != KindWarm {
			fmt.Fprintf(t, "%s\t", k)
		}
	}
	for _, f := range r.Functions {
		f = f.plain()
		warm := f.Median(KindWarm, Total)
		fmt.Fprintf(t, "\n%s\t%d\t%.0f\t%.1f\t", f.Name, f.MemoryMiB, float64(f.SnapshotBytes)/(1<<20), warm)
		for _, k := range kinds {
			if k != KindWarm {
				fmt.Fprintf(t, "%s\t", f.above(k, warm))
			}
		}
	}
	fmt.Fprintln(t)
	return t.Flush()
}

// above is the cell of what kind k adds to a warm invocation.
func (f Function) above(k Kind, warm float64) string {
	if len(f.Values(k, Total)) == 0 || warm == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", f.Median(k, Total)-warm)
}

// plain is f in the first cell only.
func (f Function) plain() Function {
	if cells := f.Cells(); len(cells) > 0 {
		return f.In(cells[0])
	}
	return f
}

// kinds are those of any function, in order.
func (r Report) kinds() (kinds []Kind) {
	for _, f := range r.Functions {
		for _, k := range f.Kinds() {
			if !slices.Contains(kinds, k) {
				kinds = append(kinds, k)
			}
		}
	}
	return kinds
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
