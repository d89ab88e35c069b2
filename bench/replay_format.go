package bench

import (
	"fmt"
	"io"
	"math"

	"thaw"
)

// timed are the totals as samples, to compare them as those of VMs are.
func (f Replayed) timed() Function {
	t := Function{Name: f.Name}
	for _, s := range f.Samples {
		t.Samples = append(t.Samples, Sample{Coordinates: Coordinates{Kind: s.Kind}, Round: s.Round, Invocation: thaw.Invocation{DurationMS: s.TotalMS}})
	}
	return t
}

// Kinds returns the kinds that were replayed, in the order they took turns.
func (f Replayed) Kinds() []Kind { return f.timed().Kinds() }

// Median returns the median of a figure over the samples of a kind.
func (f Replayed) Median(k Kind, figure func(ReplaySample) float64) float64 {
	var values []float64
	for _, s := range f.Samples {
		if s.Kind == k {
			values = append(values, figure(s))
		}
	}
	return SpreadOf(values).Median
}

// DiskMS is how long the disk alone takes for the bytes of thaw's loading set, by the
// median of the rates that were seen in the run, in milliseconds; 0 is not measured.
func (f Replayed) DiskMS() float64 {
	var rates []float64
	for _, d := range f.Disks {
		rates = append(rates, d.SequentialMBps)
	}
	if len(rates) == 0 {
		return 0
	}
	return float64(f.SetBytes) / 1e3 / SpreadOf(rates).Median
}

// OverDisk is how many times what the disk alone takes it was, in the median, until
// thaw had its loading set in place; false when it is not known.
func (f Replayed) OverDisk() (ratio float64, ok bool) {
	disk, installed := f.DiskMS(), f.Median(Kind(thaw.PolicyThaw), installedMS)
	if disk == 0 || installed == 0 {
		return 0, false
	}
	return installed / disk, true
}

func installedMS(s ReplaySample) float64 { return s.InstalledMS }

// OverDisk is the geometric mean of those of the functions; false when one is not
// known.
func (r ReplayReport) OverDisk() (ratio float64, ok bool) {
	sum := 0.0
	for _, f := range r.Functions {
		x, ok := f.OverDisk()
		if !ok {
			return 0, false
		}
		sum += math.Log(x)
	}
	return math.Exp(sum / float64(len(r.Functions))), len(r.Functions) > 0
}

// Ratio compares the median totals of two kinds; false when one was not replayed.
func (f Replayed) Ratio(of, over Kind) (Ratio, bool) { return f.timed().Compare(of, over) }

// replayPairs are the comparisons of interest.
func replayPairs() [][2]Kind {
	ours := Kind(thaw.PolicyThaw)
	return [][2]Kind{
		{ours, Kind(thaw.PolicyVanilla)}, {ours, Kind(thaw.PolicyReap)}, {ours, Kind(thaw.PolicyFaaSnap)}, {ours, KindCached},
	}
}

// WriteText writes a report for people.
func (r ReplayReport) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%s\n", r.Replay)
	r.Environment.writeText(w)
	fmt.Fprintf(w, "pace     recorded time between touches divided by %.3g\n", r.Factor)
	if r.Partial != "" {
		fmt.Fprintf(w, "beware   the run is partial: %s\n", r.Partial)
	}
	for _, p := range r.Problems() {
		fmt.Fprintf(w, "beware   not replayed to the end: %s\n", p)
	}
	for _, f := range r.Functions {
		if err := r.writeFunction(w, f); err != nil {
			return err
		}
	}
	return r.writeRatios(w)
}

// String describes d in a few words.
func (d Disk) String() string {
	if d.SequentialMBps == 0 {
		return "not measured"
	}
	return fmt.Sprintf("%.0f MB/s in requests of 1 MiB, 4 KiB in %.0f us", d.SequentialMBps, d.Random4KiBUS)
}

func (r ReplayReport) writeFunction(w io.Writer, f Replayed) error {
	fmt.Fprintf(w, "\n%s: %d pages touched, %d samples of each, in turns", f.Name, f.Touches, len(f.Samples)/max(1, len(f.Kinds())))
	if disk := f.DiskMS(); disk > 0 {
		fmt.Fprintf(w, "; thaw's loading set of %.1f MB takes the disk %.1f ms", float64(f.SetBytes)/1e6, disk)
	}
	if over, ok := f.OverDisk(); ok {
		fmt.Fprintf(w, " and is in place after %.2f times that", over)
	}
	fmt.Fprint(w, "\n\n")
	t := newTable(w)
	fmt.Fprintln(t, "replay of\tmedian ms\tquartiles\tmin\tmax\tsetup\tinstalled\tstalled\tstalls\ttrapped\tmajor\tminor\tMiB read\t")
	for _, k := range f.Kinds() {
		s := SpreadOf(f.timed().Values(k, Total))
		fmt.Fprintf(t, "%s\t%.2f\t%.2f to %.2f\t%.2f\t%.2f\t%s\t\n", k, s.Median, s.Q1, s.Q3, s.Min, s.Max, f.cells(k))
	}
	return t.Flush()
}

func (f Replayed) cells(k Kind) string {
	return fmt.Sprintf("%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%.0f\t%.0f\t%.1f",
		f.Median(k, func(s ReplaySample) float64 { return s.SetupMS }),
		f.Median(k, installedMS),
		f.Median(k, func(s ReplaySample) float64 { return s.StallMS }),
		f.Median(k, func(s ReplaySample) float64 { return float64(s.Stalls) }),
		f.Median(k, func(s ReplaySample) float64 { return float64(s.Faults.Trapped) }),
		f.Median(k, func(s ReplaySample) float64 { return float64(s.Faults.Major) }),
		f.Median(k, func(s ReplaySample) float64 { return float64(s.Faults.Minor) }),
		f.Median(k, func(s ReplaySample) float64 { return float64(s.BytesRead) / (1 << 20) }))
}

// writeRatios compares thaw with the others, by function and over all.
func (r ReplayReport) writeRatios(w io.Writer) error {
	fmt.Fprintln(w, "\nMedian time of one over that of another, with 95 % confidence:")
	t := newTable(w)
	for _, f := range r.Functions {
		for _, p := range replayPairs() {
			if x, ok := f.Ratio(p[0], p[1]); ok {
				fmt.Fprintf(t, "%s\t%s\t/ %s\t%.2f\t%.2f to %.2f\t\n", f.Name, x.Of, x.Over, x.Ratio, x.Low, x.High)
			}
		}
	}
	for _, p := range replayPairs() {
		if x, ok := r.Overall(p[0], p[1]); ok && len(r.Functions) > 1 {
			fmt.Fprintf(t, "geometric mean\t%s\t/ %s\t%.2f\t%.2f to %.2f\t\n", x.Of, x.Over, x.Ratio, x.Low, x.High)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if over, ok := r.OverDisk(); ok {
		fmt.Fprintf(w, "\nthaw's loading sets are in place after %.2f times what the disk alone takes for them (geometric mean).\n", over)
	}
	return nil
}
