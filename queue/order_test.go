package queue

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"thaw"
)

// take empties o and returns the first letters of what it gave, with every attempt
// ending before the next begins.
func take(o *order, now time.Time) string {
	var got strings.Builder
	for {
		id, ok := o.next(now)
		if !ok {
			return got.String()
		}
		got.WriteString(id[:1])
		o.done(id[:1])
	}
}

func TestOrderIsFair(t *testing.T) {
	now := time.Unix(1000, 0)
	o := newOrder(4)
	for i := range 6 {
		o.add("a", fmt.Sprint("a", i), now)
	}
	o.add("b", "b0", now)
	o.add("b", "b1", now)
	o.add("c", "c0", now.Add(time.Second))
	got := take(o, now)
	if rest := strings.TrimPrefix(strings.TrimPrefix(got, "ab"), "ba"); len(got) != 8 || rest[:2] != "ab" && rest[:2] != "ba" || rest[2:] != "aaaa" {
		t.Errorf("%s: a's backlog goes before b", got)
	}
	if at, ok := o.wake(); !ok || !at.Equal(now.Add(time.Second)) {
		t.Errorf("wakes at %v, %v", at, ok)
	}
	if got := take(o, now.Add(time.Second)); got != "c" {
		t.Error(got)
	}
	if _, ok := o.wake(); ok || len(o.lanes) != 0 {
		t.Errorf("%d lanes left", len(o.lanes))
	}
}

func TestOrderWithinAFunction(t *testing.T) {
	now := time.Unix(1000, 0)
	o := newOrder(9)
	o.add("f", "2", now)
	o.add("f", "3", now)
	o.add("f", "1", now.Add(-time.Second))
	o.add("f", "x", now)
	o.remove("f", "x")
	o.remove("f", "none")
	o.remove("none", "x")
	var got string
	for id, ok := o.next(now); ok; id, ok = o.next(now) {
		got += id
	}
	if got != "123" {
		t.Error(got)
	}
}

func TestOrderBoundsAFunction(t *testing.T) {
	now := time.Unix(1000, 0)
	o := newOrder(2)
	for i := range 5 {
		o.add("a", fmt.Sprint("a", i), now)
	}
	for range 2 {
		if id, ok := o.next(now); !ok || id[0] != 'a' {
			t.Fatal(id, ok)
		}
	}
	if id, ok := o.next(now); ok {
		t.Errorf("%s is the third at once", id)
	}
	if _, ok := o.wake(); ok {
		t.Error("wakes though nothing can begin")
	}
	// Newcomers go before the third of a, whoever's turn it is.
	o.add("b", "b0", now)
	o.done("a")
	if id, _ := o.next(now); id != "b0" {
		t.Error(id)
	}
}

// TestOrderNeverStarves runs a flood beside single items: each of these begins
// when the next place is free.
func TestOrderNeverStarves(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Unix(1000, 0)
	o := newOrder(8)
	for i := range 1000 {
		o.add("flood", fmt.Sprint("flood", i), now)
	}
	var running []string
	for i := range 200 {
		for len(running) < 8 {
			id, ok := o.next(now)
			if !ok {
				t.Fatal("nothing to do")
			}
			running = append(running, strings.TrimRight(id, "0123456789"))
		}
		o.add("single", fmt.Sprint("single", i), now)
		at := random.IntN(len(running))
		o.done(running[at])
		running = append(running[:at], running[at+1:]...)
		id, _ := o.next(now)
		if function := strings.TrimRight(id, "0123456789"); function != "single" {
			t.Fatalf("%s before a function with nothing under way", id)
		}
		o.done("single")
	}
}

func TestBackoff(t *testing.T) {
	b := Backoff{Base: time.Second, Cap: 5 * time.Minute}
	for n, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		if got := b.delay(n, 1); got != want*time.Second {
			t.Errorf("before retry %d: up to %s, want %d s", n, got, want)
		}
		if got := b.delay(n, 0.25); got != want*time.Second/4 {
			t.Errorf("before retry %d: a quarter is %s", n, got)
		}
	}
	for _, n := range []int{31, 32, 63, 64, 1 << 40} {
		if got := b.delay(n, 1); got != b.Cap {
			t.Errorf("before retry %d: %s", n, got)
		}
	}
}

