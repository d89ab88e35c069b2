package report

import (
	"fmt"
	"slices"
	"strings"

	"thaw/bench"
	"thaw/bench/report/svg"
)

// replays are drawn against the time that the disk alone needs.
func replays(d Data) section {
	s := section{ID: "replay", Title: "Replayed at native speed"}
	if d.Replay == nil {
		return s
	}
	s.Text = []string{"From the beginning of a restore to the last touch of a recorded page, by a process in the place of a VMM: medians, with the range that holds the median with 95 % confidence."}
	if slices.ContainsFunc(d.Replay.Functions, func(f bench.Replayed) bool { return f.DiskMS() > 0 }) {
		s.Text = append(s.Text, "The dashed line is what the disk alone needs for the bytes of thaw's loading set, at the rate that was measured between the replays."+overDisk(*d.Replay))
	}
	for i, f := range d.Replay.Functions {
		if fig, ok := replayFigure(i, f); ok {
			s.Figures = append(s.Figures, fig)
			s.Tables = append(s.Tables, replayTable(f))
		}
	}
	return s
}

func replayFigure(n int, f bench.Replayed) (figure, bool) {
	var bars []bar
	var told []string
	inks := map[svg.Ink]bool{}
	for _, k := range f.Kinds() {
		total := f.Median(k, func(s bench.ReplaySample) float64 { return s.TotalMS })
		low, high := f.Interval(k)
		bars = append(bars, bar{label: string(k), parts: []part{{inkOf(k), total}}, low: low, high: high, note: digits(total)})
		told, inks[inkOf(k)] = append(told, fmt.Sprintf("%s %s", k, ms(total))), true
	}
	if len(bars) == 0 {
		return figure{}, false
	}
	note := count(f.Touches, "page") + " touched"
	mark := f.DiskMS()
	if mark > 0 {
		note += fmt.Sprintf("; the loading set of %.1f MB takes the disk %s", float64(f.SetBytes)/1e6, ms(mark))
	}
	p := barChart(crop(bars), sorted(inks), mark, "milliseconds")
	return figure{f.Name, note, render(p, barsHeight(len(bars)), fmt.Sprintf("replay%d", n), "Replays of "+f.Name, "Medians until the last touch: "+strings.Join(told, ", ")+".")}, true
}

func replayTable(f bench.Replayed) table {
	t := table{
		Caption: f.Name + ": medians of replays", Folded: true,
		Head: []string{"replay of", "ms", "95" + noBreak + "%", "set-up ms", "installed ms", "stalled ms", "stalls", "trapped", "major", "minor", "MiB read"},
	}
	for _, k := range f.Kinds() {
		of := func(figure func(bench.ReplaySample) float64) string { return digits(f.Median(k, figure)) }
		low, high := f.Interval(k)
		t.Rows = append(t.Rows, []string{
			string(k), of(func(s bench.ReplaySample) float64 { return s.TotalMS }), span(low, high),
			of(func(s bench.ReplaySample) float64 { return s.SetupMS }), of(func(s bench.ReplaySample) float64 { return s.InstalledMS }),
			of(func(s bench.ReplaySample) float64 { return s.StallMS }), of(func(s bench.ReplaySample) float64 { return float64(s.Stalls) }),
			of(func(s bench.ReplaySample) float64 { return float64(s.Faults.Trapped) }), of(func(s bench.ReplaySample) float64 { return float64(s.Faults.Major) }),
			of(func(s bench.ReplaySample) float64 { return float64(s.Faults.Minor) }), of(func(s bench.ReplaySample) float64 { return float64(s.BytesRead) / (1 << 20) }),
		})
	}
	return t
}

