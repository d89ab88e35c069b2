package gateway

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"thaw"
)

func (e fakeEngine) Enqueue(_ context.Context, r thaw.AsyncRequest) (thaw.QueueItem, error) {
	return e.enqueue(r)
}

func (e fakeEngine) Items(f thaw.ItemFilter) []thaw.QueueItem { return e.items }

func (e fakeEngine) Item(id string) (thaw.QueueItem, []byte, error) {
	if len(e.items) == 0 || e.items[0].ID != id {
		return thaw.QueueItem{}, nil, thaw.Errorf(thaw.CodeNotFound, "no item")
	}
	return e.items[0], []byte("no JSON"), nil
}

func (e fakeEngine) Redrive(f thaw.ItemFilter) (int, error) { return e.change("redrive", f) }
func (e fakeEngine) Purge(f thaw.ItemFilter) (int, error)   { return e.change("purge", f) }
func (e fakeEngine) Schedules() []thaw.Schedule             { return nil }

func (e fakeEngine) SetSchedule(_ context.Context, s thaw.Schedule) (thaw.Schedule, error) {
	return s, e.schedule("set", s)
}

func (e fakeEngine) RemoveSchedule(_ context.Context, id string) error {
	return e.schedule("rm", thaw.Schedule{ID: id})
}

func (e fakeEngine) RemoveSchedulesOf(_ context.Context, function string) error {
	if e.schedule == nil {
		return nil
	}
	return e.schedule("rm of", thaw.Schedule{ID: function})
}

const traceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func asyncEngine(seen *thaw.AsyncRequest) fakeEngine {
	return fakeEngine{
		invoke: echo,
		describe: func(name string) (thaw.Description, error) {
			if n, _, _ := strings.Cut(name, ":"); n != "hello" || name == "hello:lost" {
				return thaw.Description{}, thaw.Errorf(thaw.CodeNotFound, "no %s", name)
			}
			return thaw.Description{}, nil
		},
		enqueue: func(r thaw.AsyncRequest) (thaw.QueueItem, error) {
			*seen = r
			if string(r.Payload) == `"full"` {
				return thaw.QueueItem{}, thaw.Errorf(thaw.CodeThrottled, "the queue is full")
			}
			id := r.CallID
			if id == "" {
				id = "id-9"
			}
			return thaw.QueueItem{ID: "id-9", CallID: id}, nil
		},
	}
}

func TestEvent(t *testing.T) {
	var seen thaw.AsyncRequest
	url, _ := start(t, asyncEngine(&seen))
	header := http.Header{"X-Amz-Invocation-Type": {"Event"}, "Traceparent": {traceParent}}
	got := do(t, "POST", url+invokeURL, header, strings.NewReader(`{"a":1}`))
	if got.status != 202 || got.body != "" || string(seen.Payload) != `{"a":1}` || seen.Source != thaw.SourceLambda || seen.Trace.Parent != traceParent {
		t.Errorf("%+v, %+v", got, seen)
	}
	checkHeaders(t, got.header, map[string]string{"X-Amzn-Requestid": "id-9", "Traceparent": traceParent})
	got = do(t, "POST", url+invokeURL, header, strings.NewReader(`"full"`))
	checkLambdaError(t, got, 429, "TooManyRequestsException", "User")
	checkHeaders(t, got.header, map[string]string{"Retry-After": "1"})
	for _, path := range []string{"hello:live/invocations", "hello/invocations?Qualifier=live"} {
		got = do(t, "POST", url+"/2015-03-31/functions/"+path, header, nil)
		if got.status != 202 || seen.Function != "hello:live" {
			t.Errorf("%s: %+v, %+v", path, got, seen)
		}
	}
	got = do(t, "POST", url+"/2015-03-31/functions/hello:lost/invocations", header, nil)
	checkLambdaError(t, got, 404, "ResourceNotFoundException", "User")
	got = do(t, "POST", url+"/2015-03-31/functions/other/invocations", header, nil)
	checkLambdaError(t, got, 404, "ResourceNotFoundException", "User")
}

