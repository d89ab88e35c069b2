package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"thaw"
	"thaw/bench"
)

// maxStarts is how many of the last starts thaw describe shows.
const maxStarts = 10

// lastStarts are the newest invocations that made a VM or failed, newest first: warm
// ones are many, and all alike.
func lastStarts(all []thaw.Invocation) (starts []thaw.Invocation) {
	for _, i := range all {
		if len(starts) < maxStarts && (i.Start != thaw.StartWarm || failure(i) != "") {
			starts = append(starts, i)
		}
	}
	return starts
}

// warmField says how many of the invocations were warm, and what they took.
func warmField(all []thaw.Invocation) [2]string {
	n := 0
	for _, i := range all {
		if i.Start == thaw.StartWarm {
			n++
		}
	}
	text := fmt.Sprintf("%d of the last %d invocations", n, len(all))
	if n > 0 {
		text += ", median " + duration(warm(all))
	}
	return [2]string{"warm", text}
}

// writeStarts writes the last starts, as much of each as there is room for.
func writeStarts(w io.Writer, starts []thaw.Invocation) error {
	head := []string{"LAST START", "KIND", "POLICY", "MS", "VERSION", "TRAPPED", "MAJOR", "PREFETCHED", "READ", "INVOCATION", "ERROR"}
	rows := make([][]string, 0, len(starts))
	for _, i := range starts {
		rows = append(rows, []string{
			i.Time.Local().Format(time.Stamp), string(i.Start), orDash(string(i.Policy)), strconv.FormatFloat(i.DurationMS, 'f', 1, 64), strings.TrimPrefix(i.Asked(), i.Function+" version "),
			count(i.Faults.Trapped), count(i.Faults.Major), count(i.PagesPrefetched), size(i.BytesRead), i.ID, orDash(failure(i)),
		})
	}
	alignRight(head, rows, "MS", "VERSION", "TRAPPED", "MAJOR", "PREFETCHED", "READ")
	if !slices.ContainsFunc(starts, func(i thaw.Invocation) bool { return failure(i) != "" }) {
		head, rows = without(head, rows, "ERROR")
	}
	head, rows = fit(terminalWidth(w), head, rows, "READ", "PREFETCHED", "TRAPPED", "MAJOR", "VERSION", "INVOCATION")
	return writeTable(w, head, rows)
}

// failure says in a few words why an invocation had no good reply.
func failure(i thaw.Invocation) string {
	const most = 40
	if short := []rune(i.Error); len(short) > most {
		return string(short[:most]) + "…"
	}
	return i.FunctionError + i.Error
}

// warm is the median of the warm invocations, 0 of none.
func warm(all []thaw.Invocation) float64 {
	var took []float64
	for _, i := range all {
		if i.Start == thaw.StartWarm && i.Error == "" {
			took = append(took, i.DurationMS)
		}
	}
	return bench.SpreadOf(took).Median
}
