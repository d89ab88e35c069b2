package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"thaw"
	"thaw/gateway/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeEngine answers with what a test gives it.
type fakeEngine struct {
	invoke     func(context.Context, thaw.InvokeRequest) (thaw.Reply, error)
	exchange   func(context.Context, thaw.InvokeRequest, thaw.HTTPRequest, thaw.HTTPReplier) (thaw.Reply, error)
	deploy     func(context.Context, string, thaw.Settings, io.Reader, func(thaw.DeployEvent)) (thaw.Version, error)
	describe   func(string) (thaw.Description, error)
	remove     func(string) error
	logs       func(string, thaw.LogQuery) ([]thaw.LogLine, error)
	follow     func(context.Context, string, thaw.LogQuery, func(thaw.LogLine) error) error
	invocation func(string) (thaw.Invocation, error)
	snapshots  func() ([]thaw.Snapshot, error)
	snapshot   func(string) (thaw.Snapshot, error)
	discard    func(string) error
	versions   func(call string) error
	verify     func(context.Context, string, func(thaw.FileCheck)) (thaw.Verification, error)
	enqueue    func(thaw.AsyncRequest) (thaw.QueueItem, error)
	items      []thaw.QueueItem
	change     func(verb string, f thaw.ItemFilter) (int, error)
	schedule   func(verb string, s thaw.Schedule) error
}

func (e fakeEngine) Snapshots(context.Context) ([]thaw.Snapshot, error) { return e.snapshots() }

func (e fakeEngine) DescribeSnapshot(_ context.Context, id string) (thaw.Snapshot, error) {
	return e.snapshot(id)
}

func (e fakeEngine) RemoveSnapshot(_ context.Context, id string) error { return e.discard(id) }

func (e fakeEngine) VerifySnapshot(ctx context.Context, id string, events func(thaw.FileCheck)) (thaw.Verification, error) {
	return e.verify(ctx, id, events)
}

func (e fakeEngine) Invoke(ctx context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
	return e.invoke(ctx, r)
}

// Choose finds an HTTP server behind every name that begins with web.
func (e fakeEngine) Choose(_ context.Context, name string) (thaw.Version, error) {
	ref, err := thaw.ParseRef(name)
	v := thaw.Version{Function: ref.Function, Number: 3, Settings: thaw.Settings{Timeout: time.Minute}}
	if strings.HasPrefix(name, "web") {
		v.Runtime = thaw.RuntimeHTTP
	}
	return v, err
}

func (e fakeEngine) Exchange(ctx context.Context, r thaw.InvokeRequest, q thaw.HTTPRequest, w thaw.HTTPReplier) (thaw.Reply, error) {
	return e.exchange(ctx, r, q, w)
}

func (e fakeEngine) Invocation(id string) (thaw.Invocation, error) { return e.invocation(id) }

func (e fakeEngine) Deploy(ctx context.Context, name string, s thaw.Settings, code io.Reader, events func(thaw.DeployEvent)) (thaw.Version, error) {
	return e.deploy(ctx, name, s, code, events)
}

func (e fakeEngine) Secrets(context.Context) ([]thaw.Secret, error) {
	return []thaw.Secret{{Name: "db", Bytes: 7, Users: []string{"hello:2"}}}, nil
}

func (e fakeEngine) SetSecret(_ context.Context, v thaw.SecretValue) (thaw.Secret, error) {
	if string(v.Value) == "refused" {
		return thaw.Secret{}, thaw.Errorf(thaw.CodeTooLarge, "too large: %v", v)
	}
	return thaw.Secret{Name: v.Name, Bytes: int64(len(v.Value)), Users: []string{}}, nil
}

func (e fakeEngine) RemoveSecret(_ context.Context, name string) error { return e.remove(name) }

func (e fakeEngine) Find(_ context.Context, name string) (thaw.Version, error) {
	d, err := e.describe(name)
	return d.Version, err
}

