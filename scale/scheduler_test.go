package scale

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"thaw"
)

const mib = 1 << 20

func key(name string) Key { return Key{name, 1} }

func settings(limit int) Settings {
	return Settings{Concurrency: 1, Max: limit, Need: 50 * mib, KeepAlive: KeepAlive{Idle: time.Minute}}
}

// step does one thing at random that can happen.
func (w *world) step(r *rand.Rand, keys []Key) {
	w.now = w.now.Add(time.Duration(r.IntN(2000)) * time.Millisecond)
	switch n := r.IntN(100); {
	case n < 35:
		w.arrive(keys[r.IntN(len(keys))], r.IntN(5) == 0)
	case n < 55 && len(w.starting) > 0:
		var err error
		if r.IntN(6) == 0 {
			err = errBroken
		}
		w.finish(w.starting[r.IntN(len(w.starting))], err)
	case n < 80 && len(w.held) > 0:
		w.release(w.held[r.IntN(len(w.held))], r.IntN(8) > 0)
	case n < 88 && len(w.ending) > 0:
		w.gone(w.ending[r.IntN(len(w.ending))])
	default:
		w.rarely(r, keys)
	}
}

func (w *world) rarely(r *rand.Rand, keys []Key) {
	key := keys[r.IntN(len(keys))]
	switch r.IntN(7) {
	case 0:
		w.Tick(w.now)
	case 1:
		for t := range w.waiting {
			w.Expire(w.now, t, time.Second)
			break
		}
	case 2:
		for t := range w.waiting {
			delete(w.waiting, t)
			w.GiveUp(w.now, t)
			break
		}
	case 3:
		if v := w.versions[key]; len(v.instances) > 0 {
			if in := v.instances[r.IntN(len(v.instances))]; in.state == Ready {
				w.Died(w.now, in)
			}
		}
	case 4:
		if v := w.versions[key]; len(v.instances) > 0 {
			w.Measured(w.now, v.instances[r.IntN(len(v.instances))], int64(20+r.IntN(100))*mib)
		}
	case 5:
		w.Retire(w.now, key)
	case 6:
		w.Serve(w.now, key)
	}
	w.after()
}

// TestAlways plays many days at random; [world] checks each step. Nobody waits for
// ever once nothing new comes.
func TestAlways(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t, Limits{Instances: 1 + r.IntN(6), Memory: int64(r.IntN(3)) * 200 * mib, Waiting: r.IntN(20)})
			keys := []Key{{"a", 1}, {"a", 2}, {"b", 1}, {"c", 1}}
			for i, k := range keys {
				policy, minimum := thaw.KeepAlives()[r.IntN(2)], 0
				if i == 3 && w.limits.Instances > 1 && w.limits.Memory == 0 { // what is kept at a minimum makes no room
					minimum = r.IntN(2)
				}
				w.Know(k, Settings{Concurrency: 1 + r.IntN(3), Min: minimum, Max: 3, Need: int64(20+r.IntN(80)) * mib, KeepAlive: KeepAlive{policy, time.Minute}})
			}
			for range 1500 {
				w.step(r, keys)
				if t.Failed() {
					t.Fatal(w)
				}
			}
			w.settle()
			if len(w.waiting) > 0 {
				t.Errorf("%d requests wait though nothing is at work: %s", len(w.waiting), w)
			}
		})
	}
}

// TestBurst: eight requests at once get two instances, in the order in which they
// came, and no third start is begun.
func TestBurst(t *testing.T) {
	w := newWorld(t, Limits{Instances: 9, Waiting: 100})
	w.know(settings(2), key("f"))
	for range 8 {
		w.arrive(key("f"), false)
	}
	if len(w.starting) != 2 {
		t.Fatalf("%d starts, want 2", len(w.starting))
	}
	w.settle()
	if len(w.served) != 8 || w.begun[key("f")] != 2 {
		t.Errorf("%d served by %d starts", len(w.served), w.begun[key("f")])
	}
	for i, ticket := range w.served {
		if ticket != w.line[i] {
			t.Errorf("number %d was not served in its turn", i)
		}
	}
}

