package scale

import (
	"time"

	"thaw"
)

// Serve makes a version, which is known, the one of its function that is kept at
// its minimum and restored ahead of invocations.
func (s *Scheduler) Serve(now time.Time, key Key) {
	v := s.versions[key]
	v.function.serves = v
	v.function.failures, v.function.retry = 0, time.Time{}
	s.lacking, s.tended[v.function] = true, true
	s.alarm(now) // for the instances of the version before
	s.dispatch(now)
}

// Retire ends the instances that a version has: idle ones now, others when they
// have no lease any more. It may get others, and does if it serves and has a minimum.
func (s *Scheduler) Retire(now time.Time, key Key) {
	v := s.versions[key]
	if v == nil {
		return
	}
	s.retire(v)
	s.lacking = s.lacking || v.function.serves == v
	s.dispatch(now)
}

// Stop retires every version. Nothing is begun any more but for those who wait.
func (s *Scheduler) Stop(now time.Time) {
	for f := range s.tended {
		f.serves, f.prewarm = nil, time.Time{}
	}
	for v := range s.live {
		s.retire(v)
	}
	s.dispatch(now)
}

func (s *Scheduler) retire(v *version) {
	for i := len(v.instances) - 1; i >= 0; i-- {
		in := v.instances[i]
		if in.retired = true; in.idle() {
			s.end(in)
		}
	}
}

// Remove retires a version for good: it gets no instance any more, and who waits
// for one is refused.
func (s *Scheduler) Remove(now time.Time, key Key) {
	if s.versions[key] == nil {
		s.Know(key, Settings{Concurrency: 1})
	}
	v := s.versions[key]
	if v.function.serves == v {
		v.function.serves, v.function.histogram = nil, nil // the function goes
	}
	v.removed = true
	for len(v.line) > 0 {
		t := v.line[0]
		s.leave(t)
		s.refuse(t, gone(key))
	}
	s.Retire(now, key)
}

func gone(key Key) error {
	return thaw.Errorf(thaw.CodeNotFound, "version %d of function %s has just been removed", key.Version, key.Function)
}

// EndIdle ends the idle instances of those versions of function that which wants.
func (s *Scheduler) EndIdle(now time.Time, function string, which func(version int) bool) {
	for v := range s.live {
		if v.key.Function != function || !which(v.key.Version) {
			continue
		}
		for i := len(v.instances) - 1; i >= 0; i-- {
			if v.instances[i].idle() {
				s.end(v.instances[i])
			}
		}
	}
	s.dispatch(now)
}

// Busy is how many instances of a version are at work or being made.
func (s *Scheduler) Busy(key Key) (n int) {
	if v := s.versions[key]; v != nil {
		for _, in := range v.instances {
			if !in.idle() {
				n++
			}
		}
	}
	return n
}

// Load is what there is at a moment.
type Load struct {
	// Instances are starting or ready.
	Instances int
	// Memory is what they are taken to occupy in bytes, with those that end.
	Memory int64
	// Evicted is how many instances have had to make room so far.
	Evicted int
	// Waiting is how many requests of each function are in line, where there are any.
	Waiting map[string]int
}

// Load returns what there is now.
func (s *Scheduler) Load() Load {
	l := Load{Instances: s.instances, Memory: s.memory, Evicted: s.evicted, Waiting: map[string]int{}}
	for v := range s.lines {
		l.Waiting[v.key.Function] += len(v.line)
	}
	return l
}
