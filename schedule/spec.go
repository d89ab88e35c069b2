package schedule

import (
	"strings"
	"time"

	"github.com/netresearch/go-cron"

	"thaw"
)

// maxSpec bounds a specification in bytes.
const maxSpec = 256

// Spec says at which times something is due. It is a value without state.
type Spec struct{ times cron.Schedule }

// Parse reads a specification: five cron fields (minute, hour, day of month,
// month, day of week), @hourly, @daily, @weekly, @monthly, @yearly, or @every and
// a duration of at least a second. Times are UTC unless it begins with CRON_TZ=
// and the name of a time zone.
func Parse(spec string) (Spec, error) {
	if len(spec) > maxSpec {
		return Spec{}, thaw.Errorf(thaw.CodeInvalid, "the schedule is %d bytes long: use at most %d", len(spec), maxSpec)
	}
	zoned := spec
	if !strings.HasPrefix(spec, "CRON_TZ=") && !strings.HasPrefix(spec, "TZ=") {
		zoned = "CRON_TZ=UTC " + spec
	}
	times, err := cron.ParseStandard(zoned)
	if err != nil {
		return Spec{}, thaw.Errorf(thaw.CodeInvalid, `schedule %q is not valid (%w): write five fields such as "*/5 * * * *", @hourly, or @every 5m, with CRON_TZ=Europe/Berlin before it for a time zone`, spec, err)
	}
	s := Spec{times}
	if s.Next(time.Unix(0, 0)).IsZero() {
		return Spec{}, thaw.Errorf(thaw.CodeInvalid, "schedule %q is never due: there is no such date", spec)
	}
	return s, nil
}

// Next returns the first time after t that is due, in UTC.
func (s Spec) Next(t time.Time) time.Time {
	next := s.times.Next(t.UTC())
	if next.IsZero() {
		return next
	}
	return next.UTC()
}