// faultCosts are ours beside those of a paper, on a logarithmic axis.
func faultCosts(d Data) section {
	s := section{ID: "faults", Title: "What a page fault costs"}
	if len(d.Faults) == 0 {
		return s
	}
	s.Text = []string{"Microseconds of one fault by who serves it: medians with quartiles, beside the means that FaaSnap's authors traced under KVM on other hardware."}
	s.Keys = []key{{Ink: "policythaw", Name: "here"}, {Ink: string(inkPaper), Name: "FaaSnap, figure 2"}}
	t := table{Caption: "Microseconds of a page fault", Head: []string{"class", "median", "quartiles", "FaaSnap's mean"}}
	var bars []bar
	var told []string
	for _, f := range d.Faults {
		theirs := "–"
		bars = append(bars, bar{label: f.Class, parts: []part{{"policythaw", f.Median}}, low: f.Q1, high: f.Q3, note: digits(f.Median)})
		if f.TheirPaper > 0 {
			theirs = digits(f.TheirPaper)
			bars = append(bars, bar{label: "FaaSnap", parts: []part{{inkPaper, f.TheirPaper}}, note: theirs})
		}
		told = append(told, fmt.Sprintf("%s %s µs here, %s theirs", f.Class, digits(f.Median), theirs))
		t.Rows = append(t.Rows, []string{f.Class, digits(f.Median), span(f.Q1, f.Q3), theirs})
	}
	p := barChart(bars, []svg.Ink{"policythaw", inkPaper}, 0, "microseconds")
	logarithmic(p, bars)
	s.Figures = []figure{{"By class", "", render(p, barsHeight(len(bars)), "faultcosts", "Cost of page faults by class", strings.Join(told, "; ")+".")}}
	s.Tables = []table{t}
	return s
}

// rungs is the way from vanilla to REAP, ours beside theirs.
func rungs(d Data) section {
	s := section{ID: "ladder", Title: "From vanilla to REAP, step by step"}
	if d.Bench == nil {
		return s
	}
	s.Text = []string{"The design points of REAP's figure 7, as published, with the VMM started for each start: page by page; the recorded pages by 16 readers; one buffered read of a working set file; that past the page cache. Times of helloworld in the paper (KVM, SATA SSD) stand beside ours: compare the steps, not the milliseconds."}
	s.Keys = []key{{Ink: "policyreap", Name: "here"}, {Ink: string(inkPaper), Name: "REAP, figure 7: helloworld"}}
	for i, f := range d.Bench.Functions {
		if fig, ok := rungFigure(i, f); ok {
			s.Figures = append(s.Figures, fig)
		}
	}
	return s
}

func rungFigure(n int, f bench.Function) (figure, bool) {
	var bars []bar
	var told []string
	vanilla := f.Median("vanilla", bench.Total)
	have := 0
	for _, r := range ladder() {
		theirs := fmt.Sprintf("%s, %.2f of vanilla", ms(r.ms), r.ms/ladder()[0].ms)
		if m := f.Median(r.kind, bench.Total); m > 0 && vanilla > 0 {
			have++
			low, high := f.Interval(r.kind)
			bars = append(bars, bar{label: string(r.kind), parts: []part{{"policyreap", m}}, low: low, high: high, note: fmt.Sprintf("%s · %.2f", digits(m), m/vanilla)})
			bars = append(bars, bar{label: "paper", parts: []part{{inkPaper, r.ms}}, note: fmt.Sprintf("%s · %.2f", digits(r.ms), r.ms/ladder()[0].ms)})
			told = append(told, fmt.Sprintf("%s %s, %.2f of vanilla, theirs %s", r.kind, ms(m), m/vanilla, theirs))
		}
	}
	if have < 2 {
		return figure{}, false
	}
	p := barChart(crop(bars), []svg.Ink{"policyreap", inkPaper}, 0, "milliseconds · share of vanilla's")
	return figure{f.Name, "", render(p, barsHeight(len(bars)), fmt.Sprintf("ladder%d", n), "Steps from vanilla to REAP, "+f.Name, strings.Join(told, "; ")+".")}, true
}