// TestDecide goes through a life of failures, each with the longest delay.
func TestDecide(t *testing.T) {
	const fn, throttled, gone = thaw.CodeFunction, thaw.CodeThrottled, thaw.CodeNotFound
	for name, test := range map[string]struct {
		kind   thaw.ItemKind
		codes  []thaw.Code
		delays []time.Duration // between attempts
		reason string          // "" is alive
	}{
		"twice":                   {thaw.KindInvoke, []thaw.Code{fn, fn}, []time.Duration{time.Minute, 2 * time.Minute}, ""},
		"three times":             {thaw.KindInvoke, []thaw.Code{fn, fn, fn}, []time.Duration{time.Minute, 2 * time.Minute}, "the function failed 3 times: because"},
		"throttles do not count":  {thaw.KindInvoke, []thaw.Code{throttled, throttled, throttled, fn}, []time.Duration{1e9, 2e9, 4e9, time.Minute}, ""},
		"removed":                 {thaw.KindInvoke, []thaw.Code{fn, gone}, []time.Duration{time.Minute}, "it cannot succeed as it is: because"},
		"bad request":             {thaw.KindInvoke, []thaw.Code{thaw.CodeInvalid}, nil, "it cannot succeed"},
		"platform and function":   {thaw.KindInvoke, []thaw.Code{thaw.CodeInstance, fn, thaw.CodeInternal, fn, fn}, []time.Duration{1e9, time.Minute, 4e9, 2 * time.Minute}, "the function failed 3 times"},
		"callback":                {thaw.KindCallback, []thaw.Code{thaw.CodeUnavailable}, []time.Duration{1e9}, ""},
		"callback of a dead host": {thaw.KindCallback, slicesRepeat(thaw.CodeUnavailable, 6), []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9}, "the callback failed 6 times"},
	} {
		t.Run(name, func(t *testing.T) {
			r, now := DefaultRetry(), time.Unix(1000, 0)
			it := &thaw.QueueItem{Kind: test.kind, Accepted: now, Expires: now.Add(r.MaxAge)}
			var delays []time.Duration
			for i, code := range test.codes {
				r.decide(it, thaw.Errorf(code, "because"), now, 1)
				if it.State == thaw.ItemDead {
					if i != len(test.codes)-1 {
						t.Fatalf("dead after %d attempts: %s", i+1, it.Reason)
					}
					break
				}
				delays = append(delays, it.Due.Sub(now))
				now = it.Due
			}
			if fmt.Sprint(delays) != fmt.Sprint(test.delays) || !strings.HasPrefix(it.Reason, test.reason) || (it.State == thaw.ItemDead) != (test.reason != "") {
				t.Errorf("delays %v, want %v; %s %q, want %q", delays, test.delays, it.State, it.Reason, test.reason)
			}
		})
	}
}

func slicesRepeat(c thaw.Code, n int) (all []thaw.Code) {
	for range n {
		all = append(all, c)
	}
	return all
}

// TestThrottledForHours is retried until it is too old, and not for ever.
func TestThrottledForHours(t *testing.T) {
	r, began := DefaultRetry(), time.Unix(1000, 0)
	it := &thaw.QueueItem{Kind: thaw.KindInvoke, Accepted: began, Expires: began.Add(r.MaxAge)}
	now, n := began, 0
	for ; it.State != thaw.ItemDead; n++ {
		r.decide(it, thaw.Errorf(thaw.CodeThrottled, "busy"), now, 1)
		if it.State != thaw.ItemDead {
			now = it.Due
		}
	}
	if n < 72 || n > 90 || now.Sub(began) < r.MaxAge-5*time.Minute || it.Failures != 0 || !strings.HasPrefix(it.Reason, "given up 5h5") {
		t.Errorf("%d attempts in %s: %q", n, now.Sub(began), it.Reason)
	}
}
