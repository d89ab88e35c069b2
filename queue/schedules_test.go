package queue

import (
	"context"
	"testing"
	"time"

	"thaw"
)

func TestSchedulesAreKept(t *testing.T) {
	f := newFixture(t, func(f *fixture) { f.cfg.Limits.PerFunction = 1; f.invoke = failing(thaw.CodeInvalid) })
	created := f.clock.Now()
	s := thaw.Schedule{ID: "s", Function: "f", Spec: "@hourly", Data: []byte(`{"n":1}`), Created: created, Next: created}
	if err := f.PutSchedule(s); err != nil {
		t.Fatal(err)
	}
	s.Next = created.Add(time.Hour)
	fired, err := f.Fire(t.Context(), s)
	if err != nil || fired.LastRequest == "" || fired.Last.IsZero() {
		t.Fatalf("%+v, %v", fired, err)
	}
	if it := f.item(t, fired.LastRequest, thaw.ItemDead, 1); it.Source != "schedule/s" {
		t.Errorf("%+v", it)
	}
	// The dead letter takes all the room there is.
	s.Next = created.Add(2 * time.Hour)
	if _, err := f.Fire(t.Context(), s); thaw.CodeOf(err) != thaw.CodeThrottled {
		t.Error(err)
	}
	f.close(t)
	f.open(t)
	all := f.Schedules()
	if len(all) != 1 || !all[0].Next.Equal(s.Next) || string(all[0].Data) != `{"n":1}` || all[0].Problem == "" {
		t.Errorf("%+v", all)
	}
	if calls := f.invoked(); len(calls) != 1 || string(calls[0].Payload) != `{"n":1}` {
		t.Errorf("%+v", calls)
	}
	// Set anew, the one that the scheduler has in hand does not fire.
	s.Created = created.Add(time.Second)
	if _, err := f.Fire(t.Context(), s); thaw.CodeOf(err) != thaw.CodeNotFound {
		t.Error(err)
	}
	if n, err := f.RemoveSchedules(func(thaw.Schedule) bool { return true }); n != 1 || err != nil || len(f.Schedules()) != 0 {
		t.Error(n, err)
	}
	s.Data = make([]byte, DefaultLimits().Event+1)
	if err := f.PutSchedule(s); thaw.CodeOf(err) != thaw.CodeTooLarge {
		t.Error(err)
	}
}

// TestQualifier moves an alias between the attempts of an item: each gets the
// version that it names then. What bounds a function bounds all its versions.
func TestQualifier(t *testing.T) {
	f := newFixture(t, func(f *fixture) {
		f.cfg.Limits.PerFunction = 2
		f.invoke = func(ctx context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
			reply, err := fail("E")(ctx, r)
			f.mu.Lock()
			defer f.mu.Unlock()
			reply.Version = len(f.calls)
			return reply, err
		}
	})
	it := f.put(t, "f:live", `{}`)
	f.item(t, it.ID, thaw.ItemWaiting, 1)
	f.close(t)
	f.open(t)
	f.clock.advance(time.Minute)
	if it = f.item(t, it.ID, thaw.ItemWaiting, 2); it.Function != "f" || it.Qualifier != "live" || it.Attempts[0].Version != 1 || it.Attempts[1].Version != 2 {
		t.Errorf("%+v", it)
	}
	for _, c := range f.invoked() {
		if c.Function != "f:live" {
			t.Errorf("%s is invoked", c.Function)
		}
	}
	fired, err := f.Fire(t.Context(), schedule(t, f, thaw.Schedule{ID: "s", Function: "f", Qualifier: "2", Spec: "@hourly", Data: []byte(`{}`)}))
	if err != nil {
		t.Fatal(err)
	}
	if it := f.item(t, fired.LastRequest, thaw.ItemWaiting, 1); it.Ref() != thaw.RefTo("f", 2) {
		t.Errorf("%+v", it)
	}
	for ref, want := range map[string]thaw.Code{"f:3": thaw.CodeThrottled, "f:": thaw.CodeInvalid, "f:01": thaw.CodeInvalid} {
		if _, err := f.Enqueue(t.Context(), thaw.AsyncRequest{Function: ref}); thaw.CodeOf(err) != want {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

// schedule stores s.
func schedule(t *testing.T, f *fixture, s thaw.Schedule) thaw.Schedule {
	t.Helper()
	if err := f.PutSchedule(s); err != nil {
		t.Fatal(err)
	}
	return s
}
