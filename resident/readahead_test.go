package resident

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw/workingset"
)

func TestStreams(t *testing.T) {
	type step struct {
		page       uint32
		now, later workingset.Run
	}
	run := func(page, pages uint32) workingset.Run { return workingset.Run{Page: page, Pages: pages} }
	for name, steps := range map[string][]step{
		"Alone":     {{5, run(0, 32), workingset.Run{}}, {500, run(480, 32), workingset.Run{}}, {70, run(64, 32), workingset.Run{}}},
		"Doubles":   {{5, run(0, 32), workingset.Run{}}, {32, run(32, 32), run(64, 32)}, {97, run(96, 32), run(128, 96)}, {224, run(224, 32), run(256, 224)}},
		"Bounded":   {{0, run(0, 32), workingset.Run{}}, {32, run(32, 32), run(64, 32)}, {96, run(96, 32), run(128, 96)}, {224, run(224, 32), run(256, 224)}, {480, run(480, 32), run(512, 480)}, {992, run(992, 8), workingset.Run{}}},
		"End":       {{900, run(896, 32), workingset.Run{}}, {930, run(928, 32), run(960, 32)}, {999, run(992, 8), workingset.Run{}}},
		"Backwards": {{64, run(64, 32), workingset.Run{}}, {40, run(32, 32), workingset.Run{}}, {10, run(0, 32), workingset.Run{}}},
		"TwoAtOnce": {{0, run(0, 32), workingset.Run{}}, {512, run(512, 32), workingset.Run{}}, {33, run(32, 32), run(64, 32)}, {545, run(544, 32), run(576, 32)}},
	} {
		t.Run(name, func(t *testing.T) {
			var s streams
			for i, want := range steps {
				now, later := s.miss(want.page, 1000)
				if d := cmp.Diff([2]workingset.Run{want.now, want.later}, [2]workingset.Run{now, later}); d != "" {
					t.Errorf("miss %d: %s", i, d)
				}
			}
			if len(s.recent) > maxStreams {
				t.Errorf("%d streams", len(s.recent))
			}
		})
	}
}
