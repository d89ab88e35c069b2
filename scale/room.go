package scale

import (
	"fmt"
	"slices"
	"time"

	"thaw"
)

// ownRoom makes room below the function's maximum, or says why there is none.
func (s *Scheduler) ownRoom(t *Ticket) error {
	v, f := t.version, t.version.function
	if f.instances < v.settings.Max {
		return nil
	}
	// What the function has is replaced: its minimum may be among it.
	if !s.evict(func(in *Instance) bool {
		o := in.version
		if o.function != f {
			return false
		}
		return o == v || o.first() == nil || len(v.instances) == 0 || len(v.instances)+1 < len(o.instances)
	}) {
		return fmt.Errorf("function %s has %d instances at work, its limit", f.name, f.instances)
	}
	return nil
}

// yields says of an idle instance whether it makes room for t.
func (s *Scheduler) yields(t *Ticket) func(*Instance) bool {
	f := t.version.function
	return func(in *Instance) bool {
		o := in.version
		if o.function == f {
			return o.first() == nil || o == t.version
		}
		return !in.needed() && (o.first() == nil || f.instances == 0 || f.instances+1 < o.function.instances)
	}
}

// sharedRoom makes room for an instance of v below the limits that all functions
// share, or says why there is none. soon says that it will be there when what ends
// has ended.
func (s *Scheduler) sharedRoom(v *version, yields func(*Instance) bool) (why error, soon bool) {
	if s.instances >= s.limits.Instances && !s.evict(yields) {
		return fmt.Errorf("%d instances are at work or kept at a minimum, the limit of this machine", s.instances), false
	}
	if s.limits.Memory == 0 {
		return nil, false
	}
	over := func() int64 { return s.memory + v.need - s.limits.Memory }
	for over() > s.ending && s.evict(yields) {
	}
	if over() > 0 {
		return s.overBudget(v), over() <= s.ending
	}
	return nil, false
}

// overBudget says what does not fit.
func (s *Scheduler) overBudget(v *version) error {
	const mib = 1 << 20
	return thaw.Errorf(thaw.CodeThrottled, "an instance of function %s needs about %d MiB of memory, and %d MiB of the budget of %d MiB are used (thaw serve --memory-budget)",
		v.key.Function, (v.need+mib-1)/mib, s.memory/mib, s.limits.Memory/mib)
}

// evict ends the idle instance that is worth least among those that yield: whose
// keep-alive window ends first, then the longest unused one. It says whether there
// was one.
func (s *Scheduler) evict(yields func(*Instance) bool) bool {
	var victim *Instance
	for v := range s.live {
		for _, in := range v.instances {
			if in.idle() && yields(in) && (victim == nil || lessWorth(in, victim)) {
				victim = in
			}
		}
	}
	if victim == nil {
		return false
	}
	s.evicted++
	s.end(victim)
	return true
}

func lessWorth(a, b *Instance) bool {
	if c := a.expires.Compare(b.expires); c != 0 {
		return c < 0
	}
	if c := a.since.Compare(b.since); c != 0 {
		return c < 0
	}
	ka, kb := a.Key(), b.Key()
	return ka.Function < kb.Function || ka.Function == kb.Function && ka.Version < kb.Version
}

// end takes an instance out that nobody holds, and has it closed.
func (s *Scheduler) end(in *Instance) {
	s.drop(in)
	in.state = Ending
	s.ending += in.charge
	s.decide(Decision{Kind: End, Instance: in})
}

// drop takes in out of what exists, but for its memory.
func (s *Scheduler) drop(in *Instance) {
	v := in.version
	v.instances = slices.DeleteFunc(v.instances, func(o *Instance) bool { return o == in })
	if len(v.instances) == 0 {
		delete(s.live, v)
	}
	v.function.instances--
	s.instances--
	s.lacking = s.lacking || v.function.serves == v
	s.learn(in)
}

// learn has the next start of the version take what this one did at most, unless
// another one takes more.
func (s *Scheduler) learn(in *Instance) {
	if in.peak == 0 {
		return
	}
	in.version.need = in.peak
	for _, o := range in.version.instances {
		in.version.need = max(in.version.need, o.peak)
	}
}

// Measured says what an instance occupies, in bytes. Idle instances are given up
// when all together are over the budget.
func (s *Scheduler) Measured(now time.Time, in *Instance, bytes int64) {
	if in.state != Ready {
		return
	}
	s.memory += bytes - in.charge
	in.charge, in.peak = bytes, max(in.peak, bytes)
	in.version.need = max(in.version.need, bytes)
	unwanted := func(o *Instance) bool { return !o.needed() && o.version.first() == nil }
	for s.limits.Memory > 0 && s.memory-s.ending > s.limits.Memory && s.evict(unwanted) {
	}
	s.dispatch(now)
}
