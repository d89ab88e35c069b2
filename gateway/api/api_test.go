package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw"
)

// TestStatusesMapBack checks the round trip of every code that has a row.
func TestStatusesMapBack(t *testing.T) {
	for _, m := range mappings() {
		if got := CodeOfStatus(m.Status); got != m.Code {
			t.Errorf("status %d maps back to %s, not %s", m.Status, got, m.Code)
		}
		if got := MappingOf(m.Code); got != m {
			t.Errorf("%s: %+v, want %+v", m.Code, got, m)
		}
	}
	if MappingOf("made up").Code != thaw.CodeInternal || CodeOfStatus(418) != thaw.CodeInvalid || CodeOfStatus(599) != thaw.CodeInternal {
		t.Error("unknown codes and statuses have no default")
	}
}

func TestTiming(t *testing.T) {
	phases := map[string]float64{"invoke": 1.25, "plan": 0.5, "unknown": 9}
	header := FormatTiming(phases, 2)
	if header != "plan;dur=0.500, invoke;dur=1.250, total;dur=2.000" {
		t.Error(header)
	}
	got, total := ParseTiming(header)
	if diff := cmp.Diff(map[string]float64{"invoke": 1.25, "plan": 0.5}, got); diff != "" || total != 2 {
		t.Error(diff, total)
	}
	got, total = ParseTiming("cache;desc=hit, x;dur=y, ;dur=1,,")
	if len(got) != 0 || total != 0 {
		t.Error(got, total)
	}
}
