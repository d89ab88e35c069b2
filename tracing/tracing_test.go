package tracing

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"thaw"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collector keeps what it is sent.
type collector struct {
	url     string
	bodies  chan []byte
	headers chan http.Header
}

func newCollector(t *testing.T, status func() int) *collector {
	t.Helper()
	c := &collector{bodies: make(chan []byte, 8), headers: make(chan http.Header, 8)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != pathTraces {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		c.bodies <- body
		c.headers <- r.Header
		w.WriteHeader(status())
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func ok() int { return http.StatusOK }

// export sends invocations to c and returns what arrived.
func (c *collector) export(t *testing.T, all ...thaw.Invocation) *tracepb.ResourceSpans {
	t.Helper()
	target, _, err := FindTarget(c.url, func(name string) string { return map[string]string{envHeaders: "api-key=a%20secret, x=y"}[name] })
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(t.Context(), target, "v1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		e.Observe(i)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := e.Close(ctx); err != nil {
		t.Fatal(err)
	}
	var data tracepb.TracesData
	if err := proto.Unmarshal(<-c.bodies, &data); err != nil {
		t.Fatal(err)
	}
	if len(data.ResourceSpans) != 1 || len(data.ResourceSpans[0].ScopeSpans) != 1 {
		t.Fatalf("%v", &data)
	}
	return data.ResourceSpans[0]
}

func attributesOf(list []*commonpb.KeyValue) map[string]*commonpb.AnyValue {
	m := map[string]*commonpb.AnyValue{}
	for _, kv := range list {
		m[kv.Key] = kv.Value
	}
	return m
}

func coldStart() thaw.Invocation {
	return thaw.Invocation{
		ID: "id-1", Function: "hello", Version: 3, Instance: "i-1", Start: thaw.StartCold, Policy: thaw.PolicyThaw, Reason: "it was fastest",
		Time: time.Unix(1_700_000_000, 0), DurationMS: 218,
		Spans: []thaw.Span{
			{Phase: thaw.PhasePlan, StartUS: 100, DurationUS: 2000},
			{Phase: thaw.PhasePrefetch, StartUS: 2100, DurationUS: 50_000},
			{Phase: thaw.PhaseInvoke, StartUS: 200_000, DurationUS: 18_000},
		},
		Faults: thaw.Faults{Trapped: 12, Major: 3, Minor: 700}, BytesRead: 6 << 20,
		Quality: &thaw.Quality{Brought: 1000, Hits: 900, Misses: 100},
	}
}

func TestSpans(t *testing.T) {
	c := newCollector(t, ok)
	in := coldStart()
	in.Trace = thaw.TraceContext{Parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", State: "vendor=1"}
	got := c.export(t, in)
	if h := <-c.headers; h.Get("Content-Type") != "application/x-protobuf" || h.Get("Api-Key") != "a secret" || h.Get("X") != "y" {
		t.Errorf("headers %v", h)
	}
	about := attributesOf(got.Resource.Attributes)
	if about["service.name"].GetStringValue() != "thaw" || about["service.version"].GetStringValue() != "v1" {
		t.Errorf("resource %v", got.Resource)
	}
	spans := got.ScopeSpans[0].Spans
	if len(spans) != 4 {
		t.Fatalf("%d spans, want the invocation and its three phases", len(spans))
	}
	root := spans[len(spans)-1] // it ends last
	if root.Name != "invoke hello" || hex.EncodeToString(root.TraceId) != in.Trace.Parent[3:35] || hex.EncodeToString(root.ParentSpanId) != in.Trace.Parent[36:52] || root.TraceState != "vendor=1" {
		t.Errorf("%v", root)
	}
	if root.StartTimeUnixNano != uint64(in.Time.UnixNano()) || root.EndTimeUnixNano-root.StartTimeUnixNano != uint64(218*time.Millisecond) {
		t.Errorf("from %d to %d", root.StartTimeUnixNano, root.EndTimeUnixNano)
	}
	a := attributesOf(root.Attributes)
	for name, want := range map[string]string{
		"faas.invoked_name": "hello", "faas.invocation_id": "id-1", "thaw.policy": "thaw", "thaw.start": "cold", "thaw.reason": "it was fastest",
	} {
		if a[name].GetStringValue() != want {
			t.Errorf("%s is %v, want %s", name, a[name], want)
		}
	}
	if a["thaw.faults.trapped"].GetIntValue() != 12 || a["thaw.bytes_read"].GetIntValue() != 6<<20 || a["thaw.recall"].GetDoubleValue() != .9 || !a["faas.coldstart"].GetBoolValue() {
		t.Errorf("%v", root.Attributes)
	}
	for n, span := range spans[:3] {
		want := in.Spans[n]
		start := uint64(in.Time.Add(time.Duration(want.StartUS) * time.Microsecond).UnixNano())
		if span.Name != want.Phase || !bytes.Equal(span.ParentSpanId, root.SpanId) || !bytes.Equal(span.TraceId, root.TraceId) ||
			span.StartTimeUnixNano != start || span.EndTimeUnixNano != start+uint64(want.DurationUS)*1000 {
			t.Errorf("span %v, want %+v", span, want)
		}
	}
}

func TestFailuresAndRoots(t *testing.T) {
	c := newCollector(t, ok)
	failed := thaw.Invocation{Function: "f", Time: time.Unix(1, 0), Start: thaw.StartWarm, FunctionError: "ValueError"}
	dead := thaw.Invocation{Function: "f", Time: time.Unix(1, 0), Error: "the VM ended", ErrorCode: thaw.CodeInstance}
	notSampled := thaw.Invocation{Function: "f", Time: time.Unix(1, 0), Trace: thaw.TraceContext{Parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}}
	spans := c.export(t, failed, dead, notSampled).ScopeSpans[0].Spans
	if len(spans) != 2 {
		t.Fatalf("%d spans, want those that the caller has not left out", len(spans))
	}
	for n, want := range []string{"ValueError", "the VM ended"} {
		if s := spans[n].Status; s.Code != tracepb.Status_STATUS_CODE_ERROR || s.Message != want || len(spans[n].ParentSpanId) != 0 {
			t.Errorf("%v, want %s", spans[n], want)
		}
	}
	if a := attributesOf(spans[1].Attributes); a["error.type"].GetStringValue() != "instance_failed" {
		t.Errorf("%v", spans[1])
	}
}

// TestCollectorThatRefuses: the log says so once, not for every batch.
func TestCollectorThatRefuses(t *testing.T) {
	c := newCollector(t, func() int { return http.StatusServiceUnavailable })
	target := Target{URL: c.url + pathTraces, Headers: http.Header{}}
	var log bytes.Buffer
	e, err := New(t.Context(), target, "v1", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		e.Observe(coldStart())
		if err := e.provider.ForceFlush(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "spans are lost"); n != 1 || !strings.Contains(log.String(), "503") {
		t.Errorf("log %s", &log)
	}
}

// TestCloseIsBounded: a collector that does not answer holds nobody up.
func TestCloseIsBounded(t *testing.T) {
	gone := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-gone }))
	defer server.Close()
	defer close(gone)
	e, err := New(t.Context(), Target{URL: server.URL, Headers: http.Header{}}, "v1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	e.Observe(coldStart())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := e.Close(ctx); err == nil || !strings.Contains(err.Error(), "send the last spans") {
		t.Errorf("Close = %v", err)
	}
}

func TestFindTarget(t *testing.T) {
	for _, test := range []struct {
		name, endpoint, want string
		env                  map[string]string
	}{
		{"nothing", "", "", nil},
		{"flag", "http://c:4318", "http://c:4318/v1/traces", map[string]string{envEndpoint: "http://other"}},
		{"flag with a path", "https://c/otlp/", "https://c/otlp/v1/traces", nil},
		{"environment", "", "http://c:4318/v1/traces", map[string]string{envEndpoint: "http://c:4318"}},
		{"environment, for traces", "", "http://c/mine", map[string]string{envEndpoint: "http://other", envTracesEndpoint: "http://c/mine"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			target, ok, err := FindTarget(test.endpoint, func(name string) string { return test.env[name] })
			if err != nil || target.URL != test.want || ok != (test.want != "") {
				t.Errorf("%q, %v, %v; want %q", target.URL, ok, err, test.want)
			}
		})
	}
	for _, bad := range []map[string]string{
		{envEndpoint: "localhost:4318"}, {envEndpoint: "ftp://c"}, {envTracesEndpoint: "://"},
		{envEndpoint: "http://c", envHeaders: "secret"}, {envEndpoint: "http://c", envHeaders: "a=%zz"}, {envEndpoint: "http://c", envTracesHeaders: "=v"},
	} {
		_, ok, err := FindTarget("", func(name string) string { return bad[name] })
		if thaw.CodeOf(err) != thaw.CodeInvalid || ok || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