func (e fakeEngine) Page(_ context.Context, q thaw.FunctionQuery) ([]thaw.Version, bool, error) {
	if q == (thaw.FunctionQuery{}) {
		return nil, false, nil
	}
	return []thaw.Version{{Function: fmt.Sprintf("%+v", q)}}, q.Limit > 0, nil
}

func (e fakeEngine) Publishes(context.Context) ([]thaw.Publish, error) {
	return []thaw.Publish{{Function: "hello", Number: 2}}, nil
}

func (e fakeEngine) Functions(context.Context) ([]thaw.Version, error) { return nil, nil }

func (e fakeEngine) Describe(_ context.Context, name string) (thaw.Description, error) {
	return e.describe(name)
}

func (e fakeEngine) Memory(_ context.Context, name string, policy thaw.Policy) (thaw.MemoryMap, error) {
	return thaw.MemoryMap{Function: name, Policy: policy}, e.remove(name)
}

func (e fakeEngine) Remove(_ context.Context, name string) error { return e.remove(name) }

func (e fakeEngine) Instances() []thaw.Instance { return nil }

func (e fakeEngine) Logs(name string, q thaw.LogQuery) ([]thaw.LogLine, error) {
	return e.logs(name, q)
}

func (e fakeEngine) FollowLogs(ctx context.Context, name string, q thaw.LogQuery, emit func(thaw.LogLine) error) error {
	return e.follow(ctx, name, q, emit)
}

func (e fakeEngine) EndIdle(name string) error { return e.remove(name) }

// lockedBuffer is a log that a handler writes while a test reads.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (e fakeEngine) Publish(context.Context, thaw.PublishRequest) (thaw.Deployment, error) {
	return thaw.Deployment{}, errors.New("nothing is published here")
}

func (e fakeEngine) Deployment(string) (thaw.Deployment, bool) { return thaw.Deployment{}, false }

func (e fakeEngine) Deployments() []thaw.Deployment { return nil }

func (e fakeEngine) Annotate(context.Context, string, int, string) error { return nil }

// engine is all that a gateway stands before.
type engine interface {
	Invoker
	Exchanger
	Deployer
	Publisher
	Journal
	Catalog
	Finder
	Versioner
	SnapshotCatalog
	Verifier
	Monitor
	Acceptor
	Queue
	Schedules
	Secrets
}

func start(t *testing.T, e engine) (url string, log *lockedBuffer) {
	t.Helper()
	log = &lockedBuffer{}
	server := httptest.NewServer(New(Config{
		Invoker: e, Exchanger: e, Deployer: e, Publisher: e, Journal: e, Catalog: e, Finder: e, Versions: e, Snapshots: e, Verifier: e, Monitor: e,
		Logger:   slog.New(slog.NewTextHandler(log, nil)),
		Acceptor: e, Queue: e, Schedules: e, Secrets: e,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metric 1\n") }),
		Info:    func() api.Info { return api.Info{Version: "v1", PID: 7} },
	}))
	t.Cleanup(func() {
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return server.URL, log
}

type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request and compares it, and what comes back, with docs/openapi.yaml.
func do(t *testing.T, method, url string, header http.Header, body io.Reader) answer {
	t.Helper()
	var sent bytes.Buffer
	if body != nil {
		body = io.TeeReader(body, &sent)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header[k] = v
		if k == "Host" {
			r.Host = v[0]
		}
	}
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	raw, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := answer{reply.StatusCode, reply.Header, string(raw)}
	newChecked(t).compare(r, sent.Bytes(), got)
	return got
}

const invokeURL = "/2015-03-31/functions/hello/invocations"

func echo(_ context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
	return thaw.Reply{Payload: r.Payload, Invocation: thaw.Invocation{
		ID: "id-1", Function: r.Function, Version: 3, Instance: "i-1", Start: thaw.StartCold, Policy: thaw.PolicyReap,
		DurationMS: 12.5, PhasesMS: map[string]float64{"invoke": 2, "plan": 0.25, "vmm": 10},
	}}, nil
}

func TestInvokeHeaders(t *testing.T) {
	url, log := start(t, fakeEngine{invoke: echo})
	got := do(t, "POST", url+invokeURL, nil, strings.NewReader(`{"a":[1,"ü"]}`))
	if got.status != 200 || got.body != `{"a":[1,"ü"]}` {
		t.Fatalf("%d %s", got.status, got.body)
	}
	want := map[string]string{
		"X-Amz-Executed-Version": "3",
		"X-Amzn-RequestId":       "id-1",
		"Thaw-Start":             "cold",
		"Thaw-Policy":            "reap",
		"Thaw-Instance":          "i-1",
		"Server-Timing":          "plan;dur=0.250, vmm;dur=10.000, invoke;dur=2.000, total;dur=12.500",
		"Content-Type":           "application/json",
		"X-Amz-Function-Error":   "",
	}
	checkHeaders(t, got.header, want)
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "status=200") || !strings.Contains(text, "start=cold") {
		t.Errorf("log is not one line with status and start: %s", text)
	}
}

func checkHeaders(t *testing.T, got http.Header, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got.Get(name) != value {
			t.Errorf("%s: %q, want %q", name, got.Get(name), value)
		}
	}
}