// TestFreedInstead: a request whose start is under way gets the instance that gets
// free, and the start serves whoever comes next.
func TestFreedInstead(t *testing.T) {
	w := newWorld(t, Limits{Instances: 9})
	w.know(settings(9), key("f"))
	w.arrive(key("f"), false)
	w.finish(w.starting[0], nil)
	first := w.held[0]
	ticket := w.arrive(key("f"), false)
	w.release(first, true)
	if err, ok := w.results[ticket]; !ok || err != nil || len(w.held) != 1 || w.held[0] != first {
		t.Fatalf("%v, %v: want the instance that got free", ok, err)
	}
	w.arrive(key("f"), false)
	if len(w.starting) != 1 || w.begun[key("f")] != 2 {
		t.Errorf("%d starts are under way, %d were begun: want the one that nobody needs any more to serve the next", len(w.starting), w.begun[key("f")])
	}
	w.settle()
	if w.instances != 2 || len(w.waiting) != 0 {
		t.Errorf("%s", w)
	}
}

// TestFlood: one function has a hundred requests in line, another one sends two.
// They are not behind the hundred.
func TestFlood(t *testing.T) {
	w := newWorld(t, Limits{Instances: 2, Waiting: 1000})
	w.know(settings(2), key("flood"), key("drop"))
	for range 100 {
		w.arrive(key("flood"), false)
	}
	drops := map[*Ticket]bool{w.arrive(key("drop"), false): true, w.arrive(key("drop"), false): true}
	w.settle()
	for i, ticket := range w.served {
		delete(drops, ticket)
		if i >= 8 && len(drops) > 0 {
			t.Fatalf("after %d others, %d of the other function's requests wait", i, len(drops))
		}
	}
	if len(w.served) != 102 {
		t.Errorf("%d of 102 were served", len(w.served))
	}
}

// TestFloodWithoutEnd: a function that has its next requests ready whenever one is
// done does not keep another one from its turn, however little that asks for.
func TestFloodWithoutEnd(t *testing.T) {
	for _, limits := range []Limits{{Instances: 2, Waiting: 1000}, {Instances: 9, Memory: 100 * mib, Waiting: 1000}} {
		w := newWorld(t, limits)
		big := settings(9)
		big.Need = 2 * big.Need // what it waits for must not be taken bit by bit
		w.know(settings(9), key("flood"))
		w.know(big, key("drop"))
		for range 10 {
			w.arrive(key("flood"), false)
		}
		for range 20 {
			drop := w.arrive(key("drop"), false)
			for steps := 0; w.waiting[drop]; steps++ {
				if steps > 20 {
					t.Fatalf("a request waits for ever: %s", w)
				}
				w.turn()
				w.arrive(key("flood"), false)
			}
		}
	}
}

// turn lets one thing come to its end.
func (w *world) turn() {
	w.now = w.now.Add(time.Millisecond)
	switch {
	case len(w.ending) > 0:
		w.gone(w.ending[0])
	case len(w.starting) > 0:
		w.finish(w.starting[0], nil)
	case len(w.held) > 0:
		w.release(w.held[0], true)
	}
}

