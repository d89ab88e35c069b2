package api

import (
	"testing"
	"time"

	"thaw"
)

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"":                          {},
		"10m":                       now.Add(-10 * time.Minute),
		"0s":                        now,
		"2026-01-02T03:00:00Z":      now.Add(-4*time.Minute - 5*time.Second),
		"2026-01-02T04:00:00+01:00": now.Add(-4*time.Minute - 5*time.Second),
		"2026-01-02T03:04:05.5Z":    now.Add(time.Second / 2),
	} {
		if got, err := ParseSince(s, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"-1m", "10", "yesterday", "2026-01-02"} {
		if _, err := ParseSince(s, now); thaw.CodeOf(err) != thaw.CodeInvalid {
			t.Errorf("%q: %v", s, err)
		}
	}
}
