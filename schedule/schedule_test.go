package schedule

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
	_ "time/tzdata" // the tests name zones

	"go.uber.org/goleak"

	"thaw"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func at(t *testing.T, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v.UTC()
}

func TestNext(t *testing.T) {
	for name, test := range map[string]struct{ spec, from, want string }{
		"every minute":    {"* * * * *", "2026-01-01T00:00:30Z", "2026-01-01T00:01:00Z"},
		"on the slot":     {"* * * * *", "2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"},
		"hourly":          {"@hourly", "2026-01-01T00:59:59Z", "2026-01-01T01:00:00Z"},
		"weekday names":   {"30 9 * * MON-FRI", "2026-01-02T10:00:00Z", "2026-01-05T09:30:00Z"},
		"leap day":        {"0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"},
		"every":           {"@every 5m", "2026-01-01T00:00:30Z", "2026-01-01T00:05:30Z"},
		"zone":            {"CRON_TZ=Europe/Berlin 0 9 * * *", "2026-07-01T00:00:00Z", "2026-07-01T07:00:00Z"},
		"UTC by default":  {"0 9 * * *", "2026-07-01T00:00:00+02:00", "2026-07-01T09:00:00Z"},
		"skipped hour":    {"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z"},
		"after skipped":   {"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"},
		"repeated hour":   {"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
		"repeated, again": {"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			spec, err := Parse(test.spec)
			if err != nil {
				t.Fatal(err)
			}
			if got := spec.Next(at(t, test.from)); !got.Equal(at(t, test.want)) {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func TestBadSpecs(t *testing.T) {
	for _, spec := range []string{
		"", " ", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "0 0 30 2 *", "@never", "@every", "@every 0s", "@every -5m", "@every 1ms", "@every x",
		"TZ=", "CRON_TZ=", "TZ=0", "TZ=TZ=TZ=", "CRON_TZ=UTC", "CRON_TZ=Mars/Base 0 9 * * *", "CRON_TZ=../../etc/passwd * * * * *", "*/0 * * * *", "a b c d e", strings.Repeat("*", 300),
	} {
		if s, err := Parse(spec); thaw.CodeOf(err) != thaw.CodeInvalid {
			t.Errorf("%q: %v, %v", spec, s, err)
		}
	}
}

// FuzzParse shows that no specification panics, and that what is taken is due
// after the time that is asked for.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"* * * * *", "@every 5m", "CRON_TZ=UTC 0 0 1 1 *", "TZ=", "@hourly", "1-5/2,7 * L * 5#2"} {
		f.Add(s, int64(0))
	}
	f.Fuzz(func(t *testing.T, spec string, unix int64) {
		s, err := Parse(spec)
		if err != nil {
			return
		}
		from := time.Unix(unix%(1<<32), 0)
		if next := s.Next(from); !next.IsZero() && !next.After(from) {
			t.Errorf("%q is due at %s, after %s", spec, next, from)
		}
	})
}

// TestAdvance goes through what a clock does.
func TestAdvance(t *testing.T) {
	type step struct {
		now  string
		fire bool
		next string // "" is as before
	}
	for name, test := range map[string]struct {
		spec  string
		steps []step
	}{
		"in order": {"0 * * * *", []step{
			{"2026-01-01T00:30:00Z", false, "2026-01-01T01:00:00Z"},
			{"2026-01-01T00:59:59Z", false, ""},
			{"2026-01-01T01:00:00Z", true, "2026-01-01T02:00:00Z"},
			{"2026-01-01T01:00:01Z", false, ""},
			{"2026-01-01T02:00:30Z", true, "2026-01-01T03:00:00Z"},
		}},
		"down for days: one catches up": {"* * * * *", []step{
			{"2026-01-01T00:00:30Z", false, "2026-01-01T00:01:00Z"},
			{"2026-01-04T10:00:30Z", true, "2026-01-04T10:01:00Z"},
			{"2026-01-04T10:00:31Z", false, ""},
		}},
		"set back by a little: not again": {"0 * * * *", []step{
			{"2026-01-01T00:59:00Z", false, "2026-01-01T01:00:00Z"},
			{"2026-01-01T01:00:00Z", true, "2026-01-01T02:00:00Z"},
			{"2026-01-01T00:59:58Z", false, ""},
			{"2026-01-01T01:00:00Z", false, ""},
			{"2026-01-01T02:00:00Z", true, "2026-01-01T03:00:00Z"},
		}},
		"set back by a day: a correction": {"0 * * * *", []step{
			{"2026-01-02T00:59:00Z", false, "2026-01-02T01:00:00Z"},
			{"2026-01-02T01:00:00Z", true, "2026-01-02T02:00:00Z"},
			{"2026-01-01T01:00:30Z", false, "2026-01-01T02:00:00Z"},
			{"2026-01-01T02:00:00Z", true, "2026-01-01T03:00:00Z"},
		}},
		"set forward by a year and back": {"@every 10m", []step{
			{"2026-01-01T00:00:00Z", false, "2026-01-01T00:10:00Z"},
			{"2027-01-01T00:00:00Z", true, "2027-01-01T00:10:00Z"},
			{"2026-01-01T00:05:00Z", false, "2026-01-01T00:20:00Z"}, // 00:10 is done
			{"2026-01-01T00:20:00Z", true, "2026-01-01T00:30:00Z"},
		}},
		"every, looked at often": {"@every 10m", []step{
			{"2026-01-01T00:00:00Z", false, "2026-01-01T00:10:00Z"},
			{"2026-01-01T00:05:00Z", false, ""},
			{"2026-01-01T00:09:59Z", false, ""},
			{"2026-01-01T00:10:00Z", true, "2026-01-01T00:20:00Z"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			spec, err := Parse(test.spec)
			if err != nil {
				t.Fatal(err)
			}
			var s thaw.Schedule
			for _, step := range test.steps {
				before := s.Next
				var fire bool
				s, fire = Advance(s, spec, at(t, step.now))
				want := before
				if step.next != "" {
					want = at(t, step.next)
				}
				if fire != step.fire || !s.Next.Equal(want) {
					t.Fatalf("at %s: fires %v, next %s; want %v, %s", step.now, fire, s.Next, step.fire, want)
				}
			}
		})
	}
}

// TestFlappingClock sets the clock forth and back for hours: a schedule fires no
// more often than it is due.
func TestFlappingClock(t *testing.T) {
	spec, err := Parse("* * * * *")
	if err != nil {
		t.Fatal(err)
	}
	now := at(t, "2026-01-01T00:00:30Z")
	var s thaw.Schedule
	fired := 0
	for i := range 10_000 { // forth and back by 90 s, a second of progress each time
		shift := time.Duration(i%2) * -90 * time.Second
		var fire bool
		if s, fire = Advance(s, spec, now.Add(time.Duration(i)*time.Second).Add(shift)); fire {
			fired++
		}
	}
	if want := 10_000 / 60; fired < want-3 || fired > want+3 {
		t.Errorf("fired %d times in %d minutes", fired, want)
	}
}

// memory is a store whose queue has room, or not.
type memory struct {
	mu    sync.Mutex
	all   map[string]thaw.Schedule
	fired []thaw.Schedule
	err   error
	did   chan struct{}
}

func (m *memory) Schedules() (all []thaw.Schedule) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.all {
		all = append(all, s)
	}
	return all
}

func (m *memory) PutSchedule(s thaw.Schedule) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all[s.ID] = s
	return nil
}

func (m *memory) RemoveSchedules(which func(thaw.Schedule) bool) (n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, s := range m.all {
		if which(s) {
			delete(m.all, id)
			n++
		}
	}
	return n, nil
}

func (m *memory) Fire(_ context.Context, s thaw.Schedule) (thaw.Schedule, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fired = append(m.fired, s)
	if m.err == nil {
		m.all[s.ID] = s
	}
	m.did <- struct{}{}
	return s, m.err
}

// handClock is moved by the test; every wait ends when it is.
type handClock struct {
	mu     sync.Mutex
	now    time.Time
	moved  chan struct{}
	naps   chan time.Duration
	closed chan struct{}
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) After(d time.Duration) <-chan time.Time {
	ch := make(chan time.Time, 1)
	c.mu.Lock()
	moved := c.moved
	c.mu.Unlock()
	select {
	case c.naps <- d:
	case <-c.closed:
	}
	go func() {
		select {
		case <-moved:
			ch <- time.Time{}
		case <-c.closed:
		}
	}()
	return ch
}

func (c *handClock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
	close(c.moved)
	c.moved = make(chan struct{})
}

func TestScheduler(t *testing.T) {
	start := at(t, "2026-01-01T00:00:30Z")
	m := &memory{all: map[string]thaw.Schedule{}, did: make(chan struct{}, 9)}
	clock := &handClock{now: start, moved: make(chan struct{}), naps: make(chan time.Duration), closed: make(chan struct{})}
	s := Start(m, clock, slog.New(slog.DiscardHandler))
	defer s.Close()
	defer close(clock.closed)
	if nap := <-clock.naps; nap != longestNap {
		t.Errorf("without schedules it sleeps %s", nap)
	}
	set, err := s.SetSchedule(t.Context(), thaw.Schedule{ID: "tick", Function: "f", Spec: "* * * * *", Data: []byte(`{}`), Slot: start})
	if err != nil || !set.Next.Equal(at(t, "2026-01-01T00:01:00Z")) || !set.Slot.IsZero() {
		t.Fatalf("%+v, %v", set, err)
	}
	if nap := <-clock.naps; nap != 30*time.Second {
		t.Errorf("it sleeps %s", nap)
	}
	clock.set(start.Add(30 * time.Second))
	<-m.did
	if nap := <-clock.naps; nap != time.Minute {
		t.Errorf("after it has fired it sleeps %s", nap)
	}
	m.mu.Lock()
	m.err = thaw.Errorf(thaw.CodeInternal, "no space")
	m.mu.Unlock()
	clock.set(start.Add(24 * time.Hour))
	<-m.did
	if nap := <-clock.naps; nap != longestNap {
		t.Errorf("after a failure it sleeps %s", nap)
	}
	m.mu.Lock()
	m.err = nil
	m.mu.Unlock()
	clock.set(start.Add(24*time.Hour + time.Minute))
	<-m.did
	<-clock.naps
	if n := len(m.fired); n != 3 {
		t.Errorf("fired %d times", n)
	}
	if _, err := s.SetSchedule(t.Context(), thaw.Schedule{ID: "tock", Function: "f", Qualifier: "2", Spec: "@yearly"}); err != nil {
		t.Error(err)
	}
	<-clock.naps
	if one, two := NamedBy(s.Schedules(), thaw.RefTo("f", 1)), NamedBy(s.Schedules(), thaw.RefTo("f", 2)); one != "" || two != "schedule tock" {
		t.Errorf("version 1 is named by %q, 2 by %q", one, two)
	}
	if err := s.RemoveSchedule(t.Context(), "tick-tock"); thaw.CodeOf(err) != thaw.CodeNotFound {
		t.Error(err)
	}
	if err := s.RemoveSchedulesOf(t.Context(), "f"); err != nil || len(s.Schedules()) != 0 {
		t.Error(err)
	}
	for name, bad := range map[string]thaw.Schedule{
		"id": {ID: "a/b", Function: "f", Spec: "@hourly"}, "function": {ID: "a", Function: "..", Spec: "@hourly"},
		"qualifier": {ID: "a", Function: "f", Qualifier: "0", Spec: "@hourly"}, "spec": {ID: "a", Function: "f", Spec: "now"},
	} {
		if _, err := s.SetSchedule(t.Context(), bad); thaw.CodeOf(err) != thaw.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
