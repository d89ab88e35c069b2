package analysis_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw/bench/analysis"
	"thaw/workingset"
)

// set is a trace of pages in order; those in written were written to.
func set(written map[uint32]bool, pages ...uint32) workingset.Set {
	s := workingset.Set{MemoryPages: 100, Recordings: 1}
	for _, p := range pages {
		s.Touches = append(s.Touches, workingset.Touch{Page: p, Uses: 1, Written: written[p]})
	}
	return s
}

func TestOf(t *testing.T) {
	nonZero := []workingset.Run{{Page: 0, Pages: 4}, {Page: 50, Pages: 16}}
	// Runs: 2 to 4, 50, 51, 99; 4 and 99 are zero.
	m := analysis.Of(set(map[uint32]bool{3: true, 99: true}, 99, 3, 50, 4, 2, 51), nonZero)
	want := analysis.Memory{Booted: 20, WorkingSet: 6, Runs: 3, Written: 2, Zero: 2}
	if d := cmp.Diff(want, m); d != "" {
		t.Error(d)
	}
	if m.Contiguity() != 2 || m.Share() != 0.3 {
		t.Errorf("runs of %v pages, %v of the booted footprint; want 2 and 0.3", m.Contiguity(), m.Share())
	}
}

func TestOfNothing(t *testing.T) {
	m := analysis.Of(set(nil), nil)
	if m != (analysis.Memory{}) || m.Contiguity() != 0 || m.Share() != 0 {
		t.Errorf("%+v: %v, %v", m, m.Contiguity(), m.Share())
	}
}

func TestCompare(t *testing.T) {
	for name, c := range map[string]struct {
		recorded, measured workingset.Set
		want               analysis.Inputs
		unique             float64
	}{
		"Equal":    {set(nil, 1, 2, 3), set(nil, 3, 2, 1), analysis.Inputs{Same: 3}, 0},
		"Disjoint": {set(nil, 1, 2), set(nil, 3), analysis.Inputs{OnlyRecorded: 2, OnlyMeasured: 1}, 1},
		"Both":     {set(nil, 1, 2, 99), set(nil, 99, 4, 1, 5), analysis.Inputs{Same: 2, OnlyRecorded: 1, OnlyMeasured: 2}, 0.5},
		"Nothing":  {set(nil), set(nil), analysis.Inputs{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := analysis.Compare(c.recorded, c.measured)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			if got.Unique() != c.unique {
				t.Errorf("unique %v, want %v", got.Unique(), c.unique)
			}
		})
	}
}
