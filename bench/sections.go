package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"thaw"
)

// writeMemory writes what the working set is made of, and what learning it took.
func (f Function) writeMemory(w io.Writer) {
	if m := f.Memory; m != nil {
		fmt.Fprintf(w, "memory   %.1f MiB booted; working set %.1f MiB (%.0f %%) in %d runs of %.1f pages; %d pages written, %d zero\n",
			mib(m.Booted), mib(m.WorkingSet), 100*m.Share(), m.Runs, m.Contiguity(), m.Written, m.Zero)
		if in := m.Inputs; in != nil {
			fmt.Fprintf(w, "inputs   %d pages in both; %d only in the recorded one, %d only in the measured one (%.1f %% of its own)\n",
				in.Same, in.OnlyRecorded, in.OnlyMeasured, 100*in.Unique())
		}
	}
	for _, r := range f.Recordings {
		fmt.Fprintf(w, "learning %s%s: reply after %.1f ms, published %.1f ms later, %d pages\n", r.Policy, of(r.Input), r.InvocationMS, r.PublishMS, r.Pages)
	}
	var files []string
	for _, file := range f.Files {
		files = append(files, fmt.Sprintf("%s %.2f", file.Name, float64(file.DiskBytes)/(1<<20)))
	}
	if len(files) > 0 {
		fmt.Fprintf(w, "on disk  MiB: %s\n", strings.Join(files, ", "))
	}
}

func of(input string) string {
	if input == "" {
		return ""
	}
	return " of input " + input
}

func mib(pages int64) float64 { return float64(pages) * thaw.PageSize / (1 << 20) }

// Step is a step of the way from vanilla to REAP.
type Step struct {
	Kind    Kind    `json:"kind"`
	TotalMS float64 `json:"total_ms"`
	// FetchMS is how long the working set took to come in, 0 of vanilla, where it
	// comes page by page.
	FetchMS float64 `json:"fetch_ms"`
	// MBps is the working set over that, in 10^6 bytes per second.
	MBps float64 `json:"mbps"`
}

// Ladder are the medians of the steps of REAP's figure 7 that were measured, in its
// order, in the first cell.
func (f Function) Ladder() (steps []Step) {
	f = f.plain()
	for _, p := range []thaw.Policy{thaw.PolicyVanilla, thaw.PolicyReapParallel, thaw.PolicyReapBuffered, thaw.PolicyReap} {
		k := Of(p, false)
		if len(f.Values(k, Total)) == 0 {
			continue
		}
		s := Step{Kind: k, TotalMS: f.Median(k, Total), FetchMS: f.Median(k, Phase(thaw.PhasePrefetch))}
		if s.FetchMS > 0 {
			s.MBps = f.Median(k, func(s Sample) float64 { return float64(s.PagesPrefetched) }) * thaw.PageSize / 1e3 / s.FetchMS
		}
		steps = append(steps, s)
	}
	return steps
}

func (f Function) writeLadder(w io.Writer) error {
	steps := f.Ladder()
	if len(steps) < 3 {
		return nil // no ladder
	}
	fmt.Fprintf(w, "\n%s, step by step as in REAP's figure 7:\n", f.Name)
	t := newTable(w)
	fmt.Fprintln(t, "start\tmedian ms\tfetch ms\tMB/s\t")
	for _, s := range steps {
		fmt.Fprintf(t, "%s\t%.1f\t%s\t%s\t\n", s.Kind, s.TotalMS, unlessZero(s.FetchMS), unlessZero(s.MBps))
	}
	return t.Flush()
}

func unlessZero(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", v)
}

// Crowd is what invocations that started at the same time came to.
type Crowd struct {
	Coordinates
	// MedianMS and MaxMS are of single invocations.
	MedianMS float64 `json:"median_ms"`
	MaxMS    float64 `json:"max_ms"`
	// MiBRead is what came from the disk for one of them, in the mean.
	MiBRead float64 `json:"mib_read"`
	// PrivateMiB is the memory that one of them had alone, in the median; 0 where it
	// was not measured.
	PrivateMiB float64 `json:"private_mib"`
}

// Crowds are all kinds in all cells, by kind.
func (f Function) Crowds() (crowds []Crowd) {
	for _, k := range f.Kinds() {
		for _, cell := range f.Cells() {
			in := f.In(cell)
			spread := SpreadOf(in.Values(k, Total))
			if spread == (Spread{}) {
				continue
			}
			cell.Kind = k
			crowds = append(crowds, Crowd{
				Coordinates: cell, MedianMS: spread.Median, MaxMS: spread.Max, MiBRead: in.Mean(k, MiBRead), PrivateMiB: in.Median(k, PrivateMiB),
			})
		}
	}
	return crowds
}

// writeConcurrency writes how starts fare with others beside them.
func (f Function) writeConcurrency(w io.Writer) error {
	crowds := f.Crowds()
	if !slices.ContainsFunc(crowds, func(c Crowd) bool { return c.Clones > 1 }) {
		return nil
	}
	fmt.Fprintf(w, "\n%s, by how many start at the same time:\n", f.Name)
	t := newTable(w)
	fmt.Fprintln(t, "start\tinput\tclones\tsnapshots\tmedian ms\tmax ms\tMiB read each\tprivate MiB each\t")
	for _, c := range crowds {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%.1f\t%.1f\t%.1f\t%s\t\n", c.Kind, goName(c.Input), c.Clones, c.Snapshots, c.MedianMS, c.MaxMS, c.MiBRead, unlessZero(c.PrivateMiB))
	}
	return t.Flush()
}
