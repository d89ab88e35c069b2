package scale

import (
	"slices"
	"time"

	"thaw"
)

// Scheduler holds the state that decisions are made from. It is not safe for
// concurrent use. Every method that is given the time wants one that is not before
// that of the call before; what it has decided is in Decisions afterwards.
type Scheduler struct {
	limits    Limits
	functions map[string]*function
	versions  map[Key]*version
	live      map[*version]bool  // those with instances
	lines     map[*version]bool  // those with tickets in line
	tended    map[*function]bool // those that may lack instances which nobody waits for
	virtual   int64              // the clock of start-time fair queueing
	instances int                // starting and ready
	memory    int64              // bytes charged to instances that exist
	ending    int64              // of that, to those that end
	waiting   int                // tickets in line
	evicted   int                // instances that had to make room
	lacking   bool               // instances may be missing that nobody waits for
	blocked   error              // why somebody could get nothing of what all share, when it was so last
	wake      time.Time
	out       []Decision
}

// New returns a scheduler without instances.
func New(limits Limits) *Scheduler {
	return &Scheduler{limits: limits, functions: map[string]*function{}, versions: map[Key]*version{}, live: map[*version]bool{}, lines: map[*version]bool{}, tended: map[*function]bool{}}
}

// Decisions returns what was decided since it was called last. The slice is valid
// until the next call of any method.
func (s *Scheduler) Decisions() []Decision {
	out := s.out
	s.out = s.out[:0]
	return out
}

func (s *Scheduler) decide(d Decision) { s.out = append(s.out, d) }

// Know makes a version known, or changes its settings.
func (s *Scheduler) Know(key Key, settings Settings) {
	v := s.versions[key]
	if v == nil {
		f := s.functions[key.Function]
		if f == nil {
			f = &function{name: key.Function}
			s.functions[key.Function] = f
		}
		v = &version{key: key, function: f}
		s.versions[key] = v
	}
	if v.settings = settings; v.need == 0 {
		v.need = settings.Need
	}
}

// Known says whether Know was called for the version, with a need.
func (s *Scheduler) Known(key Key) bool { return s.versions[key] != nil && s.versions[key].need > 0 }

// Take returns a free instance of a version, now with one lease more, or nil: then
// the request is to Arrive.
func (s *Scheduler) Take(now time.Time, key Key) *Instance {
	v := s.versions[key]
	if v == nil || len(v.line) > 0 {
		return nil
	}
	in := v.free()
	if in != nil {
		v.function.arrived(now)
		s.lend(in)
	}
	return in
}

// Arrive puts a request into the line of a version that is known. A cold one wants
// an instance of its own, made for it.
func (s *Scheduler) Arrive(now time.Time, key Key, cold bool) *Ticket {
	v := s.versions[key]
	f := v.function
	f.arrived(now)
	t := &Ticket{version: v, cold: cold, tag: max(s.virtual, f.finish)}
	switch {
	case v.removed:
		s.refuse(t, gone(key))
		return t
	case s.limits.Memory > 0 && v.need > s.limits.Memory:
		s.refuse(t, s.overBudget(v))
		return t
	}
	f.finish = t.tag + 1
	v.line = append(v.line, t)
	s.lines[v] = true
	s.waiting++
	s.dispatch(now)
	if t.place == inLine && !t.covered() && !t.promised && f.uncovered(s) > s.limits.Waiting {
		s.leave(t)
		s.refuse(t, s.full(t))
	}
	return t
}

// Expire ends the wait of a ticket that nothing was begun for. It says whether it
// did: a start that is under way is waited for.
func (s *Scheduler) Expire(now time.Time, t *Ticket, waited time.Duration) bool {
	if t.place != inLine || t.covered() || t.promised {
		return false
	}
	s.leave(t)
	s.refuse(t, thaw.Errorf(thaw.CodeThrottled, "%w, and nothing changed that for %s: try again", s.why(t), waited))
	s.dispatch(now)
	return true
}

// GiveUp takes a request out whose client has gone. A start of its own that is
// under way is the caller's to end.
func (s *Scheduler) GiveUp(now time.Time, t *Ticket) {
	if t.place == inLine {
		s.leave(t)
	}
	t.place = left
	s.dispatch(now)
}

// leave takes t out of its line.
func (s *Scheduler) leave(t *Ticket) {
	v := t.version
	at := slices.Index(v.line, t)
	if v.line = slices.Delete(v.line, at, at+1); len(v.line) == 0 {
		delete(s.lines, v)
	}
	s.waiting--
	t.place = left
}

func (s *Scheduler) refuse(t *Ticket, err error) {
	t.place = left
	s.decide(Decision{Kind: Refuse, Ticket: t, Err: err})
}

// Started says how a start ended. What comes of it, good or bad, is for whom it was
// begun if that was one alone, else for the head of the line; it says whether there
// was one. The memory of a start that failed is free again.
func (s *Scheduler) Started(now time.Time, in *Instance, err error) (told bool) {
	v := in.version
	if in.bound == nil {
		v.starting--
	}
	if err != nil {
		return s.failed(now, in, err)
	}
	in.state, in.since, in.fresh, v.function.failures = Ready, now, true, 0
	s.hand(in)
	in.fresh, told = false, in.leases > 0
	s.rest(now, in)
	s.dispatch(now)
	return told
}

// hand gives a new instance to whom it is for.
func (s *Scheduler) hand(in *Instance) {
	if t := in.bound; t != nil {
		in.bound, in.exclusive = nil, true
		if t.place == started {
			t.place = left
			s.grant(t, in)
		}
		return
	}
	for in.leases < in.version.settings.Concurrency {
		t := in.version.first()
		if t == nil {
			return
		}
		s.leave(t)
		s.grant(t, in)
	}
}

// failed ends a start that came to nothing.
func (s *Scheduler) failed(now time.Time, in *Instance, err error) (told bool) {
	t, f := in.bound, in.version.function
	s.drop(in)
	s.ending += in.charge // which gone takes back
	s.gone(in)
	if in.ahead {
		f.failures++
		f.retry = now.Add(Backoff(f.failures))
		s.alarm(f.retry)
	}
	if t == nil {
		t = in.version.first()
	}
	if t != nil && t.place == inLine {
		s.leave(t)
		t.place = started
	}
	if told = t != nil && t.place == started; told {
		s.refuse(t, err)
	}
	s.dispatch(now)
	return told
}

// Release gives a lease back. keep says that the instance may serve again.
func (s *Scheduler) Release(now time.Time, in *Instance, keep bool) {
	f := in.version.function
	in.leases--
	if f.leases--; f.leases == 0 {
		f.ended = now
	}
	in.since, in.exclusive = now, false
	if in.retired = in.retired || !keep; in.retired || s.waiting == 0 {
		s.rest(now, in)
		s.dispatch(now)
		return
	}
	in.expires = now.Add(in.version.settings.KeepAlive.Idle) // what it is worth to others
	s.dispatch(now)
	s.rest(now, in)
}

// Died says that an instance has ended by itself. Its holders release it.
func (s *Scheduler) Died(now time.Time, in *Instance) {
	if in.retired = true; in.idle() {
		s.end(in)
	}
	s.dispatch(now)
}

// Gone says that an instance that was to end has ended.
func (s *Scheduler) Gone(now time.Time, in *Instance) {
	s.gone(in)
	s.dispatch(now)
}

func (s *Scheduler) gone(in *Instance) {
	in.state = Gone
	s.memory -= in.charge
	s.ending -= in.charge
}