func TestOpenFaaS(t *testing.T) {
	var seen thaw.AsyncRequest
	var invoked string
	e := asyncEngine(&seen)
	e.invoke = func(ctx context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
		reply, err := echo(ctx, r)
		invoked = r.Function
		switch string(r.Payload) {
		case `"http"`:
			reply.Payload = []byte(`{"statusCode":201,"headers":{"X-A":"b","Content-Length":"9"},"cookies":["c=d"],"body":"aGk=","isBase64Encoded":true}`)
		case `"bad"`:
			reply.Payload = []byte(`{"statusCode":7}`)
		case `"split"`:
			reply.Payload = []byte(`{"statusCode":200,"headers":{"X-A":"b\r\nX-B: c"}}`)
		case `"raise"`:
			reply.Payload, reply.FunctionError = thaw.FunctionError{Type: "E"}.JSON(), "E"
		}
		return reply, err
	}
	url, _ := start(t, e)
	for name, test := range map[string]struct {
		method, path, body string
		header             http.Header
		status             int
		want               string
	}{
		"JSON as is":     {"POST", "/function/hello", ` {"a": 1}`, nil, 200, ` {"a": 1}`},
		"slash":          {"POST", "/function/hello/", `[1]`, nil, 200, `[1]`},
		"nothing":        {"POST", "/function/hello", "", nil, 200, `{}`},
		"GET":            {"GET", "/function/hello", "", nil, 200, `"method":"GET"`},
		"path and query": {"POST", "/function/hello/a/b?x=1&x=2&y=%20", `{}`, nil, 200, `"rawPath":"/a/b","rawQueryString":"x=1\u0026x=2\u0026y=%20"`},
		"text":           {"POST", "/function/hello", "plain", nil, 200, `"body":"plain","isBase64Encoded":false`},
		"bytes":          {"POST", "/function/hello", "\xff\x00", nil, 200, `"body":"/wA=","isBase64Encoded":true`},
		"CloudEvents":    {"POST", "/function/hello", `{}`, http.Header{"Ce-Id": {"7"}}, 200, `"ce-id":"7"`},
		"reply":          {"POST", "/function/hello", `"http"`, nil, 201, "hi"},
		"bad reply":      {"POST", "/function/hello", `"bad"`, nil, 502, "statusCode 7"},
		"split reply":    {"POST", "/function/hello", `"split"`, nil, 502, "not valid"},
		"failure":        {"POST", "/function/hello", `"raise"`, nil, 500, `"errorType":"E"`},
		"bad name":       {"POST", "/function/-x", "", nil, 400, "not valid"},
		"bad qualifier":  {"POST", "/function/hello:a.b", "", nil, 400, "not valid"},
		"own query":      {"POST", "/function/hello?Qualifier=2", "", nil, 200, `"rawQueryString":"Qualifier=2"`},
	} {
		t.Run(name, func(t *testing.T) {
			got := do(t, test.method, url+test.path, test.header, strings.NewReader(test.body))
			if got.status != test.status || !strings.Contains(got.body, test.want) {
				t.Errorf("%d %s", got.status, got.body)
			}
			if test.status < 300 && (got.header.Get("X-Call-Id") == "" || got.header.Get("X-Start-Time") == "" || got.header.Get("X-Duration-Seconds") != "0.012500") {
				t.Errorf("%v", got.header)
			}
		})
	}
	for ref, path := range map[string]string{"hello:live": "/function/hello:live", "hello:2": "/function/hello%3A2/path?Qualifier=3"} {
		if got := do(t, "POST", url+path, nil, nil); got.status != 200 || invoked != ref || got.header.Get("X-Amz-Executed-Version") != "3" {
			t.Errorf("%s: %+v, invoked %s", path, got, invoked)
		}
	}
	got := do(t, "GET", url+"/system/functions", nil, nil)
	if got.status != 200 || got.body != "[]\n" {
		t.Errorf("%+v", got)
	}
}

func TestOpenFaaSAsync(t *testing.T) {
	var seen thaw.AsyncRequest
	url, _ := start(t, asyncEngine(&seen))
	header := http.Header{"X-Callback-Url": {"https://h:1/p?q"}, "X-Call-Id": {"mine"}}
	got := do(t, "POST", url+"/async-function/hello", header, strings.NewReader(`1`))
	if got.status != 202 || got.header.Get("X-Call-Id") != "mine" || seen.Callback != "https://h:1/p?q" || seen.CallID != "mine" || string(seen.Payload) != "1" {
		t.Errorf("%+v, %+v", got, seen)
	}
	got = do(t, "POST", url+"/async-function/hello/x", nil, nil)
	if got.status != 202 || got.header.Get("X-Call-Id") != "id-9" || !strings.Contains(string(seen.Payload), `"rawPath":"/x"`) {
		t.Errorf("%+v, %s", got, seen.Payload)
	}
	if got = do(t, "POST", url+"/async-function/hello:live", nil, nil); got.status != 202 || seen.Function != "hello:live" {
		t.Errorf("%+v, %+v", got, seen)
	}
	if got = do(t, "POST", url+"/async-function/hello:lost", nil, nil); got.status != 404 {
		t.Errorf("%+v", got)
	}
	for _, bad := range []string{"file:///etc/passwd", "ftp://h/", "http://", "//h", "h", "http://u:p@h/", "gopher://h", "http://h/" + strings.Repeat("x", maxCallback)} {
		if got := do(t, "POST", url+"/async-function/hello", http.Header{"X-Callback-Url": {bad}}, nil); got.status != 400 {
			t.Errorf("%s: %d", bad, got.status)
		}
	}
	if got := do(t, "POST", url+"/async-function/other", nil, nil); got.status != 404 {
		t.Errorf("%+v", got)
	}
}

