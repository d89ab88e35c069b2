package scale

import (
	"math"
	"time"
)

// The range of a [Histogram], as in section 4.2 of "Serverless in the Wild"
// (ATC'20): four hours in bins of one minute.
const (
	BinWidth = time.Minute
	Bins     = 240
)

// Histogram counts the idle times of a function: from the end of an execution to
// the next invocation, while nothing of the function was at work. The zero value
// is empty.
type Histogram struct {
	counts [Bins]uint32
	inside int // counted in bins
	// outside are idle times of four hours and more.
	outside int
	squares float64 // the sum of the counts' squares
}

// Add counts one idle time.
func (h *Histogram) Add(idle time.Duration) {
	bin := int(idle / BinWidth)
	switch {
	case idle < 0:
		return // a clock was set back
	case bin >= Bins:
		h.outside++
		return
	}
	// The square of a count grows by 2n+1 when the count does by one.
	h.squares += float64(2*h.counts[bin] + 1)
	h.counts[bin]++
	h.inside++
}

// Samples is how many idle times were counted, the longest included.
func (h *Histogram) Samples() int { return h.inside + h.outside }

// Outside is the share of idle times that were too long for the bins.
func (h *Histogram) Outside() float64 {
	if h.Samples() == 0 {
		return 0
	}
	return float64(h.outside) / float64(h.Samples())
}

// CV is the coefficient of variation of the bins' counts: 0 when all bins are
// alike, the square root of 239 when all idle times are in one.
func (h *Histogram) CV() float64 {
	if h.inside == 0 {
		return 0
	}
	n := float64(h.inside)
	return math.Sqrt(max(0, Bins*h.squares/(n*n)-1))
}

// percentile returns the bin in which the share p of the counted idle times is
// reached. There must be some.
func (h *Histogram) percentile(p float64) int {
	need, seen := p*float64(h.inside), 0.0
	for bin, n := range h.counts {
		if seen += float64(n); n > 0 && seen >= need {
			return bin
		}
	}
	return Bins - 1
}
