package scale

import (
	"math"
	"strings"
	"testing"
	"time"

	"thaw"
)

func histogram(idle map[time.Duration]int) *Histogram {
	var h Histogram
	for d, n := range idle {
		for range n {
			h.Add(d)
		}
	}
	return &h
}

// TestWindows compares with windows that were worked out by hand.
func TestWindows(t *testing.T) {
	const idle = 7 * time.Minute
	for name, c := range map[string]struct {
		times         map[time.Duration]int
		prewarm, keep time.Duration
		reason        string
	}{
		// 20 times in bin 30: the head is 30 min less a tenth, the tail 31 and a tenth.
		"Regular": {map[time.Duration]int{30*time.Minute + 10*time.Second: 20}, 27 * time.Minute, 34*time.Minute + 6*time.Second - 27*time.Minute, ""},
		// The head is in the first bin: nothing is unloaded.
		"Frequent": {map[time.Duration]int{20 * time.Second: 100}, 0, 66 * time.Second, ""},
		// 100 of them: the head is the fifth, of 10 min; the tail the 99th, of 20 min.
		"Spread": {map[time.Duration]int{5 * time.Minute: 4, 10 * time.Minute: 90, 20 * time.Minute: 5, 100 * time.Minute: 1}, 9 * time.Minute, 23*time.Minute + 6*time.Second - 9*time.Minute, ""},
		// One of five is outside, which does not count for head and tail.
		"SomeOutside": {map[time.Duration]int{60 * time.Minute: 16, 5 * time.Hour: 4}, 54 * time.Minute, 67*time.Minute + 6*time.Second - 54*time.Minute, ""},
		"TooFew":      {map[time.Duration]int{30 * time.Minute: 9}, 0, idle, "9 idle times"},
		"None":        {nil, 0, idle, "0 idle times"},
		"Outside":     {map[time.Duration]int{60 * time.Minute: 9, 5 * time.Hour: 11}, 0, idle, "55 % of the idle times are over 4h"},
	} {
		t.Run(name, func(t *testing.T) {
			w := KeepAlive{thaw.KeepAliveHistogram, idle}.Windows(histogram(c.times))
			if w.Prewarm != c.prewarm || w.Keep != c.keep || !strings.Contains(w.Reason, c.reason) || (w.Reason == "") != (c.reason == "") {
				t.Errorf("%+v, want %s, %s, %q", w, c.prewarm, c.keep, c.reason)
			}
		})
	}
}

// TestUnrepresentative: idle times all over the bins tell nothing. 60 bins of 240
// have a CV of the square root of 3, below 2.
func TestUnrepresentative(t *testing.T) {
	times := map[time.Duration]int{}
	for bin := range 60 {
		times[time.Duration(bin)*BinWidth] = 3
	}
	h := histogram(times)
	if cv := h.CV(); math.Abs(cv-math.Sqrt(3)) > 1e-9 {
		t.Errorf("CV %v, want the square root of 3", cv)
	}
	if w := (KeepAlive{thaw.KeepAliveHistogram, time.Minute}).Windows(h); w.Keep != time.Minute || !strings.Contains(w.Reason, "CV 1.73") {
		t.Errorf("%+v", w)
	}
}

func TestFixed(t *testing.T) {
	for _, policy := range []thaw.KeepAlive{"", thaw.KeepAliveFixed} {
		w := KeepAlive{policy, 10 * time.Minute}.Windows(histogram(map[time.Duration]int{time.Hour: 100}))
		if w != (Windows{Keep: 10 * time.Minute}) {
			t.Errorf("%q: %+v", policy, w)
		}
	}
}

// TestCV compares the moving sum of squares with the definition.
func TestCV(t *testing.T) {
	h := histogram(map[time.Duration]int{0: 3, 7 * time.Minute: 50, 90 * time.Minute: 8, 239 * time.Minute: 1, 240 * time.Minute: 9})
	mean := float64(h.inside) / Bins
	var squares float64
	for _, n := range h.counts {
		squares += (float64(n) - mean) * (float64(n) - mean)
	}
	if want := math.Sqrt(squares/Bins) / mean; math.Abs(h.CV()-want) > 1e-9 {
		t.Errorf("CV %v, want %v", h.CV(), want)
	}
	if h.inside != 62 || h.outside != 9 {
		t.Errorf("%d inside and %d outside", h.inside, h.outside)
	}
	if (&Histogram{}).CV() != 0 || (&Histogram{}).Outside() != 0 {
		t.Error("an empty histogram has figures")
	}
}

func TestHeld(t *testing.T) {
	w := Windows{Prewarm: 10 * time.Minute, Keep: 5 * time.Minute}
	for idle, want := range map[time.Duration]struct {
		warm bool
		held time.Duration
	}{
		0: {false, 0}, 10 * time.Minute: {true, 0}, 12 * time.Minute: {true, 2 * time.Minute}, 15 * time.Minute: {true, 5 * time.Minute}, time.Hour: {false, 5 * time.Minute},
	} {
		if w.Warm(idle) != want.warm || w.Held(idle) != want.held {
			t.Errorf("after %s: %v, %s; want %+v", idle, w.Warm(idle), w.Held(idle), want)
		}
	}
}
