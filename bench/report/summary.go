package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"thaw"
	"thaw/bench"
)

// Summary says in words what a run found.
type Summary struct {
	// Findings are sentences, the most important first.
	Findings []string
	// Measured says what was measured, and on what.
	Measured []string
	Warnings []Warning
}

// Summarize puts d into words.
func Summarize(d Data) Summary {
	s := Summary{Warnings: Warnings(d)}
	if d.Bench != nil {
		s.Findings = append(s.Findings, starts(*d.Bench)...)
		s.Measured = append(s.Measured, subject(*d.Bench), machine(d.Bench.Environment))
	}
	if d.Replay != nil {
		s.Findings = append(s.Findings, replayed(*d.Replay)...)
		s.Measured = append(s.Measured, replaySubject(*d.Replay), machine(d.Replay.Environment))
	}
	if len(s.Findings) > 0 {
		s.Measured = append(s.Measured, confidence)
	}
	return s
}

const confidence = "Figures are medians. Ratios are of medians, over several functions their geometric mean; in brackets stands the range that holds " +
	"them with 95 % confidence (a bootstrap over the rounds, in which all took turns). Where that range spans 1, the two are not distinguishable."

// comparison is a run of either kind.
type comparison struct {
	functions []bench.Function
	compare   func(of, over bench.Kind) (bench.Ratio, bool)
}

func starts(r bench.Report) (sentences []string) {
	c := comparison{r.Functions, r.Overall}
	pooled := func(k bench.Kind) bool { return restores(k) && k.Pool() }
	published := func(k bench.Kind) bool { return restores(k) && !k.Pool() }
	sentences = append(sentences, c.verdict("With a VMM that was waiting (+pool)", pooled), c.verdict("With the VMM started for each start, as published", published))
	if best := c.ranking(pooled); len(best) > 0 {
		sentences = append(sentences, c.floor(best[0]))
	}
	return slices.DeleteFunc(append(sentences, c.warm(), c.claims()), func(s string) bool { return s == "" })
}

// ranking are the kinds that each function was measured with, fastest first.
func (c comparison) ranking(among func(bench.Kind) bool) []bench.Kind {
	mean := map[bench.Kind]float64{}
	var all []bench.Kind
	for _, k := range kinds(c.functions) {
		if !among(k) || !c.complete(k) {
			continue
		}
		all = append(all, k)
		for _, f := range c.functions {
			mean[k] += math.Log(f.Median(k, bench.Total))
		}
	}
	slices.SortStableFunc(all, func(a, b bench.Kind) int { return cmp.Compare(mean[a], mean[b]) })
	return all
}

func (c comparison) complete(k bench.Kind) bool {
	return !slices.ContainsFunc(c.functions, func(f bench.Function) bool { return len(f.Values(k, bench.Total)) == 0 })
}

// verdict says which kind is fastest, by how much, and how sure that is.
func (c comparison) verdict(when string, among func(bench.Kind) bool) string {
	ranking := c.ranking(among)
	if len(ranking) == 0 {
		return ""
	}
	best := ranking[0]
	text := fmt.Sprintf("%s, %s was fastest: %s.", when, best, c.medians(best))
	if len(ranking) == 1 {
		return fmt.Sprintf("%s, only %s was measured: %s.", when, best, c.medians(best))
	}
	var alike []string
	for _, k := range ranking[1:] {
		r, ok := c.compare(best, k)
		switch {
		case !ok:
		case !r.Certain():
			alike = append(alike, string(k))
		default:
			return text + notDistinguishable(alike) + fmt.Sprintf(" It took %s of the time of %s%s.", interval(r), k, c.how())
		}
	}
	return text + notDistinguishable(alike)
}

func notDistinguishable(alike []string) string {
	if len(alike) == 0 {
		return ""
	}
	return " It is not distinguishable from " + list(alike) + "."
}

// how says what a ratio is one of.
func (c comparison) how() string {
	if len(c.functions) > 1 {
		return fmt.Sprintf(", over %d functions", len(c.functions))
	}
	return ""
}

// manyFunctions is from where medians are not told one by one.
const manyFunctions = 4

func (c comparison) medians(k bench.Kind) string {
	var all []string
	low, high := math.Inf(1), 0.0
	for _, f := range c.functions {
		m := f.Median(k, bench.Total)
		low, high = min(low, m), max(high, m)
		all = append(all, fmt.Sprintf("%s for %s", ms(m), f.Name))
	}
	if len(all) > manyFunctions {
		return fmt.Sprintf("%s to %s, by function", ms(low), ms(high))
	}
	return list(all)
}

// floor compares with what no restore can be faster than.
func (c comparison) floor(best bench.Kind) string {
	r, ok := c.compare(best, bench.KindFloor)
	if !ok {
		return ""
	}
	text := fmt.Sprintf("The floor, that is a waiting VMM and every file in memory, took %s; %s took %s of that",
		c.medians(bench.KindFloor), best, interval(r))
	if !r.Certain() {
		return text + ", which is not distinguishable from the floor."
	}
	return text + "."
}

func (c comparison) warm() string {
	if len(c.functions) == 0 || !c.complete(bench.KindWarm) {
		return ""
	}
	return fmt.Sprintf("Warm, that is without a start, an invocation took %s.", c.medians(bench.KindWarm))
}

