package scale

import (
	"slices"
	"testing"
	"time"

	"thaw"
)

// TestMinimum: a version that serves has its instances, whatever happens to them,
// and a start that fails is tried again later.
func TestMinimum(t *testing.T) {
	w := newWorld(t, Limits{Instances: 9, Waiting: 9})
	s := settings(3)
	s.Min = 2
	w.know(s, key("f"))
	w.Serve(w.now, key("f"))
	w.after()
	w.settle()
	kept := func() int { return w.versions[key("f")].kept() }
	if kept() != 2 {
		t.Fatalf("%d instances, want 2", kept())
	}
	w.now = w.now.Add(24 * time.Hour)
	w.Tick(w.now)
	w.after()
	if kept() != 2 || len(w.ending) > 0 {
		t.Fatalf("%d instances are left after a day, %d end", kept(), len(w.ending))
	}
	w.Died(w.now, w.versions[key("f")].instances[0])
	w.after()
	if len(w.starting) != 1 {
		t.Fatal("none is begun for the one that died")
	}
	w.finish(w.starting[0], errBroken)
	if len(w.starting) != 0 || !w.Wake().Equal(w.now.Add(firstRetry)) {
		t.Fatalf("%d starts, next %s: want one in a second", len(w.starting), w.Wake().Sub(w.now))
	}
	w.now = w.Wake()
	w.Tick(w.now)
	w.after()
	w.settle()
	if kept() != 2 {
		t.Errorf("%d instances", kept())
	}
	w.Retire(w.now, key("f")) // while it serves: its instances are replaced
	w.after()
	if len(w.ending) != 2 || len(w.starting) != 2 {
		t.Errorf("%d end and %d start, want both to be replaced", len(w.ending), len(w.starting))
	}
	w.settle()
	other := Key{"f", 2}
	w.know(s, other)
	w.Serve(w.now, other)
	w.Retire(w.now, key("f"))
	w.after()
	w.settle()
	w.Tick(w.now.Add(noRoomRetry))
	w.after()
	w.settle()
	if kept() != 0 || w.versions[other].kept() != 2 {
		t.Errorf("%d of the version before, %d of the one that serves", kept(), w.versions[other].kept())
	}
}

// TestPrewarm: a function that is invoked every half an hour has an instance only
// around that time.
func TestPrewarm(t *testing.T) {
	w := newWorld(t, Limits{Instances: 9, Waiting: 9})
	s := settings(3)
	s.KeepAlive.Policy = thaw.KeepAliveHistogram
	w.know(s, key("f"))
	w.Serve(w.now, key("f"))
	for range 12 {
		w.arrive(key("f"), false)
		w.settle()
		w.now = w.now.Add(30*time.Minute + time.Second)
		w.Tick(w.now)
		w.after()
		w.settle()
	}
	ended := w.versions[key("f")].function.ended
	w.arrive(key("f"), false)
	w.settle()
	if w.instances != 0 {
		t.Fatalf("%d instances right after an invocation, %s", w.instances, ended)
	}
	end := w.now
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{26 * time.Minute, 0}, {27*time.Minute + time.Second, 1}, {34 * time.Minute, 1}, {35 * time.Minute, 0}} {
		w.now = end.Add(c.after)
		w.Tick(w.now)
		w.after()
		w.settle()
		if w.instances != c.want {
			t.Errorf("%d instances after %s, want %d", w.instances, c.after, c.want)
		}
	}
}

// TestPrewarmWaitsForTheLast: while another instance of the function is at work, its
// idle time has not begun, and an idle instance is kept.
func TestPrewarmWaitsForTheLast(t *testing.T) {
	w := newWorld(t, Limits{Instances: 9, Waiting: 9})
	s := settings(3)
	s.KeepAlive.Policy = thaw.KeepAliveHistogram
	w.know(s, key("f"))
	for range 12 {
		w.arrive(key("f"), false)
		w.settle()
		w.now = w.now.Add(30 * time.Minute)
	}
	w.arrive(key("f"), false)
	w.arrive(key("f"), false)
	for len(w.starting) > 0 {
		w.turn()
	}
	w.release(w.held[0], true)
	if w.instances != 2 {
		t.Errorf("%d instances while one is at work, want it and an idle one", w.instances)
	}
	w.release(w.held[0], true)
	if w.instances != 0 {
		t.Errorf("%d instances when none is at work", w.instances)
	}
}

// TestVersionsOfOneFunction: what one version's requests keep busy is given to
// another one's, in its turn.
func TestVersionsOfOneFunction(t *testing.T) {
	w := newWorld(t, Limits{Instances: 9, Waiting: 100})
	other := Key{"f", 2}
	w.know(settings(1), key("f"), other)
	for range 20 {
		w.arrive(key("f"), false)
	}
	ticket := w.arrive(other, false)
	w.settle()
	if err, ok := w.results[ticket]; !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	for i, o := range w.served {
		if o == ticket && i != 20 {
			t.Errorf("it was number %d of its function to be served, and came as the last", i)
		}
	}
	for range 20 {
		w.arrive(key("f"), false)
	}
	ticket = w.arrive(other, false)
	w.arrive(key("f"), false)
	w.settle()
	if at := slices.Index(w.served, ticket); at != len(w.served)-2 {
		t.Errorf("it was served as number %d of %d, want the one before the last", at, len(w.served))
	}
}

func TestRemoved(t *testing.T) {
	w := newWorld(t, Limits{Instances: 9, Waiting: 9})
	w.know(settings(1), key("f"))
	w.arrive(key("f"), false)
	ticket := w.arrive(key("f"), false)
	w.Remove(w.now, key("f"))
	w.after()
	if thaw.CodeOf(w.results[ticket]) != thaw.CodeNotFound {
		t.Errorf("a request that waits for it: %v", w.results[ticket])
	}
	if later := w.arrive(key("f"), false); thaw.CodeOf(w.results[later]) != thaw.CodeNotFound {
		t.Errorf("a request that comes later: %v", w.results[later])
	}
	w.settle()
	if w.instances != 0 {
		t.Errorf("%s", w)
	}
}
