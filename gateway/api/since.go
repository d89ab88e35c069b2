package api

import (
	"time"

	"thaw"
)

// ParseSince returns the time that s names: how long before now, such as 10m, or a
// time as RFC 3339 has it. It is the zero time for "".
func ParseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, thaw.Errorf(thaw.CodeInvalid, "time %.100q is not valid: write how long ago it was, such as 10m, or when, such as 2006-01-02T15:04:05Z", s)
	}
	return t, nil
}
