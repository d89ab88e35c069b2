package api

import (
	"fmt"
	"strconv"
	"strings"

	"thaw"
)

// timingTotal is the metric of a Server-Timing header that covers all.
const timingTotal = "total"

// FormatTiming renders phases in the order they begin, and the total, as a
// Server-Timing header (https://www.w3.org/TR/server-timing/), in milliseconds.
func FormatTiming(phasesMS map[string]float64, totalMS float64) string {
	var b strings.Builder
	for _, name := range thaw.PhaseNames() {
		if ms, ok := phasesMS[name]; ok {
			fmt.Fprintf(&b, "%s;dur=%s, ", name, formatMS(ms))
		}
	}
	fmt.Fprintf(&b, "%s;dur=%s", timingTotal, formatMS(totalMS))
	return b.String()
}

func formatMS(ms float64) string { return strconv.FormatFloat(ms, 'f', 3, 64) }

// ParseTiming is the inverse of [FormatTiming]; what it does not understand it
// leaves out.
func ParseTiming(header string) (phasesMS map[string]float64, totalMS float64) {
	phasesMS = map[string]float64{}
	for metric := range strings.SplitSeq(header, ",") {
		name, duration, ok := strings.Cut(strings.TrimSpace(metric), ";dur=")
		ms, err := strconv.ParseFloat(duration, 64)
		switch {
		case !ok || err != nil || name == "":
		case name == timingTotal:
			totalMS = ms
		default:
			phasesMS[name] = ms
		}
	}
	return phasesMS, totalMS
}
