package scale

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// arrived notes how long the function was idle before an invocation.
func (f *function) arrived(now time.Time) {
	if f.leases > 0 || f.ended.IsZero() {
		return
	}
	if f.histogram == nil {
		f.histogram = &Histogram{}
	}
	f.histogram.Add(now.Sub(f.ended))
	f.ended = time.Time{} // counted once
}

// rest decides what becomes of an instance that may have nothing to do.
func (s *Scheduler) rest(now time.Time, in *Instance) {
	if !in.idle() {
		return
	}
	v, f := in.version, in.version.function
	if in.retired {
		s.end(in)
		return
	}
	if in.ahead && !in.expires.IsZero() { // it is here for a window of its own
		s.alarm(in.expires)
		return
	}
	w := Windows{Keep: v.settings.KeepAlive.Idle} // while others are at work, whose end begins the windows
	if f.leases == 0 {
		w = v.settings.KeepAlive.Windows(f.histogram)
	}
	in.expires = now.Add(w.Keep)
	switch {
	case w.Prewarm > 0:
		s.tended[f] = true
		f.prewarm, f.warm = now.Add(w.Prewarm), now.Add(w.Prewarm+w.Keep)
		s.alarm(f.prewarm)
		s.unload(v)
	case w.Keep <= 0 && !in.needed():
		s.end(in)
	default:
		s.alarm(in.expires)
	}
}

// unload ends the idle instances of v that its minimum does not need.
func (s *Scheduler) unload(v *version) {
	for i := len(v.instances) - 1; i >= 0; i-- {
		if in := v.instances[i]; in.idle() && !in.needed() {
			s.end(in)
		}
	}
}

// needed says whether the minimum of its version would be short without it.
func (in *Instance) needed() bool {
	v := in.version
	return v.function.serves == v && v.kept() <= v.minimum()
}

// kept is how many instances v has that stay.
func (v *version) kept() (n int) {
	for _, in := range v.instances {
		if !in.retired {
			n++
		}
	}
	return n
}

func (v *version) minimum() int { return min(v.settings.Min, v.settings.Max) }

// alarm has Tick called at t, or before.
func (s *Scheduler) alarm(t time.Time) {
	if s.wake.IsZero() || t.Before(s.wake) {
		s.wake = t
	}
}

// Wake is when Tick is to be called, the zero time for never.
func (s *Scheduler) Wake() time.Time { return s.wake }

// Tick ends what has been kept long enough and begins what is due.
func (s *Scheduler) Tick(now time.Time) {
	s.wake, s.lacking = time.Time{}, true
	for v := range s.live {
		for i := len(v.instances) - 1; i >= 0; i-- {
			in := v.instances[i]
			switch {
			case !in.idle() || in.needed():
			case !in.expires.After(now):
				s.end(in)
			default:
				s.alarm(in.expires)
			}
		}
	}
	s.dispatch(now)
}

// replace begins the starts that nobody waits for: those that a minimum is short
// of, and those ahead of an invocation that is expected.
func (s *Scheduler) replace(now time.Time) {
	if !s.lacking {
		return
	}
	s.lacking = false
	for _, f := range slices.SortedFunc(maps.Keys(s.tended), func(a, b *function) int { return cmp.Compare(a.name, b.name) }) {
		if v := f.serves; v != nil {
			s.fill(now, v)
			s.foresee(now, v)
		}
		if f.prewarm.IsZero() && (f.serves == nil || f.serves.minimum() == 0) {
			delete(s.tended, f)
		}
	}
}

// fill brings v up to its minimum, as far as there is room.
func (s *Scheduler) fill(now time.Time, v *version) {
	f := v.function
	if v.kept() >= v.minimum() {
		return
	}
	if now.Before(f.retry) {
		s.alarm(f.retry)
		return
	}
	for v.kept() < v.minimum() {
		idle := func(in *Instance) bool { return !in.needed() && in.version.first() == nil }
		if f.instances >= v.settings.Max {
			s.alarm(now.Add(noRoomRetry))
			return
		}
		if why, _ := s.sharedRoom(v, idle); why != nil {
			s.alarm(now.Add(noRoomRetry))
			return
		}
		s.ahead(now, v)
	}
}

// foresee begins the start that an invocation is expected to need soon, if there
// is room without anybody giving way.
func (s *Scheduler) foresee(now time.Time, v *version) {
	f := v.function
	if f.prewarm.IsZero() {
		return
	}
	if now.Before(f.prewarm) {
		s.alarm(f.prewarm)
		return
	}
	f.prewarm = time.Time{}
	nobody := func(*Instance) bool { return false }
	if why, _ := s.sharedRoom(v, nobody); why == nil && len(v.instances) == 0 && f.instances < v.settings.Max {
		s.ahead(now, v).expires = f.warm
	}
}

// ahead begins a start that no request waits for; one that comes may get it.
func (s *Scheduler) ahead(now time.Time, v *version) *Instance {
	in := s.start(now, v)
	in.ahead = true
	v.starting++
	s.decide(Decision{Kind: Begin, Instance: in})
	return in
}

const (
	// noRoomRetry is when a minimum that had no room is tried again.
	noRoomRetry = 5 * time.Second
	// firstRetry doubles up to lastRetry.
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// Backoff is how long to wait after so many starts in a row that failed.
func Backoff(failures int) time.Duration {
	return min(firstRetry<<min(max(failures-1, 0), 16), lastRetry)
}
