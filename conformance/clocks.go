package conformance

import (
	"fmt"
	"slices"
	"time"

	"thaw"
	"thaw/conformance/probe"
)

// maxClock is how far clocks may be apart when nothing hides more than that.
const maxClock = 50 * time.Millisecond

// checkWall compares the clone's clock with the daemon's as NTP does (RFC 5905,
// section 8): the function's begin and end lie between request and reply. What
// the way there and back took cannot be told from a wrong clock, so of a clone's
// invocations the one counts whose way was the shortest.
func checkWall(o observed) finding {
	var f finding
	var worst, slowest time.Duration
	clones, slow := o.clones(), 0
	for _, g := range o.groups {
		for _, c := range g.clones {
			off, trip, ok := g.offset(c)
			if !ok {
				f.wrong(c, "the record of the invocation says nothing of its time")
				continue
			}
			bound := max(maxClock, trip)
			if off.Abs() > bound {
				f.wrong(c, "clock is off by %s, more than %s (the round trip took %s)", ms(off), ms(bound), ms(trip))
			}
			if trip > maxClock {
				slow++
			}
			worst, slowest = max(worst, off.Abs()), max(slowest, trip)
			f.tellHook(c, bound)
		}
	}
	f.seen = fmt.Sprintf("%d clones: off by %s at most, bound %s", len(clones), ms(worst), ms(maxClock))
	if slow > 0 {
		f.seen += fmt.Sprintf(", for %d of them the round trip, up to %s", slow, ms(slowest))
	}
	return f
}

// offset is how far c's clock is ahead, and what the round trip was by which that
// is known.
func (g group) offset(c clone) (off, trip time.Duration, ok bool) {
	for _, i := range append([]clone{c}, g.again...) {
		a, b, timed := invoked(i.record)
		if i.record.Instance != c.record.Instance || !timed {
			continue
		}
		if o, t := offset(a, b, at(i.report.Served), at(i.report.Ended)); !ok || t < trip {
			off, trip, ok = o, t, true
		}
	}
	return off, trip, ok
}

// tellHook wants the time right already where the runtime is told of the restore,
// which is when the first line of the function's own runs.
func (f *finding) tellHook(c clone, bound time.Duration) {
	start, ok := begun(c.record, thaw.PhaseResume)
	hook := at(c.report.Restored)
	if !ok || hook.Before(start.Add(-bound)) || hook.After(at(c.report.Served)) {
		f.wrong(c, "it was %s when the restore was reported: not between the resume at %s and the invocation at %s", clock(hook), clock(start), clock(at(c.report.Served)))
	}
}

// offset is how far a clock is ahead that showed from and to, in the middle of what
// is possible, and how long the way to there and back took.
func offset(sent, received, from, to time.Time) (off, trip time.Duration) {
	return (from.Sub(sent) + to.Sub(received)) / 2, received.Sub(sent) - to.Sub(from)
}

// invoked is when the function was given the event, and when its reply was there,
// by the daemon's clock.
func invoked(r thaw.Invocation) (from, to time.Time, ok bool) {
	i := slices.IndexFunc(r.Spans, func(s thaw.Span) bool { return s.Phase == thaw.PhaseInvoke })
	if i < 0 {
		return from, to, false
	}
	from = r.Time.Add(time.Duration(r.Spans[i].StartUS) * time.Microsecond)
	return from, from.Add(time.Duration(r.Spans[i].DurationUS) * time.Microsecond), true
}

// begun is when a phase began.
func begun(r thaw.Invocation, phase string) (time.Time, bool) {
	for _, s := range r.Spans {
		if s.Phase == phase {
			return r.Time.Add(time.Duration(s.StartUS) * time.Microsecond), true
		}
	}
	return time.Time{}, false
}

// checkMonotonic wants the clock that never goes back never to do so: from before
// the snapshot to the restore, during an invocation, and to the next one.
func checkMonotonic(o observed) finding {
	var f finding
	clones := o.clones()
	for _, c := range clones {
		r := c.report
		f.forward(c, r.Born, r.Restored, r.Served, r.Ended)
		if r.Backward > 0 {
			f.wrong(c, "it went backwards %d times within one invocation", r.Backward)
		}
	}
	for _, g := range o.groups {
		for _, c := range g.again {
			if before, ok := g.before(c); ok {
				f.forward(c, before.report.Ended, c.report.Served, c.report.Ended)
			}
		}
	}
	f.seen = fmt.Sprintf("%d clones: never back, from before the snapshot to a second invocation", len(clones))
	return f
}

func (f *finding) forward(c clone, moments ...probe.Moment) {
	if !slices.IsSortedFunc(moments, func(a, b probe.Moment) int { return int(a.MonoNS - b.MonoNS) }) {
		var readings []time.Duration
		for _, m := range moments {
			readings = append(readings, time.Duration(m.MonoNS))
		}
		f.wrong(c, "it showed %v, in this order", readings)
	}
}

// checkTimers wants a sleep to take as long as it should by every clock: at least
// that by the guest's and by the host's, and by the guest's no more than the host
// saw go by. How late a timer fires is a matter of load and not checked.
func checkTimers(o observed) finding {
	var f finding
	longest := time.Duration(0)
	clones := o.clones()
	for _, c := range clones {
		asked, held := time.Duration(c.event.NapMS)*time.Millisecond, time.Duration(c.event.HoldMS)*time.Millisecond
		mono, wall := time.Duration(c.report.Nap.MonoNS), time.Duration(c.report.Nap.WallNS)
		from, to, _ := invoked(c.record)
		host, guest := to.Sub(from), time.Duration(c.report.Ended.MonoNS-c.report.Served.MonoNS)
		longest = max(longest, mono)
		switch {
		case mono < asked:
			f.wrong(c, "a sleep of %s was over after %s", ms(asked), ms(mono))
		case (mono - wall).Abs() > maxClock:
			f.wrong(c, "a sleep of %s by the monotonic clock was %s by the wall clock", ms(mono), ms(wall))
		case host < asked+held:
			f.wrong(c, "sleeps of %s together were over after %s of the host's time", ms(asked+held), ms(host))
		case guest > host+maxClock:
			f.wrong(c, "the guest counted %s while the host counted %s", ms(guest), ms(host))
		}
	}
	f.seen = fmt.Sprintf("%d clones: a sleep of %d ms took that by guest and host, %s at most", len(clones), napMS, ms(longest))
	return f
}

func at(m probe.Moment) time.Time { return time.Unix(0, m.WallNS).UTC() }

func clock(t time.Time) string { return t.Format("15:04:05.000") }

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1e3) }
