package peers

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"thaw"
	"thaw/bench"
)

// timed are the samples as those of a function's kinds, to compare them as those are.
func (r Report) timed() bench.Function {
	f := bench.Function{Name: r.Function}
	for _, p := range r.Peers {
		for _, s := range p.Samples {
			f.Samples = append(f.Samples, bench.Sample{
				Coordinates: bench.Coordinates{Kind: bench.Kind(p.Name), Clones: 1}, Round: s.Round,
				Invocation: thaw.Invocation{DurationMS: s.WallMS, BytesRead: s.BytesRead},
			})
		}
	}
	return f
}

// Ratio compares the median time of a peer with that of thaw; false when one of them
// was not measured.
func (r Report) Ratio(peer string) (bench.Ratio, bool) {
	return r.timed().Compare(bench.Kind(peer), Thaw)
}

// Found is a report with what follows from its samples.
type Found struct {
	Report
	Ratios []bench.Ratio `json:"ratios"`
}

// WithRatios adds what follows from the samples, for machines that read.
func (r Report) WithRatios() Found {
	found := Found{Report: r, Ratios: []bench.Ratio{}}
	for _, p := range r.Peers {
		if ratio, ok := r.Ratio(p.Name); ok && p.Name != Thaw {
			found.Ratios = append(found.Ratios, ratio)
		}
	}
	return found
}

// WriteText writes a report for people.
func (r Report) WriteText(w io.Writer) error {
	e := r.Environment
	accelerator, _, _ := strings.Cut(e.Accelerator, ":")
	fmt.Fprintf(w, "machine  %d x %s, Linux %s, load %s\n", e.Cores, e.CPU, e.Kernel, e.LoadBefore)
	fmt.Fprintf(w, "guest    %s, %s: thaw and qemu; the others run on the processor itself\n", e.VMM, accelerator)
	fmt.Fprintf(w, "disk     %s; readahead %d KiB (%d before); every start found the page cache empty (mincore)\n", e.Disk, e.ReadaheadDuring, e.ReadaheadBefore)
	n := 0
	if len(r.Peers) > 0 {
		n = len(r.Peers[0].Samples)
	}
	fmt.Fprintf(w, "\n%s: %d MiB; start of the restore to the first right reply to %.80s; %d samples of each, in turns\n\n", r.Function, r.MemoryMiB, r.Event, n)
	if err := r.writeTable(w); err != nil {
		return err
	}
	return r.writeNotes(w)
}

func (r Report) writeTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "restore by\tmedian ms\tquartiles\tmin\tmax\tdisk MiB\tMiB read\t/ thaw\t95 %\t")
	f := r.timed()
	for _, p := range r.Peers {
		k := bench.Kind(p.Name)
		s := bench.SpreadOf(f.Values(k, bench.Total))
		fmt.Fprintf(t, "%s\t%.1f\t%.1f to %.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%s\t\n", p.Name, s.Median, s.Q1, s.Q3, s.Min, s.Max,
			float64(p.SnapshotBytes)/(1<<20), f.Median(k, bench.MiBRead), r.ratioCells(p.Name))
	}
	return t.Flush()
}

func (r Report) ratioCells(peer string) string {
	x, ok := r.Ratio(peer)
	if !ok || peer == Thaw {
		return "-\t-"
	}
	return fmt.Sprintf("%.2f\t%.2f to %.2f", x.Ratio, x.Low, x.High)
}

// writeNotes says what was compared, and what was not.
func (r Report) writeNotes(w io.Writer) (err error) {
	fmt.Fprintln(w)
	for _, p := range r.Peers {
		_, err = fmt.Fprintf(w, "%s: %s%s\n", p.Name, p.Version, policies(p.Samples))
	}
	for _, s := range r.Skipped {
		_, err = fmt.Fprintf(w, "%s: skipped: %s\n", s.Name, s.Reason)
	}
	return err
}

// policies are those that the starts of thaw chose, with how often.
func policies(samples []Sample) (text string) {
	counts := map[thaw.Policy]int{}
	for _, s := range samples {
		counts[s.Policy]++
	}
	for _, p := range thaw.Policies() {
		if counts[p] > 0 {
			text += fmt.Sprintf(", %d by %s", counts[p], p)
		}
	}
	return text
}

// WriteGo writes the samples in the Go benchmark format
// (golang.org/design/14313-benchmark-format), one line each, which benchstat reads.
func (r Report) WriteGo(w io.Writer) error {
	e := r.Environment
	fmt.Fprintf(w, "kernel: %s\ncpu: %s\ncores: %d\naccelerator: %s\nvmm: %s\nreadahead-kib: %d\nload: %s\nguest-memory-mib: %d\n",
		e.Kernel, e.CPU, e.Cores, e.Accelerator, e.VMM, e.ReadaheadDuring, e.LoadBefore, r.MemoryMiB)
	for _, p := range r.Peers {
		fmt.Fprintf(w, "peer-version: %s\n", p.Version)
		for _, s := range p.Samples {
			_, err := fmt.Fprintf(w, "BenchmarkRestore/function=%s/peer=%s 1 %.0f ns/op %d read-B %d snapshot-B\n", r.Function, p.Name, s.WallMS*1e6, s.BytesRead, p.SnapshotBytes)
			if err != nil {
				return err
			}
		}
	}
	return nil
}
