package queue

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"thaw"
)

func TestInvokes(t *testing.T) {
	f := newFixture(t, nil)
	trace := thaw.TraceContext{Parent: "p", State: "s"}
	it, err := f.Enqueue(t.Context(), thaw.AsyncRequest{Function: "f", Payload: []byte(`{"a":1}`), Source: thaw.SourceLambda, Trace: trace})
	if err != nil {
		t.Fatal(err)
	}
	f.empty(t)
	calls := f.invoked()
	if len(calls) != 1 || calls[0].ID != it.ID || calls[0].Function != "f" || string(calls[0].Payload) != `{"a":1}` || calls[0].Trace != trace {
		t.Errorf("%+v", calls)
	}
	if _, _, err := f.Item(it.ID); thaw.CodeOf(err) != thaw.CodeNotFound {
		t.Errorf("a done item: %v", err)
	}
	if f.String() != "0 items, 0 bytes, 0 under way" {
		t.Error(f.String())
	}
}

func TestFailingFunctionDies(t *testing.T) {
	f := newFixture(t, func(f *fixture) { f.invoke = fail("ValueError") })
	it := f.put(t, "f", `{}`)
	f.item(t, it.ID, thaw.ItemWaiting, 1)
	f.clock.advance(time.Minute)
	f.item(t, it.ID, thaw.ItemWaiting, 2)
	f.clock.advance(2*time.Minute - time.Second)
	if n := len(f.invoked()); n != 2 {
		t.Errorf("%d attempts before the third is due", n)
	}
	f.clock.advance(time.Second)
	dead := f.item(t, it.ID, thaw.ItemDead, 3)
	if dead.Reason != "the function failed 3 times: ValueError: why" || dead.Failures != 3 || dead.Faults != 0 || !dead.Died.Equal(f.clock.Now()) {
		t.Errorf("%+v", dead)
	}
	for _, a := range dead.Attempts {
		if a.Code != thaw.CodeFunction || a.Error != "ValueError: why" || a.Began.IsZero() {
			t.Errorf("%+v", a)
		}
	}
	for _, c := range f.invoked() {
		if c.ID != it.ID {
			t.Errorf("a retry has id %s, not %s", c.ID, it.ID)
		}
	}

	// It is still there after a restart, and redriven it works.
	f.close(t)
	f.open(t)
	if _, payload, err := f.Item(it.ID); err != nil || string(payload) != `{}` {
		t.Errorf("%s, %v", payload, err)
	}
	f.mu.Lock()
	f.invoke = nil
	f.mu.Unlock()
	if n, err := f.Redrive(thaw.ItemFilter{ID: it.ID}); n != 1 || err != nil {
		t.Error(n, err)
	}
	f.empty(t)
	if _, err := f.Redrive(thaw.ItemFilter{ID: it.ID}); thaw.CodeOf(err) != thaw.CodeNotFound {
		t.Error(err)
	}
}

func TestRemovedFunctionDies(t *testing.T) {
	f := newFixture(t, func(f *fixture) { f.invoke = failing(thaw.CodeNotFound) })
	it := f.put(t, "f", `{}`)
	if dead := f.item(t, it.ID, thaw.ItemDead, 1); dead.Reason != "it cannot succeed as it is: because" {
		t.Errorf("%+v", dead)
	}
}

func TestTooOld(t *testing.T) {
	f := newFixture(t, func(f *fixture) { f.invoke = failing(thaw.CodeThrottled) })
	it := f.put(t, "f", `{}`)
	f.item(t, it.ID, thaw.ItemWaiting, 1)
	f.clock.advance(7 * time.Hour)
	if dead := f.item(t, it.ID, thaw.ItemDead, 1); dead.Reason != "it waited longer than 6h0m0s for its turn" || dead.Faults != 1 {
		t.Errorf("%+v", dead)
	}
}

func TestCallback(t *testing.T) {
	f := newFixture(t, nil)
	_, err := f.Enqueue(t.Context(), thaw.AsyncRequest{Function: "f", Payload: []byte(`"x"`), CallID: "mine", Callback: "http://h/p"})
	if err != nil {
		t.Fatal(err)
	}
	f.empty(t)
	if len(f.delivered) != 1 || f.delivered[0].URL != "http://h/p" || f.delivered[0].CallID != "mine" || string(f.delivered[0].Payload) != `"x"` || f.delivered[0].Function != "f" {
		t.Errorf("%+v", f.delivered)
	}
}