func TestFunctionErrorIsAReply(t *testing.T) {
	failing := func(ctx context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
		reply, _ := echo(ctx, r)
		reply.FunctionError = "ValueError"
		reply.Payload = thaw.FunctionError{Type: "ValueError", Message: "no"}.JSON()
		return reply, nil
	}
	url, _ := start(t, fakeEngine{invoke: failing})
	got := do(t, "POST", url+invokeURL, nil, nil)
	if got.status != 200 || got.body != `{"errorType":"ValueError","errorMessage":"no"}` {
		t.Fatalf("%d %s", got.status, got.body)
	}
	checkHeaders(t, got.header, map[string]string{
		"X-Amz-Function-Error": "Unhandled", "X-Amz-Executed-Version": "3", "X-Amzn-RequestId": "id-1", "Thaw-Start": "cold", "Thaw-Policy": "reap",
		"Thaw-Instance": "i-1", "Server-Timing": "plan;dur=0.250, vmm;dur=10.000, invoke;dur=2.000, total;dur=12.500",
	})
}

func TestFunctionErrorOfTheEngine(t *testing.T) {
	url, _ := start(t, fakeEngine{invoke: func(context.Context, thaw.InvokeRequest) (thaw.Reply, error) {
		return thaw.Reply{}, thaw.Errorf(thaw.CodeFunction, "init failed: no module named app")
	}})
	got := do(t, "POST", url+invokeURL, nil, nil)
	if got.status != 200 || got.header.Get("X-Amz-Function-Error") != "Unhandled" || got.body != `{"errorType":"Runtime.Unknown","errorMessage":"init failed: no module named app"}` {
		t.Fatalf("%d %v %s", got.status, got.header, got.body)
	}
}

