package client

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/gateway/api"
)

func TestLogsQuery(t *testing.T) {
	var got string
	c := dial(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.URL.RequestURI()
		io.WriteString(w, `{"lines":[{"text":"one"}]}`)
	})
	since := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for want, q := range map[string]thaw.LogQuery{
		"/v1/functions/f/logs": {},
		"/v1/functions/f/logs?limit=7&request=r&since=2026-01-02T03%3A04%3A05.000000006Z": {Limit: 7, RequestID: "r", Since: since},
	} {
		lines, err := c.Logs(t.Context(), "f", q)
		if err != nil || len(lines) != 1 || got != want {
			t.Errorf("%s: %v, %v; want %s", got, lines, err, want)
		}
	}
}

func TestFollowLogs(t *testing.T) {
	reply := `{"text":"one","stream":"stdout"}` + "\n\n" + `{"text":"two"}` + "\n"
	var asked string
	c := dial(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.RawQuery
		io.WriteString(w, reply)
	})
	follow := func() (texts []string, err error) {
		err = c.FollowLogs(t.Context(), "f", thaw.LogQuery{}, func(l thaw.LogLine) error {
			if l.Text == "stop" {
				return io.ErrShortWrite
			}
			texts = append(texts, l.Text)
			return nil
		})
		return texts, err
	}
	texts, err := follow()
	if d := cmp.Diff([]string{"one", "two"}, texts); d != "" || err != nil || asked != "follow=true&limit=0" {
		t.Errorf("%s%v, asked %s", d, err, asked)
	}
	reply = `{"text":"stop"}` + "\n"
	if _, err := follow(); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("%v, want what the reader said", err)
	}
	reply = `{"text":"one"}` + "\n" + `{"error":{"code":"unavailable","message":"the disk is gone"}}` + "\n"
	if texts, err := follow(); len(texts) != 1 || thaw.CodeOf(err) != thaw.CodeUnavailable || err.Error() != "the disk is gone" {
		t.Errorf("%q, %v", texts, err)
	}
	reply = "no JSON\n"
	if _, err := follow(); thaw.CodeOf(err) != thaw.CodeInternal {
		t.Error(err)
	}
}

func TestLogTail(t *testing.T) {
	result := "aGkK"
	c := dial(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(api.HeaderLogType) != "Tail" || r.Header.Get(api.HeaderTraceParent) != "00-x" {
			t.Errorf("headers %v", r.Header)
		}
		w.Header().Set(api.HeaderLogResult, result)
	})
	request := thaw.InvokeRequest{Function: "f", LogTail: true, Trace: thaw.TraceContext{Parent: "00-x"}}
	if r, err := c.Invoke(t.Context(), request); err != nil || string(r.LogTail) != "hi\n" {
		t.Errorf("%q, %v", r.LogTail, err)
	}
	result = "?"
	if _, err := c.Invoke(t.Context(), request); thaw.CodeOf(err) != thaw.CodeInternal {
		t.Error(err)
	}
}

func TestMetrics(t *testing.T) {
	body := "# TYPE a counter\na{x=\"y\"} 3\n"
	c := dial(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4") // of an older daemon
		fmt.Fprint(w, body)
	})
	f, err := c.Metrics(t.Context())
	if err != nil || f["a"].GetMetric()[0].GetCounter().GetValue() != 3 {
		t.Errorf("%v, %v", f, err)
	}
	body = "{"
	if _, err := c.Metrics(t.Context()); thaw.CodeOf(err) != thaw.CodeInternal {
		t.Error(err)
	}
}
