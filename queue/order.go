package queue

import (
	"container/heap"
	"time"
)

// order decides which waiting item goes next. It is pure: it knows neither clock
// nor disk.
//
// Of the functions that have an item due and are below the bound on attempts at
// once, the one with the fewest under way goes next; of equals, the one whose
// turn was longest ago. Its item that is due longest goes, of equals the one that
// was added first. So a backlog delays only its own function.
type order struct {
	perFunction int // most attempts of one function at once
	lanes       map[string]*lane
	turn, added uint64
}

// lane is what waits of one function.
type lane struct {
	waiting waiting
	running int
	turn    uint64 // when it was last picked
}

func newOrder(perFunction int) *order {
	return &order{perFunction: perFunction, lanes: map[string]*lane{}}
}

// add has an item wait.
func (o *order) add(function, id string, due time.Time) {
	l := o.lanes[function]
	if l == nil {
		l = &lane{}
		o.lanes[function] = l
	}
	o.added++
	heap.Push(&l.waiting, entry{id, due, o.added})
}

// next takes the item out that goes next; done says when its attempt has ended.
func (o *order) next(now time.Time) (id string, ok bool) {
	var best *lane
	for _, l := range o.lanes {
		if l.running >= o.perFunction || len(l.waiting) == 0 || l.waiting[0].due.After(now) {
			continue
		}
		if best == nil || l.running < best.running || l.running == best.running && l.turn < best.turn {
			best = l
		}
	}
	if best == nil {
		return "", false
	}
	o.turn++
	best.turn = o.turn
	best.running++
	return heap.Pop(&best.waiting).(entry).id, true
}

// done gives the place of a taken item back.
func (o *order) done(function string) {
	o.lanes[function].running--
	o.tidy(function)
}

// remove takes an item out that waits.
func (o *order) remove(function, id string) {
	l := o.lanes[function]
	if l == nil {
		return
	}
	for i, e := range l.waiting {
		if e.id == id {
			heap.Remove(&l.waiting, i)
			break
		}
	}
	o.tidy(function)
}

// tidy forgets a lane of which nothing is left.
func (o *order) tidy(function string) {
	if l := o.lanes[function]; l != nil && l.running == 0 && len(l.waiting) == 0 {
		delete(o.lanes, function)
	}
}

// wake returns when next may have something, unless done or add come before.
func (o *order) wake() (at time.Time, ok bool) {
	for _, l := range o.lanes {
		if l.running >= o.perFunction || len(l.waiting) == 0 {
			continue
		}
		if due := l.waiting[0].due; !ok || due.Before(at) {
			at, ok = due, true
		}
	}
	return at, ok
}

type entry struct {
	id  string
	due time.Time
	seq uint64
}

// waiting is a heap of entries, the one to go first on top.
type waiting []entry

func (w waiting) Len() int { return len(w) }
func (w waiting) Less(i, j int) bool {
	if !w[i].due.Equal(w[j].due) {
		return w[i].due.Before(w[j].due)
	}
	return w[i].seq < w[j].seq
}
func (w waiting) Swap(i, j int) { w[i], w[j] = w[j], w[i] }
func (w *waiting) Push(x any)   { *w = append(*w, x.(entry)) }
func (w *waiting) Pop() any {
	last := len(*w) - 1
	e := (*w)[last]
	*w = (*w)[:last]
	return e
}