func TestCallbacks(t *testing.T) {
	var got http.Header
	var body string
	status := 204
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		got, body = r.Header, string(raw)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	defer server.Close()
	c := NewCallbacks()
	defer c.Close()
	d := thaw.Delivery{URL: server.URL, Function: "f", CallID: "c", Payload: []byte(`{"statusCode":201,"body":"made"}`), CallResult: thaw.CallResult{DurationMS: 1500, Version: 4}}
	if err := c.Deliver(t.Context(), d); err != nil || body != "made" {
		t.Error(err, body)
	}
	checkHeaders(t, got, map[string]string{"X-Call-Id": "c", "X-Function-Status": "201", "X-Duration-Seconds": "1.500000", "X-Function-Name": "f", "X-Amz-Executed-Version": "4"})
	d.FunctionError = "E"
	if err := c.Deliver(t.Context(), d); err != nil || got.Get("X-Function-Status") != "500" {
		t.Error(err, got)
	}
	for _, status = range []int{302, 404, 500} {
		if err := c.Deliver(t.Context(), d); thaw.CodeOf(err) != thaw.CodeUnavailable {
			t.Errorf("%d: %v", status, err)
		}
	}
	d.URL = "file:///etc/passwd"
	if err := c.Deliver(t.Context(), d); thaw.CodeOf(err) != thaw.CodeInvalid {
		t.Error(err)
	}
}

func TestQueueAdmin(t *testing.T) {
	var seen string
	e := asyncEngine(&thaw.AsyncRequest{})
	e.remove = func(string) error { return nil }
	e.items = []thaw.QueueItem{{ID: "id-1", State: thaw.ItemDead}}
	e.change = func(verb string, f thaw.ItemFilter) (int, error) {
		raw, err := json.Marshal(f)
		seen = verb + string(raw)
		return 3, err
	}
	e.schedule = func(verb string, s thaw.Schedule) error {
		seen = verb + " " + s.ID + " " + s.Ref().String() + " " + s.Spec + " " + string(s.Data)
		return nil
	}
	url, _ := start(t, e)
	for _, test := range []struct {
		method, path, body string
		status             int
		contains, seen     string
	}{
		{"GET", "/v1/queue", "", 200, `{"items":[{"id":"id-1"`, ""},
		{"GET", "/v1/queue?state=lost", "", 400, "waiting, running or dead", ""},
		{"GET", "/v1/queue/id-1", "", 200, `"payload":"no JSON"`, ""},
		{"GET", "/v1/queue/id-2", "", 404, "not_found", ""},
		{"GET", "/v1/queue/..x", "", 400, "not valid", ""},
		{"DELETE", "/v1/queue/id-1", "", 200, `{"items":3}`, `purge{"ID":"id-1","Function":"","State":""}`},
		{"DELETE", "/v1/queue?state=dead&function=f", "", 200, `{"items":3}`, `purge{"ID":"","Function":"f","State":"dead"}`},
		{"POST", "/v1/queue/redrive", "", 200, `{"items":3}`, `redrive{"ID":"","Function":"","State":""}`},
		{"POST", "/v1/queue/id-1/redrive", "", 200, `{"items":3}`, `redrive{"ID":"id-1","Function":"","State":""}`},
		{"GET", "/v1/schedules", "", 200, `{"schedules":[]}`, ""},
		{"PUT", "/v1/schedules/s", `{"function":"hello","spec":"@hourly"}`, 200, `"id":"s"`, "set s hello @hourly {}"},
		{"PUT", "/v1/schedules/s", `{"function":"hello:live","spec":"@hourly"}`, 200, `"qualifier":"live"`, "set s hello:live @hourly {}"},
		{"PUT", "/v1/schedules/s", `{"function":"hello:lost","spec":"@hourly"}`, 404, "", ""},
		{"PUT", "/v1/schedules/s", `{"function":"hello:0","spec":"@hourly"}`, 400, "not valid", ""},
		{"PUT", "/v1/schedules/s:1", `{"function":"hello","spec":"@hourly"}`, 400, "not valid", ""},
		{"DELETE", "/v1/functions/hello", "", 204, "", "rm of hello   "},
		{"DELETE", "/v1/functions/hello:1", "", 204, "", ""},
		{"PUT", "/v1/schedules/s", `{"function":"other","spec":"@hourly"}`, 404, "", ""},
		{"PUT", "/v1/schedules/s", `{"function":"hello","next":1}`, 400, "unknown field", ""},
		{"PUT", "/v1/schedules/s", `{"function":"hello"} 1`, 400, "follows", ""},
		{"DELETE", "/v1/schedules/s", "", 204, "", "rm s   "},
	} {
		seen = ""
		got := do(t, test.method, url+test.path, nil, strings.NewReader(test.body))
		if got.status != test.status || !strings.Contains(got.body, test.contains) || seen != test.seen {
			t.Errorf("%s %s: %d %s, engine saw %q", test.method, test.path, got.status, got.body, seen)
		}
	}
}
