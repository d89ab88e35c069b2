package e2e

import (
	"context"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"thaw"
)

// TestObserve starts a function cold and looks at all that tells of it.
func TestObserve(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	s.deploy(t, "probe", "testdata/probe", thaw.Settings{})
	trace := thaw.TraceContext{Parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	r := s.invoke(t, thaw.InvokeRequest{
		Function: "probe", Payload: []byte(`{"do": "print", "lines": 3}`), Policy: thaw.PolicyReap, Cold: true, LogTail: true, Trace: trace,
	})
	if r.Start != thaw.StartCold || r.Trace != trace {
		t.Fatalf("%+v", r.Invocation)
	}
	t.Run("LogTail", func(t *testing.T) {
		log := string(r.LogTail)
		if !strings.HasPrefix(log, "START RequestId: "+r.ID+" Version: 1\n") || !strings.Contains(log, "line 0\nline 1\nline 2\n") || !strings.Contains(log, "\tRestore Duration: ") {
			t.Errorf("log %q", log)
		}
	})
	t.Run("Scrape", func(t *testing.T) { testScrape(t, s, r) })
	t.Run("Follow", func(t *testing.T) { testFollow(t, s, r) })
}

func testScrape(t *testing.T, s *site, r thaw.Reply) {
	var families map[string]*dto.MetricFamily
	eventually(t, "the cold start among the metrics", func() bool {
		var err error
		if families, err = s.Metrics(t.Context()); err != nil {
			t.Fatal(err)
		}
		return families["thaw_starts_total"] != nil
	})
	for series, want := range map[string]float64{
		"thaw_starts_total start=cold policy=reap":                       1,
		"thaw_faults_total start=cold policy=reap class=trapped":         float64(r.Faults.Trapped),
		"thaw_recordings_total":                                          1,
		"thaw_instances state=idle":                                      1,
		"thaw_functions":                                                 1,
		"thaw_snapshots status=serves":                                   1,
		"gateway_function_invocation_total function_name=probe code=200": 1,
		"gateway_service_count function_name=probe":                      1,
	} {
		if got := seriesOf(families, series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	if got := seriesOf(families, "thaw_snapshot_bytes function=probe status=serves"); got < 1<<20 {
		t.Errorf("the snapshot occupies %v bytes", got)
	}
	for phase := range r.PhasesMS {
		if families["thaw_phase_duration_seconds"] == nil || !hasLabel(families["thaw_phase_duration_seconds"].GetMetric(), "phase", phase) {
			t.Errorf("phase %s is not among the metrics", phase)
		}
	}
}

// seriesOf returns the value of one series, name and label=value pairs; 0 if it is
// not there.
func seriesOf(families map[string]*dto.MetricFamily, series string) float64 {
	words := strings.Fields(series)
	for _, m := range families[words[0]].GetMetric() {
		found := true
		for _, word := range words[1:] {
			name, value, _ := strings.Cut(word, "=")
			found = found && hasLabel([]*dto.Metric{m}, name, value)
		}
		if found {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return 0
}

func hasLabel(all []*dto.Metric, name, value string) bool {
	for _, m := range all {
		for _, l := range m.GetLabel() {
			if l.GetName() == name && l.GetValue() == value {
				return true
			}
		}
	}
	return false
}

// testFollow sees what was written and what is written then, of one function.
func testFollow(t *testing.T, s *site, r thaw.Reply) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines, ended := make(chan string, 100), make(chan error, 1)
	go func() {
		ended <- s.FollowLogs(ctx, "probe", thaw.LogQuery{Limit: 100}, func(l thaw.LogLine) error {
			if l.Stream == "stdout" {
				lines <- l.RequestID + " " + l.Text
			}
			return nil
		})
	}()
	want := func(id string) {
		t.Helper()
		for _, text := range []string{"line 0", "line 1", "line 2"} {
			if got := <-lines; got != id+" "+text {
				t.Fatalf("%q, want %s of %s", got, text, id)
			}
		}
	}
	want(r.ID)
	want(s.warm(t, "probe", `{"do": "print", "lines": 3}`).ID)
	only, err := s.Logs(t.Context(), "probe", thaw.LogQuery{RequestID: r.ID})
	if err != nil || len(only) != 3 {
		t.Errorf("log of one request: %d lines, %v", len(only), err)
	}
	cancel()
	if err := <-ended; err == nil || ctx.Err() == nil {
		t.Errorf("follow = %v, want its context's end", err)
	}
}