// TestCallbackOfADeadServer: the invocation is not executed again because of it.
func TestCallbackOfADeadServer(t *testing.T) {
	f := newFixture(t, func(f *fixture) {
		f.deliver = func(thaw.Delivery) error { return thaw.Errorf(thaw.CodeUnavailable, "refused") }
	})
	it, err := f.Enqueue(t.Context(), thaw.AsyncRequest{Function: "f", Payload: []byte(`1`), Callback: "http://h/p"})
	if err != nil {
		t.Fatal(err)
	}
	id := it.ID + thaw.CallbackSuffix
	for n := 1; n <= 5; n++ {
		f.item(t, id, thaw.ItemWaiting, n)
		f.clock.advance(16 * time.Second)
	}
	dead := f.item(t, id, thaw.ItemDead, 6)
	if !strings.HasPrefix(dead.Reason, "the callback failed 6 times: refused") || len(f.invoked()) != 1 {
		t.Errorf("%+v, %d invocations", dead, len(f.invoked()))
	}
}

// TestCallbackOfAFailure tells what failed, and the invocation is a dead letter.
func TestCallbackOfAFailure(t *testing.T) {
	f := newFixture(t, func(f *fixture) { f.invoke = fail("E"); f.cfg.Retry.Retries = 0 })
	r := thaw.AsyncRequest{Function: "f", Payload: []byte(`1`), Callback: "http://h/p"}
	it, err := f.Enqueue(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	f.item(t, it.ID, thaw.ItemDead, 1)
	eventually(t, "the delivery", func() bool { return len(f.Items(thaw.ItemFilter{})) == 1 })
	d := f.delivered[0]
	if d.FunctionError != "E" || d.DurationMS != 7 || string(d.Payload) != `{"errorType":"E","errorMessage":"why"}` {
		t.Errorf("%+v %s", d, d.Payload)
	}
	f.mu.Lock()
	f.invoke = failing(thaw.CodeNotFound)
	f.mu.Unlock()
	if it, err = f.Enqueue(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	f.item(t, it.ID, thaw.ItemDead, 1)
	eventually(t, "the delivery", func() bool { return len(f.Items(thaw.ItemFilter{})) == 2 })
	if d := f.delivered[1]; d.Code != thaw.CodeNotFound || !strings.Contains(string(d.Payload), "because") {
		t.Errorf("%+v %s", d, d.Payload)
	}
}

func TestBounds(t *testing.T) {
	hold := make(chan struct{})
	f := newFixture(t, func(f *fixture) {
		f.cfg.Limits = Limits{Items: 5, PerFunction: 3, Bytes: 100, Event: 50, Workers: 1, WorkersPerFunction: 1}
		f.invoke = func(context.Context, thaw.InvokeRequest) (thaw.Reply, error) { <-hold; return thaw.Reply{}, nil }
	})
	try := func(function string, bytes int) thaw.Code {
		_, err := f.Enqueue(t.Context(), thaw.AsyncRequest{Function: function, Payload: make([]byte, bytes)})
		return thaw.CodeOf(err)
	}
	for i, test := range []struct {
		function string
		bytes    int
		want     thaw.Code
	}{
		{"a", 51, thaw.CodeTooLarge}, {"a", 50, ""}, {"a", 1, ""}, {"a", 1, ""}, {"a", 1, thaw.CodeThrottled},
		{"b", 49, thaw.CodeThrottled}, {"b", 48, ""}, {"b", 0, ""}, {"c", 0, thaw.CodeThrottled},
	} {
		if got := try(test.function, test.bytes); got != test.want {
			t.Errorf("%d: %q, want %q", i, got, test.want)
		}
	}
	close(hold)
	f.empty(t)
	if got := try("a", 50); got != "" {
		t.Errorf("an empty queue: %q", got)
	}
	f.empty(t)
}

// TestWorkersAreBounded counts attempts at once, and a flood of one function
// beside another one.
func TestWorkersAreBounded(t *testing.T) {
	hold := make(chan struct{})
	f := newFixture(t, func(f *fixture) {
		f.cfg.Limits.Workers, f.cfg.Limits.WorkersPerFunction = 4, 3
		f.invoke = func(context.Context, thaw.InvokeRequest) (thaw.Reply, error) { <-hold; return thaw.Reply{}, nil }
	})
	for range 20 {
		f.put(t, "flood", `{}`)
	}
	eventually(t, "three of the flood", func() bool { return len(f.invoked()) == 3 })
	other := f.put(t, "other", `{}`)
	f.item(t, other.ID, thaw.ItemRunning, 1)
	f.put(t, "third", `{}`)
	if n := len(f.Items(thaw.ItemFilter{State: thaw.ItemRunning})); n != 4 {
		t.Errorf("%d run at once", n)
	}
	close(hold)
	f.empty(t)
}

func TestPurge(t *testing.T) {
	hold := make(chan struct{})
	f := newFixture(t, func(f *fixture) {
		f.cfg.Limits.WorkersPerFunction = 1
		f.invoke = func(_ context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
			if r.Function == "bad" {
				return failing(thaw.CodeInvalid)(nil, r)
			}
			<-hold
			return thaw.Reply{}, nil
		}
	})
	running, waiting, bad := f.put(t, "f", `1`), f.put(t, "f", `2`), f.put(t, "bad", `3`)
	f.item(t, running.ID, thaw.ItemRunning, 1)
	f.item(t, bad.ID, thaw.ItemDead, 1)
	if _, err := f.Purge(thaw.ItemFilter{ID: running.ID}); thaw.CodeOf(err) != thaw.CodeConflict {
		t.Errorf("purge of what runs: %v", err)
	}
	if _, err := f.Redrive(thaw.ItemFilter{ID: waiting.ID}); thaw.CodeOf(err) != thaw.CodeConflict {
		t.Errorf("redrive of what waits: %v", err)
	}
	if n, err := f.Purge(thaw.ItemFilter{Function: "bad", State: thaw.ItemWaiting}); n != 0 || err != nil {
		t.Error(n, err)
	}
	if n, err := f.Purge(thaw.ItemFilter{}); n != 2 || err != nil {
		t.Error(n, err)
	}
	if n, err := f.Redrive(thaw.ItemFilter{}); n != 0 || err != nil {
		t.Error(n, err)
	}
	close(hold)
	f.empty(t)
	if n := len(f.invoked()); n != 2 {
		t.Errorf("%d invocations: what was purged ran", n)
	}
}

// TestCloseWaits lets what runs end, and cancels what does not.
func TestCloseCancels(t *testing.T) {
	f := newFixture(t, func(f *fixture) {
		f.invoke = func(ctx context.Context, _ thaw.InvokeRequest) (thaw.Reply, error) {
			<-ctx.Done()
			return thaw.Reply{}, thaw.Errorf(thaw.CodeUnavailable, "%w", context.Cause(ctx))
		}
	})
	it := f.put(t, "f", `{}`)
	f.item(t, it.ID, thaw.ItemRunning, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Enqueue(t.Context(), thaw.AsyncRequest{}); thaw.CodeOf(err) != thaw.CodeUnavailable {
		t.Error(err)
	}
	f.invoke = nil
	f.open(t)
	f.clock.advance(time.Second)
	f.empty(t)
	if n := len(f.invoked()); n != 2 {
		t.Errorf("%d attempts", n)
	}
}

// TestDamagedItem: one bad record is one dead letter, and the others are executed.
func TestDamagedItem(t *testing.T) {
	f := newFixture(t, func(f *fixture) { f.invoke = failing(thaw.CodeThrottled) })
	good, bad, headless := f.put(t, "f", `1`), f.put(t, "f", `2`), f.put(t, "f", `3`)
	for _, it := range []thaw.QueueItem{good, bad, headless} {
		f.item(t, it.ID, thaw.ItemWaiting, 1)
	}
	f.close(t)
	db, err := bbolt.Open(f.cfg.Path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		record := slices.Clone(tx.Bucket([]byte(bucketItems)).Get([]byte(bad.ID)))
		record[20] ^= 1
		if err := tx.Bucket([]byte(bucketItems)).Put([]byte(bad.ID), record); err != nil {
			return err
		}
		return tx.Bucket([]byte(bucketPayloads)).Put([]byte(headless.ID), []byte("x"))
	})
	if err != nil || db.Close() != nil {
		t.Fatal(err)
	}
	f.invoke = nil
	f.open(t)
	f.clock.advance(time.Minute)
	if it := f.item(t, bad.ID, thaw.ItemDead, 0); !strings.Contains(it.Reason, "damaged: the record's checksum differs") {
		t.Errorf("%+v", it)
	}
	if it := f.item(t, headless.ID, thaw.ItemDead, 2); !strings.Contains(it.Reason, "cut short") {
		t.Errorf("%+v", it)
	}
	eventually(t, "the good one", func() bool { return len(f.Items(thaw.ItemFilter{})) == 2 })
	if _, err := f.Redrive(thaw.ItemFilter{ID: bad.ID}); thaw.CodeOf(err) != thaw.CodeConflict {
		t.Error(err)
	}
	if n, err := f.Purge(thaw.ItemFilter{State: thaw.ItemDead}); n != 2 || err != nil {
		t.Error(n, err)
	}
}

// TestLeaseIsTakenBack: what was under way is executed again, and slower each time
// that the daemon ends in it.
func TestLeaseIsTakenBack(t *testing.T) {
	f := newFixture(t, func(f *fixture) { f.invoke = failing(thaw.CodeThrottled) })
	it := f.put(t, "f", `1`)
	leased := f.item(t, it.ID, thaw.ItemWaiting, 1)
	f.close(t)
	f.invoke = nil
	// What a kill leaves: the record of an attempt that has begun.
	s, err := openStore(f.cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	leased.State = thaw.ItemRunning
	leased.Attempts = append(leased.Attempts, thaw.Attempt{Began: f.clock.Now()})
	if err := s.apply(change{put: []thaw.QueueItem{leased}}); err != nil || s.close() != nil {
		t.Fatal(err)
	}
	f.open(t)
	back := f.item(t, it.ID, thaw.ItemWaiting, 2)
	if a := back.Attempts[1]; a.Code != thaw.CodeUnavailable || back.Faults != 2 || back.Failures != 0 || back.Due.Sub(f.clock.Now()) != 2*time.Second {
		t.Errorf("%+v", back)
	}
	f.clock.advance(2 * time.Second)
	f.empty(t)
}

// TestClockSetBack: nothing waits for a time that is years ahead.
func TestClockSetBack(t *testing.T) {
	f := newFixture(t, func(f *fixture) { f.invoke = failing(thaw.CodeThrottled) })
	it := f.put(t, "f", `1`)
	f.item(t, it.ID, thaw.ItemWaiting, 1)
	f.close(t)
	f.clock.advance(-10000 * time.Hour)
	f.invoke = nil
	f.open(t)
	f.clock.advance(time.Hour)
	f.empty(t)
}

func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "queue.db")
	for name, content := range map[string]string{"empty": "", "text": strings.Repeat("thaw", 5000)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openStore(path); thaw.CodeOf(err) != thaw.CodeInternal || !strings.Contains(err.Error(), "queue "+path+" cannot be used") {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := newFixture(t, nil)
	if _, err := openStore(f.cfg.Path); thaw.CodeOf(err) != thaw.CodeUnavailable || !strings.Contains(err.Error(), "in use") {
		t.Error(err)
	}
}

// TestAttemptsAreBounded keeps the last ones.
func TestAttemptsAreBounded(t *testing.T) {
	f := newFixture(t, func(f *fixture) { f.invoke = failing(thaw.CodeThrottled) })
	it := f.put(t, "f", `1`)
	for n := 1; n < 20; n++ {
		eventually(t, fmt.Sprint("attempt ", n), func() bool {
			got, _, _ := f.Item(it.ID)
			return got.State == thaw.ItemWaiting && got.Faults == n
		})
		f.clock.advance(5 * time.Minute)
	}
	if got := f.item(t, it.ID, thaw.ItemWaiting, thaw.MaxAttempts); got.Faults < 19 {
		t.Errorf("%+v", got)
	}
}
