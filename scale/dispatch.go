package scale

import (
	"fmt"
	"time"

	"thaw"
)

// free returns the instance of v that is to serve the next request, nil without
// a free place: the busiest one, so that others may end, then the one used last.
func (v *version) free() (best *Instance) {
	for _, in := range v.instances {
		if !in.free() {
			continue
		}
		if best == nil || in.leases > best.leases || in.leases == best.leases && in.since.After(best.since) {
			best = in
		}
	}
	return best
}

// first returns the first in line that takes any instance.
func (v *version) first() *Ticket {
	for _, t := range v.line {
		if !t.cold {
			return t
		}
	}
	return nil
}

// covered says whether a start under way will serve t, or one before it instead.
func (t *Ticket) covered() bool {
	if t.place == started {
		return true
	}
	places := t.version.starting * t.version.settings.Concurrency
	for _, o := range t.version.line {
		if o == t {
			return !t.cold && places > 0
		}
		if !o.cold {
			places--
		}
	}
	return false
}

// uncovered is how many requests of f wait with no start under way for them.
func (f *function) uncovered(s *Scheduler) (n int) {
	for v := range s.lines {
		if v.function != f {
			continue
		}
		for _, t := range v.line {
			if !t.covered() {
				n++
			}
		}
	}
	return n
}

// step is the next thing to do for a line: give t an instance, or begin a start.
type step struct {
	ticket   *Ticket
	instance *Instance // nil to begin one
}

// next returns the next step of a line; with stuck it is not the beginning of a
// start.
func (v *version) next(stuck bool) (step, bool) {
	in, places := v.free(), v.starting*v.settings.Concurrency
	for _, t := range v.line {
		switch {
		case !t.cold && in != nil:
			return step{t, in}, true
		case !t.cold && places > 0:
			places--
		case !stuck:
			return step{t, nil}, true
		}
	}
	return step{}, false
}

// round is one pass over the lines.
type round struct {
	stuck map[*version]bool // no room for a start of it
	shut  bool              // somebody waits for what all share
}

func (r *round) halt(v *version) {
	if r.stuck == nil {
		r.stuck = map[*version]bool{}
	}
	r.stuck[v] = true
}

// dispatch does what can be done for those who wait, in the order of their tags,
// and then for what nobody waits for.
func (s *Scheduler) dispatch(now time.Time) {
	r := round{}
	for s.waiting > 0 {
		next, ok := s.earliest(r)
		if !ok {
			break
		}
		if next.instance != nil {
			s.leave(next.ticket)
			s.virtual = max(s.virtual, next.ticket.tag)
			s.grant(next.ticket, next.instance)
			continue
		}
		s.begin(now, next.ticket, &r)
	}
	if !r.shut {
		s.replace(now)
	}
}

// earliest is the step with the lowest tag of all lines.
func (s *Scheduler) earliest(r round) (best step, ok bool) {
	for v := range s.lines {
		n, found := v.next(r.shut || r.stuck[v])
		if found && (!ok || before(n.ticket, best.ticket)) {
			best, ok = n, true
		}
	}
	return best, ok
}

// before orders tickets; of equal tags, by name, so that decisions depend on
// nothing but what went in.
func before(a, b *Ticket) bool {
	if a.tag != b.tag {
		return a.tag < b.tag
	}
	if ka, kb := a.version.key, b.version.key; ka.Function != kb.Function {
		return ka.Function < kb.Function
	} else {
		return ka.Version < kb.Version
	}
}

// begin begins a start for t if there is room, or makes some.
func (s *Scheduler) begin(now time.Time, t *Ticket, r *round) {
	v := t.version
	if t.blocked = s.ownRoom(t); t.blocked != nil {
		r.halt(v)
		return
	}
	if t.blocked, t.promised = s.sharedRoom(v, s.yields(t)); t.blocked != nil {
		s.blocked, r.shut = t.blocked, true
		return
	}
	s.virtual = max(s.virtual, t.tag)
	in := s.start(now, v)
	t.begun = now
	if t.cold {
		s.leave(t)
		t.place, in.bound = started, t
	} else {
		v.starting++
	}
	s.decide(Decision{Kind: Begin, Instance: in, Ticket: t})
}

// start counts a new instance.
func (s *Scheduler) start(now time.Time, v *version) *Instance {
	in := &Instance{version: v, begun: now, since: now, charge: v.need}
	v.instances = append(v.instances, in)
	s.live[v] = true
	v.function.instances++
	s.instances++
	s.memory += in.charge
	return in
}

func (s *Scheduler) grant(t *Ticket, in *Instance) {
	s.decide(Decision{Kind: Grant, Ticket: t, Instance: in, Fresh: in.fresh})
	in.fresh = false
	s.lend(in)
}

func (s *Scheduler) lend(in *Instance) {
	in.leases++
	in.ahead = false
	in.version.function.leases++
	in.version.function.prewarm = time.Time{}
}

// full is why t is refused at once.
func (s *Scheduler) full(t *Ticket) error {
	if s.limits.Waiting == 0 {
		return thaw.Errorf(thaw.CodeThrottled, "%w: try again in a moment", s.why(t))
	}
	return thaw.Errorf(thaw.CodeThrottled, "%w, and %d requests of it wait already, the limit: try again in a moment", s.why(t), s.limits.Waiting)
}

// why is what t waits for: what it was last tried for, or one before it.
func (s *Scheduler) why(t *Ticket) error {
	if t.blocked != nil {
		return t.blocked
	}
	for _, o := range t.version.line {
		if o.blocked != nil {
			return o.blocked
		}
	}
	if s.blocked != nil {
		return s.blocked
	}
	return fmt.Errorf("the instances of function %s are at work", t.version.key.Function)
}
