package scale

import (
	"fmt"
	"time"

	"thaw"
)

// KeepAlive says for how long an instance without work is kept.
type KeepAlive struct {
	// Policy is fixed or histogram; "" is fixed.
	Policy thaw.KeepAlive
	// Idle is for how long by the fixed policy, which the other one falls back on.
	Idle time.Duration
}

// The constants of the hybrid histogram policy. All but minSamples are those that
// "Serverless in the Wild" (ATC'20, sections 4.2 and 5) gives.
const (
	headShare = 0.05
	tailShare = 0.99
	margin    = 0.1
	// minCV is the coefficient of variation of the bins' counts from which on a
	// histogram is representative: below, the idle times are all over it.
	minCV = 2
	// maxOutside is the share of idle times over four hours from which on the paper
	// goes over to a time series (ARIMA), which is left out here: a function that is
	// invoked so rarely gets the fixed policy.
	maxOutside = 0.5
	// minSamples is ours: the paper asks for enough and gives no number.
	minSamples = 10
)

// Windows are what a policy wants once a function has nothing to do.
type Windows struct {
	// Prewarm is after which time an instance is there again. Until then there is
	// none; 0 keeps the one there is.
	Prewarm time.Duration
	// Keep is for how long it is kept from then on.
	Keep time.Duration
	// Reason says why they are not those of the policy that was asked for.
	Reason string
}

// Warm says whether an instance is there when the next invocation comes after
// idle.
func (w Windows) Warm(idle time.Duration) bool { return idle >= w.Prewarm && idle <= w.Prewarm+w.Keep }

// Held is for how long an instance waits for an invocation that comes after idle.
func (w Windows) Held(idle time.Duration) time.Duration {
	return max(0, min(idle, w.Prewarm+w.Keep)-w.Prewarm)
}

// Windows decides, by the idle times that a function has had.
func (k KeepAlive) Windows(h *Histogram) Windows {
	if !k.byHistogram() {
		return Windows{Keep: k.Idle}
	}
	if h == nil {
		h = &Histogram{}
	}
	if why := h.unfit(); why != "" {
		return Windows{Keep: k.Idle, Reason: why}
	}
	// The head is rounded down to its bin's beginning, the tail up to its end.
	head := time.Duration(h.percentile(headShare)) * BinWidth
	tail := time.Duration(h.percentile(tailShare)+1) * BinWidth
	w := Windows{Prewarm: scaled(head, 1-margin)}
	w.Keep = scaled(tail, 1+margin) - w.Prewarm
	return w
}

func (k KeepAlive) byHistogram() bool { return k.Policy == thaw.KeepAliveHistogram }

func scaled(d time.Duration, by float64) time.Duration {
	return time.Duration(float64(d) * by).Round(time.Second)
}

// unfit says why the histogram is not representative, "" when it is.
func (h *Histogram) unfit() string {
	switch {
	case h.Samples() < minSamples:
		return fmt.Sprintf("%d idle times are known, %d are needed", h.Samples(), minSamples)
	case h.Outside() > maxOutside:
		return fmt.Sprintf("%.0f %% of the idle times are over %s", 100*h.Outside(), Bins*BinWidth)
	case h.CV() < minCV:
		return fmt.Sprintf("the idle times are spread evenly: CV %.2f of the bins, below %d", h.CV(), minCV)
	}
	return ""
}