// TestShares: three functions that ask for more than there is get the same number
// of instances, and these stay: fairness does not cost a start for each request.
func TestShares(t *testing.T) {
	w := newWorld(t, Limits{Instances: 6, Waiting: 1000})
	names := []string{"a", "b", "c"}
	for _, n := range names {
		w.know(settings(6), key(n))
		for range 200 {
			w.arrive(key(n), false)
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	for len(w.starting)+len(w.held)+len(w.ending) > 0 {
		if len(w.starting)+len(w.ending) == 0 {
			w.release(w.held[r.IntN(len(w.held))], true)
		} else {
			w.turn()
		}
	}
	total := 0
	for _, n := range names {
		total += w.begun[key(n)]
	}
	if total > 20 {
		t.Errorf("%d starts for 600 requests on 6 instances", total)
	}
	count := map[string]int{}
	for _, ticket := range w.served[:300] {
		count[w.arrived[ticket].Function]++
	}
	for _, n := range names {
		if count[n] < 80 || count[n] > 120 {
			t.Errorf("of the first 300 that were served, %v", count)
		}
	}
}

// TestNoCredit: a function that was idle for long has saved nothing up by that: it
// shares with one that was at work.
func TestNoCredit(t *testing.T) {
	w := newWorld(t, Limits{Instances: 1, Waiting: 1000})
	w.know(settings(1), key("busy"), key("rested"))
	for range 300 {
		w.arrive(key("busy"), false)
	}
	for range 250 {
		w.turn()
	}
	before := len(w.served)
	for range 50 {
		w.arrive(key("rested"), false)
	}
	w.settle()
	busy := 0
	for _, ticket := range w.served[before : before+40] {
		if w.arrived[ticket] == key("busy") {
			busy++
		}
	}
	if busy < 15 || busy > 25 {
		t.Errorf("%d of 40 went to the function that had been at work, want half", busy)
	}
}

// TestMinimumYieldsToNobody: what is kept makes no room for another function.
func TestMinimumYieldsToNobody(t *testing.T) {
	w := newWorld(t, Limits{Instances: 1, Memory: 60 * mib, Waiting: 1})
	s := settings(1)
	s.Min = 1
	w.know(s, key("kept"))
	w.know(settings(1), key("other"))
	w.Serve(w.now, key("kept"))
	w.after()
	w.settle()
	ticket := w.arrive(key("other"), false)
	if w.versions[key("kept")].kept() != 1 || !w.waiting[ticket] {
		t.Errorf("%d are kept", w.versions[key("kept")].kept())
	}
	w.arrive(key("kept"), true) // its own function replaces it
	w.settle()
	if w.versions[key("kept")].kept() != 1 || w.begun[key("kept")] != 1 {
		t.Errorf("%d are kept, %d were begun for requests", w.versions[key("kept")].kept(), w.begun[key("kept")])
	}
}

// TestMemory: the budget has idle instances give way, the one first whose time is
// up first, and a start waits until their memory is free.
func TestMemory(t *testing.T) {
	w := newWorld(t, Limits{Instances: 9, Memory: 120 * mib, Waiting: 9})
	w.know(settings(9), key("a"), key("b"), key("c"))
	for _, n := range []string{"a", "b"} {
		w.arrive(key(n), false)
		w.settle()
		w.now = w.now.Add(time.Second)
	}
	for _, v := range w.versions {
		for _, in := range v.instances {
			w.Measured(w.now, in, 40*mib)
		}
	}
	w.after()
	ticket := w.arrive(key("c"), false)
	if len(w.ending) != 1 || w.ending[0].Key() != key("a") || len(w.starting) != 0 {
		t.Fatalf("%d end, %d start; want that of a to end first", len(w.ending), len(w.starting))
	}
	w.gone(w.ending[0])
	if len(w.starting) != 1 {
		t.Fatal("no start though the memory is free")
	}
	w.settle()
	if err, ok := w.results[ticket]; !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	if l := w.Load(); l.Evicted != 1 || l.Memory != 90*mib || l.Instances != 2 {
		t.Errorf("%+v", l)
	}
}

func TestOverBudget(t *testing.T) {
	w := newWorld(t, Limits{Instances: 9, Memory: 120 * mib, Waiting: 9})
	w.know(settings(9), key("a"), key("b"))
	w.Know(key("huge"), Settings{Concurrency: 1, Max: 9, Need: 121 * mib})
	ticket := w.arrive(key("huge"), false)
	if err := w.results[ticket]; thaw.CodeOf(err) != thaw.CodeThrottled || !strings.Contains(err.Error(), "needs about 121 MiB of memory, and 0 MiB of the budget of 120 MiB are used") {
		t.Errorf("%v", err)
	}
	w.arrive(key("a"), false)
	w.arrive(key("a"), false)
	ticket = w.arrive(key("b"), false)
	if len(w.starting) != 2 || !w.Expire(w.now, ticket, 10*time.Second) {
		t.Fatalf("%d start: the third has no room", len(w.starting))
	}
	w.after()
	if err := w.results[ticket]; thaw.CodeOf(err) != thaw.CodeThrottled || !strings.Contains(err.Error(), "100 MiB of the budget of 120 MiB") || !strings.Contains(err.Error(), "10s") {
		t.Errorf("%v", err)
	}
}

// TestExpireCovered: who waits for a start that is under way is not refused.
func TestExpireCovered(t *testing.T) {
	w := newWorld(t, Limits{Instances: 9, Waiting: 9})
	w.know(settings(1), key("f"))
	first, second := w.arrive(key("f"), false), w.arrive(key("f"), false)
	if w.Expire(w.now, first, time.Second) || !w.Expire(w.now, second, time.Second) {
		t.Error("the first has a start under way, the second has not")
	}
	w.after()
	w.settle()
	if w.results[first] != nil || thaw.CodeOf(w.results[second]) != thaw.CodeThrottled {
		t.Errorf("%v, %v", w.results[first], w.results[second])
	}
}

func TestQueueIsBounded(t *testing.T) {
	for _, waiting := range []int{0, 2} {
		w := newWorld(t, Limits{Instances: 9, Waiting: waiting})
		w.know(settings(1), key("f"))
		for range waiting + 1 {
			w.arrive(key("f"), false)
		}
		ticket := w.arrive(key("f"), false)
		if err := w.results[ticket]; thaw.CodeOf(err) != thaw.CodeThrottled || !strings.Contains(err.Error(), "function f has 1 instances at work, its limit") {
			t.Errorf("with %d that may wait: %v", waiting, err)
		}
	}
}

// TestColdIsItsOwn: a cold request takes no instance that is there, and what was
// made for it goes to nobody else.
func TestColdIsItsOwn(t *testing.T) {
	w := newWorld(t, Limits{Instances: 9, Waiting: 9})
	s := settings(2)
	s.Concurrency = 5
	w.know(s, key("f"))
	w.arrive(key("f"), false)
	w.settle()
	cold := w.arrive(key("f"), true)
	if len(w.starting) != 1 {
		t.Fatalf("%d starts", len(w.starting))
	}
	own := w.starting[0]
	w.arrive(key("f"), false) // takes the idle one
	w.finish(own, nil)
	if w.results[cold] != nil || len(w.held) != 2 || own.Leases() != 1 || own.free() {
		t.Errorf("%d leases, %d of the cold one", len(w.held), own.Leases())
	}
	w.release(own, true)
	if !own.free() {
		t.Error("afterwards it serves all")
	}
	// At the limit an idle instance gives way, the version's own.
	w.settle()
	w.arrive(key("f"), true)
	if len(w.starting) != 1 || len(w.ending) != 1 {
		t.Errorf("%d start, %d end", len(w.starting), len(w.ending))
	}
}

func TestConcurrency(t *testing.T) {
	w := newWorld(t, Limits{Instances: 9, Waiting: 9})
	s := settings(9)
	s.Concurrency = 4
	w.know(s, key("f"))
	for range 5 {
		w.arrive(key("f"), false)
	}
	if len(w.starting) != 2 {
		t.Fatalf("%d starts for 5 requests, 4 to an instance", len(w.starting))
	}
	for len(w.starting) > 0 {
		w.finish(w.starting[0], nil)
	}
	if w.held[0].Leases() != 4 || w.held[4].Leases() != 1 {
		t.Errorf("%d and %d", w.held[0].Leases(), w.held[4].Leases())
	}
	w.release(w.held[0], true)
	busiest := w.held[0]
	w.arrive(key("f"), false)
	if w.held[4] != busiest {
		t.Error("the busiest instance with a free place is to be used")
	}
}
