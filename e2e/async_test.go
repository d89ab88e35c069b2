package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"thaw"
)

// TestAsync takes invocations through the queue on real VMs: a callback, a dead
// letter and its redrive, a schedule of an alias.
func TestAsync(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	s.deploy(t, "probe", "testdata/probe", thaw.Settings{})
	t.Run("Callback", func(t *testing.T) {
		type post struct {
			header http.Header
			body   string
		}
		posts := make(chan post, 1)
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			posts <- post{r.Header, string(body)}
		}))
		defer server.Close()
		r, err := http.NewRequest("POST", s.url+"/async-function/probe", strings.NewReader(helloEvent))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Callback-Url", server.URL)
		reply, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		reply.Body.Close()
		got := <-posts
		if id := reply.Header.Get("X-Call-Id"); reply.StatusCode != 202 || got.header.Get("X-Call-Id") != id || got.header.Get("X-Function-Status") != "200" || !strings.Contains(got.body, "hello, Ada") {
			t.Errorf("%d %s, posted %+v", reply.StatusCode, id, got)
		}
	})
	t.Run("DeadLetter", func(t *testing.T) {
		id, err := s.InvokeAsync(t.Context(), "probe", []byte(`{"do": "raise"}`))
		if err != nil {
			t.Fatal(err)
		}
		dead := func() bool {
			it, _, _ := s.queue.Item(id)
			return it.State == thaw.ItemDead && len(it.Attempts)%3 == 0
		}
		eventually(t, "a dead letter after two retries", dead)
		if n, err := s.Redrive(t.Context(), thaw.ItemFilter{ID: id}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		eventually(t, "three more attempts", func() bool { it, _, _ := s.queue.Item(id); return len(it.Attempts) == 6 && dead() })
		if n, err := s.Purge(t.Context(), thaw.ItemFilter{ID: id}); n != 1 || err != nil {
			t.Error(n, err)
		}
	})
	t.Run("Schedule", func(t *testing.T) { testSchedule(t, s) })
}

// testSchedule has a schedule of an alias fire; until it is removed the alias stays.
func testSchedule(t *testing.T, s *site) {
	if err := s.SetAlias(t.Context(), "probe", thaw.Alias{Name: "live", Version: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetSchedule(t.Context(), thaw.Schedule{ID: "tick", Function: "probe", Qualifier: "live", Spec: "@every 1s", Data: []byte(helloEvent)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an invocation by the schedule", func() bool {
		r, err := s.Invocation(t.Context(), s.schedules.Schedules()[0].LastRequest)
		return err == nil && r.Version == 1 && r.FunctionError == "" && r.Error == ""
	})
	if err := s.RemoveAlias(t.Context(), "probe", "live"); thaw.CodeOf(err) != thaw.CodeConflict || !strings.Contains(err.Error(), "schedule tick names probe:live") {
		t.Errorf("the alias of a schedule is removed: %v", err)
	}
	if err := s.RemoveSchedule(t.Context(), "tick"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an empty queue", func() bool { return len(s.queue.Items(thaw.ItemFilter{})) == 0 })
	if err := s.RemoveAlias(t.Context(), "probe", "live"); err != nil {
		t.Error(err)
	}
}

// TestAsyncKilled kills the daemon with items queued: the next one executes them.
func TestAsyncKilled(t *testing.T) {
	bin, state := build(t), t.TempDir()
	p := serve(t, bin, state, "--async-workers", "1")
	p.deploy(t, "probe", "testdata/probe")
	var ids []string
	for range 3 {
		id, err := p.InvokeAsync(t.Context(), "probe", []byte(`{"do": "sleep", "seconds": 2}`))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	pids := vmms(t, p.cmd.Process.Pid)
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
	gone(t, pids)
	p = serve(t, bin, state)
	eventually(t, "an empty queue", func() bool {
		all, err := p.Queue(t.Context(), thaw.ItemFilter{})
		return err == nil && len(all) == 0
	})
	for _, id := range ids {
		if r, err := p.Invocation(t.Context(), id); err != nil || r.Error != "" || r.FunctionError != "" {
			t.Errorf("%s: %+v, %v", id, r, err)
		}
	}
}
