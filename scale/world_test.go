package scale

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"thaw"
)

// world plays everything around a scheduler, with a clock of its own, and checks
// after each step what must always hold.
type world struct {
	*Scheduler
	t   testing.TB
	now time.Time

	arrived  map[*Ticket]Key
	cold     map[*Ticket]bool
	line     []*Ticket // in order of arrival
	waiting  map[*Ticket]bool
	results  map[*Ticket]error // nil is a grant
	served   []*Ticket         // in order
	starting []*Instance
	held     []*Instance // once for each lease
	ending   []*Instance
	begun    map[Key]int // for tickets
	asked    map[Key]int
}

func newWorld(t testing.TB, limits Limits) *world {
	return &world{
		Scheduler: New(limits), t: t, now: time.Unix(0, 0), arrived: map[*Ticket]Key{}, cold: map[*Ticket]bool{}, waiting: map[*Ticket]bool{},
		results: map[*Ticket]error{}, begun: map[Key]int{}, asked: map[Key]int{},
	}
}

// know makes versions known with the same settings.
func (w *world) know(s Settings, keys ...Key) {
	for _, k := range keys {
		w.Know(k, s)
	}
}

func (w *world) arrive(key Key, cold bool) *Ticket {
	w.asked[key]++
	if !cold {
		if in := w.Take(w.now, key); in != nil {
			w.held = append(w.held, in)
			w.after()
			return nil
		}
	}
	t := w.Arrive(w.now, key, cold)
	w.arrived[t], w.cold[t], w.waiting[t] = key, cold, true
	w.line = append(w.line, t)
	w.after()
	return t
}

// after carries out what was decided.
func (w *world) after() {
	w.t.Helper()
	for _, d := range w.Decisions() {
		switch d.Kind {
		case Begin:
			w.starting = append(w.starting, d.Instance)
			if d.Ticket != nil {
				w.begun[d.Instance.Key()]++
			}
			w.admitted(d)
		case Grant:
			w.granted(d)
		case Refuse:
			w.done(d.Ticket, d.Err)
			if thaw.CodeOf(d.Err) == thaw.CodeInternal && !errors.Is(d.Err, errBroken) {
				w.t.Errorf("refused with %v", d.Err)
			}
		case End:
			w.ending = append(w.ending, d.Instance)
		}
	}
	w.check()
}

func (w *world) admitted(d Decision) {
	if w.limits.Memory > 0 && w.memory > w.limits.Memory {
		w.t.Errorf("a start was admitted with %d of %d bytes charged", w.memory, w.limits.Memory)
	}
	key := d.Instance.Key()
	if w.begun[key] > w.asked[key] {
		w.t.Errorf("%d starts of %v for %d requests", w.begun[key], key, w.asked[key])
	}
}

func (w *world) granted(d Decision) {
	key := w.arrived[d.Ticket]
	if d.Instance.Key() != key {
		w.t.Errorf("%v got an instance of %v", key, d.Instance.Key())
	}
	for _, o := range w.line { // all that were there before
		if o == d.Ticket {
			break
		}
		if w.waiting[o] && w.arrived[o] == key && !w.cold[o] && !w.cold[d.Ticket] {
			w.t.Errorf("a request of %v overtook one that came before it", key)
		}
	}
	w.done(d.Ticket, nil)
	w.served = append(w.served, d.Ticket)
	w.held = append(w.held, d.Instance)
}

func (w *world) done(t *Ticket, err error) {
	if !w.waiting[t] {
		w.t.Error("a ticket ended twice, or after it was given up")
	}
	delete(w.waiting, t)
	w.results[t] = err
}

// check compares the sums with what they are the sums of.
func (w *world) check() {
	w.t.Helper()
	var instances, leases, lines int
	var memory, ending int64
	perFunction := map[string]int{}
	for key, v := range w.versions {
		starting := 0
		for _, in := range v.instances {
			instances++
			perFunction[key.Function]++
			memory, leases = memory+in.charge, leases+in.leases
			if in.state == Starting && in.bound == nil {
				starting++
			}
			if in.leases > v.settings.Concurrency || in.leases < 0 || in.state == Starting && in.leases > 0 {
				w.t.Errorf("%d leases of an instance", in.leases)
			}
			if in.free() && v.first() != nil {
				w.t.Errorf("a request waits for an instance of %v, and there is a free one", key)
			}
		}
		if starting != v.starting {
			w.t.Errorf("%d starts of %v, %d are counted", starting, key, v.starting)
		}
		lines += len(v.line)
		if n := perFunction[key.Function]; n > v.settings.Max {
			w.t.Errorf("%d instances of %s, over its maximum", n, key.Function)
		}
	}
	for _, in := range w.ending {
		memory, ending = memory+in.charge, ending+in.charge
	}
	if instances != w.instances || memory != w.memory || ending != w.Scheduler.ending || lines != w.Scheduler.waiting || leases != len(w.held) {
		w.t.Errorf("%d instances, %d bytes (%d ending), %d in line, %d leases; counted are %d, %d (%d), %d, %d",
			instances, memory, ending, lines, len(w.held), w.instances, w.memory, w.Scheduler.ending, w.Scheduler.waiting, leases)
	}
	if instances > w.limits.Instances {
		w.t.Errorf("%d instances, over the limit", instances)
	}
}

var errBroken = errors.New("it broke")

// finish ends a start.
func (w *world) finish(in *Instance, err error) {
	w.starting = slices.DeleteFunc(w.starting, func(o *Instance) bool { return o == in })
	w.Started(w.now, in, err)
	w.after()
}

func (w *world) release(in *Instance, keep bool) {
	i := slices.Index(w.held, in)
	w.held = slices.Delete(w.held, i, i+1)
	w.Release(w.now, in, keep)
	w.after()
}

func (w *world) gone(in *Instance) {
	w.ending = slices.DeleteFunc(w.ending, func(o *Instance) bool { return o == in })
	w.Gone(w.now, in)
	w.after()
}

// settle lets everything that is under way end, until nobody waits.
func (w *world) settle() {
	for n := 0; len(w.starting)+len(w.held)+len(w.ending) > 0; n++ {
		if n > 100_000 {
			w.t.Fatal("it does not come to rest")
		}
		w.turn()
	}
}

func (w *world) String() string {
	return fmt.Sprintf("%d instances, %d wait, %d start", w.instances, w.Scheduler.waiting, len(w.starting))
}