func TestInvokeRequests(t *testing.T) {
	large := `"` + strings.Repeat("x", thaw.MaxPayload) + `"`
	tests := []struct {
		name   string
		path   string
		header http.Header
		body   string
		want   thaw.InvokeRequest // when it reaches the engine
		status int
		kind   string
		blame  string
	}{
		{name: "empty body", want: thaw.InvokeRequest{Payload: []byte("{}")}},
		{name: "scalar", body: "3", want: thaw.InvokeRequest{Payload: []byte("3")}},
		{name: "as large as it may be", body: large[:thaw.MaxPayload-1] + `"`, want: thaw.InvokeRequest{Payload: []byte(large[:thaw.MaxPayload-1] + `"`)}},
		{name: "policy and cold", header: http.Header{"Thaw-Policy": {"vanilla"}, "Thaw-Cold": {"true"}}, want: thaw.InvokeRequest{Payload: []byte("{}"), Policy: thaw.PolicyVanilla, Cold: true}},
		{name: "discard", header: http.Header{"Thaw-Cold": {"false"}, "Thaw-Discard": {"1"}}, want: thaw.InvokeRequest{Payload: []byte("{}"), Discard: true}},
		{name: "type", header: http.Header{"X-Amz-Invocation-Type": {"RequestResponse"}}, want: thaw.InvokeRequest{Payload: []byte("{}")}},

		{name: "not JSON", body: "{", status: 400, kind: "InvalidRequestContentException", blame: "User"},
		{name: "white space", body: " ", status: 400, kind: "InvalidRequestContentException", blame: "User"},
		{name: "not UTF-8", body: "\"\xff\"", status: 400, kind: "InvalidRequestContentException", blame: "User"},
		{name: "too large", body: large, status: 413, kind: "RequestTooLargeException", blame: "User"},
		{name: "bad policy", header: http.Header{"Thaw-Policy": {"fastest"}}, status: 400, kind: "InvalidParameterValueException", blame: "User"},
		{name: "bad cold", header: http.Header{"Thaw-Cold": {"very"}}, status: 400, kind: "InvalidParameterValueException", blame: "User"},
		{name: "bad discard", header: http.Header{"Thaw-Discard": {"2"}}, status: 400, kind: "InvalidParameterValueException", blame: "User"},
		{name: "event and cold", header: http.Header{"X-Amz-Invocation-Type": {"Event"}, "Thaw-Cold": {"true"}}, status: 400, kind: "InvalidParameterValueException", blame: "User"},
		{name: "unknown type", header: http.Header{"X-Amz-Invocation-Type": {"Later"}}, status: 400, kind: "InvalidParameterValueException", blame: "User"},
		{name: "unknown parameter", path: invokeURL + "?x=2", status: 400, kind: "InvalidParameterValueException", blame: "User"},
		{name: "bad name", path: "/2015-03-31/functions/-x/invocations", status: 400, kind: "InvalidParameterValueException", blame: "User"},
		{name: "unknown operation", path: "/2015-03-31/functions/x/policy", status: 400, kind: "NotSupportedException", blame: "User"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var seen *thaw.InvokeRequest
			url, _ := start(t, fakeEngine{invoke: func(ctx context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
				seen = &r
				return echo(ctx, r)
			}})
			path := test.path
			if path == "" {
				path = invokeURL
			}
			got := do(t, "POST", url+path, test.header, strings.NewReader(test.body))
			if test.status == 0 {
				test.want.Function = "hello"
				if got.status != 200 || seen == nil || !reflect.DeepEqual(*seen, test.want) {
					t.Fatalf("%d %.200s, engine saw %v", got.status, got.body, seen != nil)
				}
				return
			}
			if seen != nil {
				t.Error("the engine was asked")
			}
			checkLambdaError(t, got, test.status, test.kind, test.blame)
		})
	}
}

func checkLambdaError(t *testing.T, got answer, status int, kind, blame string) api.LambdaError {
	t.Helper()
	var body api.LambdaError
	if err := json.Unmarshal([]byte(got.body), &body); err != nil {
		t.Fatalf("%d %s: %v", got.status, got.body, err)
	}
	if got.status != status || got.header.Get("X-Amzn-ErrorType") != kind || body.Type != blame {
		t.Errorf("%d %s %+v; want %d %s %s", got.status, got.header.Get("X-Amzn-ErrorType"), body, status, kind, blame)
	}
	if body.Message == "" || body.Message != body.MessageLower || body.Code == "" {
		t.Errorf("body %+v", body)
	}
	if !strings.HasPrefix(got.header.Get("Server-Timing"), "total;dur=") || got.header.Get("X-Amzn-RequestId") == "" {
		t.Errorf("headers %v", got.header)
	}
	return body
}