// claims holds what the papers found against what was found here.
func (c comparison) claims() string {
	var all []string
	if r, ok := c.compare("vanilla", "reap"); ok {
		all = append(all, fmt.Sprintf("vanilla took %s times as long as reap (theirs: %.1f under KVM)", interval(r), theirReapGain))
	}
	if left, ok := c.faultsLeft(); ok {
		all = append(all, fmt.Sprintf("reap left %.1f %% of the recorded faults (theirs: %.0f %%)", 100*left, 100*(1-theirFaultsRemoved)))
	}
	if r, ok := c.compare("faasnap", bench.KindCached); ok {
		all = append(all, fmt.Sprintf("faasnap took %s of what vanilla takes with every file in memory (theirs: %.3f)", interval(r), theirFaaSnapOverCached))
	}
	if len(all) == 0 {
		return ""
	}
	return "Beside the papers' headlines: " + strings.Join(all, "; ") + "."
}

// faultsLeft is the mean over the functions.
func (c comparison) faultsLeft() (share float64, ok bool) {
	n := 0.0
	for _, f := range c.functions {
		if f.WorkingSetPages > 0 && len(f.Values("reap", bench.Total)) > 0 {
			share, n = share+f.Findings().FaultsLeft, n+1
		}
	}
	return share / max(n, 1), n > 0
}

func replayed(r bench.ReplayReport) []string {
	c := comparison{r.Timed(), r.Overall}
	restore := func(k bench.Kind) bool { return k != bench.KindCached }
	text := c.verdict("Replayed at native speed, from the beginning of the restore to the last touch", restore)
	best := c.ranking(restore)
	if text == "" {
		return nil
	}
	if floor, ok := c.compare(best[0], bench.KindCached); ok {
		text += fmt.Sprintf(" With every file in memory (cached) the same takes %s; %s took %s of that.", c.medians(bench.KindCached), best[0], interval(floor))
	}
	return append([]string{text}, againstDisk(r, best[0])...)
}

// againstDisk compares with the time that the disk alone needs.
func againstDisk(r bench.ReplayReport, best bench.Kind) []string {
	var all []string
	for _, f := range r.Functions {
		if disk := f.DiskMS(); disk > 0 {
			all = append(all, fmt.Sprintf("%s of %s", ms(disk), ms(f.Median(best, func(s bench.ReplaySample) float64 { return s.TotalMS }))))
		}
	}
	if len(all) == 0 {
		return nil
	}
	text := list(all)
	if len(all) > manyFunctions {
		text = "see the pictures"
	}
	return []string{fmt.Sprintf("To read thaw's loading set takes the disk alone, at the rate that was measured between the replays (requests of 1 MiB, four in flight), %s.%s", text, overDisk(r))}
}

// overDisk says how far a loading set is behind the disk, "" when it is not known of
// each function.
func overDisk(r bench.ReplayReport) string {
	over, ok := r.OverDisk()
	if !ok {
		return ""
	}
	return fmt.Sprintf(" The set is in place after %.2f times that (geometric mean).", over)
}

func subject(r bench.Report) string {
	cold := len(slices.DeleteFunc(kinds(r.Functions), func(k bench.Kind) bool { return k.Start() != thaw.StartCold }))
	text := fmt.Sprintf("%s of each of %d ways to start cold, and warm, in turns, of %s.", count(rounds(r.Functions), "sample"), cold, names(r.Functions))
	if r.Clones > 1 {
		text += fmt.Sprintf(" Each sample is of %d invocations at the same time.", r.Clones)
	}
	return text + " Before each start from the disk, none of the function's files was seen to be in the page cache (mincore)."
}

func replaySubject(r bench.ReplayReport) string {
	return fmt.Sprintf("Replays of recorded page touches by a process in the place of a VMM, no VM: %s by each policy, in turns, of %s; recorded times between touches divided by %.3g. Compare policies by them, not with VMs.",
		count(rounds(r.Timed()), "sample"), names(r.Timed()), r.Factor)
}

func rounds(functions []bench.Function) (n int) {
	for _, f := range functions {
		for _, s := range f.Samples {
			n = max(n, s.Round)
		}
	}
	return n
}

func names(functions []bench.Function) string {
	var all []string
	for _, f := range functions {
		all = append(all, f.Name)
	}
	return list(all)
}

func machine(e bench.Environment) string {
	accelerator, _, _ := strings.Cut(e.Accelerator, ":") // why is in the daemon's info
	load := strings.Join(strings.Fields(e.LoadBefore)[:min(3, len(strings.Fields(e.LoadBefore)))], ", ")
	disk := fmt.Sprintf("readahead of %d KiB (%d before)", e.ReadaheadDuring, e.ReadaheadBefore)
	if e.Disk.SequentialMBps > 0 {
		disk = fmt.Sprintf("%.0f MB/s, 4 KiB in %.0f µs, %s", e.Disk.SequentialMBps, e.Disk.Random4KiBUS, disk)
	}
	return fmt.Sprintf("On %d × %s, Linux %s, load before the run %s; guests by %s, %s. The disk: %s.", e.Cores, e.CPU, e.Kernel, load, e.VMM, accelerator, disk)
}

// interval is a ratio with its bounds.
func interval(r bench.Ratio) string {
	return fmt.Sprintf("%.2f (%.2f to %.2f)", r.Ratio, r.Low, r.High)
}

// list joins words as people do.
func list(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}
