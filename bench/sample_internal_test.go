package bench

import (
	"strings"
	"testing"

	"thaw"
)

// TestCheckQueue: a start that had to wait for room is none that can be compared.
func TestCheckQueue(t *testing.T) {
	at := Coordinates{Kind: KindWarm}
	s := Sample{Coordinates: at, Invocation: thaw.Invocation{Start: thaw.StartWarm, PhasesMS: map[string]float64{thaw.PhaseInvoke: 3}}}
	if err := check([]Sample{s}, at); err != nil {
		t.Error(err)
	}
	s.PhasesMS[thaw.PhaseQueue] = 2.5
	if err := check([]Sample{s}, at); thaw.CodeOf(err) != thaw.CodeThrottled || !strings.Contains(err.Error(), "waited 2.5 ms for room; thaw serve --max-instances") {
		t.Errorf("%v", err)
	}
}