func TestEngineErrors(t *testing.T) {
	tests := []struct {
		err    error
		status int
		kind   string
		blame  string
		shown  string
	}{
		{thaw.Errorf(thaw.CodeNotFound, "no function hello"), 404, "ResourceNotFoundException", "User", "no function hello"},
		{thaw.Errorf(thaw.CodeThrottled, "busy"), 429, "TooManyRequestsException", "User", "busy"},
		{thaw.Errorf(thaw.CodeConflict, "being removed"), 409, "ResourceConflictException", "User", "being removed"},
		{thaw.Errorf(thaw.CodeInstance, "VM died: kernel panic"), 502, "ServiceException", "Service", "VM died: kernel panic"},
		{fmt.Errorf("start: %w", thaw.Errorf(thaw.CodeUnavailable, "stopping")), 503, "ServiceException", "Service", "start: stopping"},
		{errors.New("open /secret/file"), 500, "ServiceException", "Service", "see the daemon's log"},
		{thaw.Errorf("made up", "open /secret/file"), 500, "ServiceException", "Service", "see the daemon's log"},
	}
	for _, test := range tests {
		t.Run(string(thaw.CodeOf(test.err)), func(t *testing.T) {
			url, log := start(t, fakeEngine{
				invoke:   func(context.Context, thaw.InvokeRequest) (thaw.Reply, error) { return thaw.Reply{}, test.err },
				describe: func(string) (thaw.Description, error) { return thaw.Description{}, test.err },
			})
			got := do(t, "POST", url+invokeURL, nil, nil)
			body := checkLambdaError(t, got, test.status, test.kind, test.blame)
			if !strings.Contains(body.Message, test.shown) || strings.Contains(body.Message, "secret") {
				t.Errorf("message %q", body.Message)
			}
			if got.header.Get("Retry-After") != map[bool]string{true: "1"}[test.status == 429] || got.header.Get("Thaw-Start") != "" {
				t.Errorf("headers %v", got.header)
			}
			if test.status == 500 && (!strings.Contains(log.String(), "/secret/file") || !strings.Contains(body.Message, got.header.Get("X-Amzn-RequestId"))) {
				t.Errorf("the log lacks the detail, or the message %q the id: %s", body.Message, log)
			}

			got = do(t, "GET", url+"/v1/functions/hello", nil, nil)
			var plain api.Error
			if err := json.Unmarshal([]byte(got.body), &plain); err != nil || got.status != test.status || plain.Message == "" || plain.Code != api.MappingOf(thaw.CodeOf(test.err)).Code {
				t.Errorf("%d %s, %v", got.status, got.body, err)
			}
		})
	}
}

func TestDryRun(t *testing.T) {
	url, _ := start(t, fakeEngine{describe: func(name string) (thaw.Description, error) {
		if name != "hello" {
			return thaw.Description{}, thaw.Errorf(thaw.CodeNotFound, "no %s", name)
		}
		return thaw.Description{}, nil
	}})
	dry := http.Header{"X-Amz-Invocation-Type": {"DryRun"}}
	if got := do(t, "POST", url+invokeURL, dry, nil); got.status != 204 || got.body != "" {
		t.Errorf("%+v", got)
	}
	got := do(t, "POST", url+"/2015-03-31/functions/other/invocations", dry, nil)
	checkLambdaError(t, got, 404, "ResourceNotFoundException", "User")
}

func TestClientThatGoesAwayCancels(t *testing.T) {
	entered, cancelled := make(chan struct{}), make(chan error, 1)
	url, log := start(t, fakeEngine{invoke: func(ctx context.Context, _ thaw.InvokeRequest) (thaw.Reply, error) {
		close(entered)
		<-ctx.Done()
		cancelled <- ctx.Err()
		return thaw.Reply{}, ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	r, err := http.NewRequestWithContext(ctx, "POST", url+invokeURL, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := http.DefaultClient.Do(r); !errors.Is(err, context.Canceled) {
		t.Fatalf("Do = %v", err)
	}
	select {
	case err := <-cancelled:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the engine was not cancelled")
	}
	for deadline := time.Now().Add(time.Minute); !strings.Contains(log.String(), "status=499"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("log: %s", log)
		}
	}
}
