package faults

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"thaw"
	"thaw/bench"
)

// WriteText writes a report for people.
func (r *Report) WriteText(w io.Writer) error {
	e := r.Environment
	fmt.Fprintf(w, "page faults of a process, no VM; medians over %d rounds in which everything takes turns\n", r.Rounds)
	fmt.Fprintf(w, "machine  %d x %s, Linux %s, load %s\n", e.Cores, e.CPU, e.Kernel, e.Load)
	fmt.Fprintf(w, "disk     %s, readahead %d KiB, which its class does without (MADV_RANDOM); nothing in the page cache before (mincore)\n", e.Disk, e.ReadaheadKiB)
	fmt.Fprintf(w, "huge     transparent %s, of files in memory %s; %s pages reserved\n", e.HugePages, e.HugeFiles, e.ReservedHugePages)
	for _, section := range []func(io.Writer) error{r.writeSummary, r.writeOrders, r.writeClasses, r.writeUnavailable, r.writeWays} {
		if err := section(w); err != nil {
			return err
		}
	}
	return nil
}

// writeSummary is one row per backing of 4 KiB pages, with what others published.
func (r *Report) writeSummary(w io.Writer) error {
	fmt.Fprint(w, "\nOne fault of 4 KiB, median us:\n\n")
	t := newTable(w)
	fmt.Fprintln(t, "page is\tread\twrite\tcopy-on-write\tFaaSnap's, in a VM\t")
	for _, b := range backings() {
		fmt.Fprintf(t, "%s\t", b)
		for _, touch := range []Touch{Read, Write, CopyOnWrite} {
			fmt.Fprintf(t, "%s\t", r.cell(Kind{b, touch, thaw.PageSize}))
		}
		fmt.Fprintf(t, "%s\t\n", r.theirs(b))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	in, _ := r.Class(Kind{InPlace, Read, thaw.PageSize})
	_, err := fmt.Fprintf(w, "\nA touch of a page in place takes %.3f us, most of it reading the clock: it is in each figure.\n", in.US.Median)
	return err
}

func (r *Report) cell(k Kind) string {
	c, ok := r.Class(k)
	switch {
	case !ok || c.Unavailable != "":
		return "-"
	case c.Touches > 0 && c.Minor+c.Major+c.Trapped <= strays*int64(r.Rounds):
		return "no fault"
	}
	return fmt.Sprintf("%.2f", c.US.Median)
}

func (r *Report) theirs(b Backing) string {
	for _, p := range r.Published {
		if p.Backing == b {
			return fmt.Sprintf("%.1f", p.US)
		}
	}
	return "-"
}

// writeOrders says whether the order of the papers holds.
func (r *Report) writeOrders(w io.Writer) error {
	for _, o := range r.Orders {
		var terms []string
		for i, b := range o.Backings {
			terms = append(terms, fmt.Sprintf("%s %.2f", b, o.US[i]))
		}
		verdict := "does not hold"
		if o.Holds {
			verdict = "holds"
		}
		if _, err := fmt.Fprintf(w, "By %s the order %s %s (in %d of %d rounds).\n", o.Touch, strings.Join(terms, " < "), verdict, o.HeldRounds, r.Rounds); err != nil {
			return err
		}
	}
	return nil
}

func (r *Report) writeClasses(w io.Writer) error {
	fmt.Fprint(w, "\nEvery class; counts are per touch, pages of 4 KiB that it mapped and that are copies of its own:\n\n")
	t := newTable(w)
	fmt.Fprintln(t, "page\tis\ttouch\tmedian us\tquartiles\tmax\ttouches\tminor\tmajor\ttrapped\tmapped\town\t")
	again := 0
	for _, c := range r.Classes {
		again += c.Again
		if c.Unavailable != "" {
			continue
		}
		s := c.US
		fmt.Fprintf(t, "%s\t%s\t%s\t%.2f\t%.2f to %.2f\t%.0f\t%d\t%s\t\n", pageName(c.PageBytes), c.Backing, c.Touch, s.Median, s.Q1, s.Q3, s.Max, c.Touches, c.perTouch())
	}
	err := t.Flush()
	if again > 0 {
		fmt.Fprintf(w, "\n%d samples had other faults among theirs and were taken again.\n", again)
	}
	return err
}

func (c Counts) perTouch() string {
	var cells []string
	for _, n := range []int64{c.Minor, c.Major, c.Trapped, c.Mapped, c.Own} {
		cells = append(cells, fmt.Sprintf("%.4g", float64(n)/float64(max(1, c.Touches))))
	}
	return strings.Join(cells, "\t")
}

// writeUnavailable says what this machine does not have, and why.
func (r *Report) writeUnavailable(w io.Writer) error {
	var lines []string
	for _, c := range r.Classes {
		if c.Unavailable != "" {
			lines = append(lines, fmt.Sprintf("  %s: %s", c.Kind, c.Unavailable))
		}
	}
	for _, x := range r.Ways {
		if x.Unavailable != "" {
			lines = append(lines, fmt.Sprintf("  %s: %s", x.Method, x.Unavailable))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\nNot available here:\n%s\n", strings.Join(lines, "\n"))
	return err
}

func (r *Report) writeWays(w io.Writer) error {
	fmt.Fprint(w, "\nMany pages at once:\n\n")
	t := newTable(w)
	fmt.Fprintln(t, "way\tfrom\tpages a call\tmedian us a page\tquartiles\tGB/s\tmapped\town\t")
	for _, x := range r.Ways {
		if x.Unavailable != "" {
			continue
		}
		s := x.US
		fmt.Fprintf(t, "%s\t%s\t%d\t%.3f\t%.3f to %.3f\t%.2f\t%.4g\t%.4g\t\n", x.Way, x.From, x.Pages, s.Median, s.Q1, s.Q3, x.GBps, x.Mapped, x.Own)
	}
	return t.Flush()
}

func newTable(w io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
}

// WriteGo writes the samples in the Go benchmark format
// (golang.org/design/14313-benchmark-format), which benchstat reads: one line per
// round, whose time is the median of the round's touches or calls. The time of a way
// is that of one page.
func (r *Report) WriteGo(w io.Writer) error {
	e := r.Environment
	fmt.Fprintf(w, "kernel: %s\ncpu: %s\ncores: %d\ndisk: %s\nreadahead-kib: %d\nload: %s\nhuge-pages: %s\nhuge-files: %s\n",
		e.Kernel, e.CPU, e.Cores, e.Disk, e.ReadaheadKiB, e.Load, e.HugePages, e.HugeFiles)
	fmt.Fprint(w, "Unit minor/op better=lower\nUnit major/op better=lower\nUnit trapped/op better=lower\nUnit mapped/op better=higher\n")
	for _, c := range r.Classes {
		for _, us := range c.RoundsUS {
			each := 1 / float64(max(1, c.Touches))
			if _, err := fmt.Fprintf(w, "BenchmarkFault/page=%s/backing=%s/touch=%s %d %.1f ns/op %.4g minor/op %.4g major/op %.4g trapped/op %.4g mapped/op\n",
				strings.ReplaceAll(pageName(c.PageBytes), " ", ""), c.Backing, c.Touch, len(us), 1e3*bench.SpreadOf(us).Median,
				float64(c.Minor)*each, float64(c.Major)*each, float64(c.Trapped)*each, float64(c.Mapped)*each); err != nil {
				return err
			}
		}
	}
	return r.writeGoWays(w)
}

func (r *Report) writeGoWays(w io.Writer) error {
	for _, x := range r.Ways {
		for _, us := range x.RoundsUS {
			each := bench.SpreadOf(us).Median
			if _, err := fmt.Fprintf(w, "BenchmarkBring/way=%s/from=%s/pages=%d %d %.2f ns/op %.1f MB/s\n",
				x.Way, x.From, x.Pages, len(us)*x.Pages, 1e3*each, thaw.PageSize/each); err != nil {
				return err
			}
		}
	}
	return nil
}
