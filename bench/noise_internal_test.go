package bench

import (
	"testing"
	"time"
)

func TestParseCPUTime(t *testing.T) {
	for stat, want := range map[string]cpuTime{
		"cpu  100 20 30 800 5 6 7 32 40 2\ncpu0 1 1 1 1 1 1 1 1 1 1\n": {steal: 32, total: 1000}, // guest time is in user
		"cpu  1 2 3 4 5 6 7 8\n": {steal: 8, total: 36},
		"cpu  1 2 3\n":           {},
		"intr 1 2 3 4 5 6 7 8 9": {},
		"":                       {},
	} {
		if got := parseCPUTime(stat); got != want {
			t.Errorf("%q: %+v, want %+v", stat, got, want)
		}
	}
}

func TestParsePressure(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"some avg10=84.01 avg60=75.15 avg300=60.56 total=364733782\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n": 364733782 * time.Microsecond,
		"full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n":                                                            0,
		"": 0,
	} {
		if got := parsePressure(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// TestHeard: this machine's counters are read, and nothing is negative.
func TestHeard(t *testing.T) {
	n := listen()
	if n.cpu.total == 0 {
		t.Fatal("/proc/stat is not understood")
	}
	for _, share := range []float64{n.heard().Steal, n.heard().CPUPressure, n.heard().IOPressure, n.heard().MemoryPressure} {
		if share < 0 {
			t.Errorf("%+v", n.heard())
		}
	}
}
