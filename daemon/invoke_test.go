package daemon

import (
	"errors"
	"testing"
	"time"

	"thaw"
)

// TestDurationOfASetClock: how long an invocation took does not depend on the wall
// clock, by which its record says when it came.
func TestDurationOfASetClock(t *testing.T) {
	const took = 2 * time.Second
	for _, set := range []time.Duration{time.Hour, -time.Hour, 0} {
		began := time.Now().Add(-took)
		record := ended(thaw.Invocation{Time: began.UTC().Add(-set)}, began, errors.New("why"))
		if ms := record.DurationMS; ms < 2000 || ms > 30*60e3 {
			t.Errorf("an invocation of %s, the clock set by %s meanwhile, took %v ms", took, set, ms)
		}
		if record.Error != "why" || record.ErrorCode != thaw.CodeInternal {
			t.Errorf("%+v", record)
		}
	}
}
