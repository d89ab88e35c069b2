package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"thaw"
	"thaw/gateway/api"
)

// obliging is an engine that finds nothing and takes everything.
func obliging() fakeEngine {
	missing := thaw.Errorf(thaw.CodeNotFound, "there is none")
	return fakeEngine{
		invoke: echo, describe: func(string) (thaw.Description, error) { return thaw.Description{}, nil },
		remove: func(string) error { return nil }, discard: func(string) error { return nil },
		deploy: func(_ context.Context, _ string, _ thaw.Settings, code io.Reader, _ func(thaw.DeployEvent)) (thaw.Version, error) {
			_, err := io.Copy(io.Discard, code)
			return thaw.Version{}, err
		},
		logs: func(string, thaw.LogQuery) ([]thaw.LogLine, error) { return nil, nil },
		follow: func(context.Context, string, thaw.LogQuery, func(thaw.LogLine) error) error {
			return nil
		},
		invocation: func(string) (thaw.Invocation, error) { return thaw.Invocation{}, missing },
		snapshots:  func() ([]thaw.Snapshot, error) { return nil, nil },
		snapshot:   func(string) (thaw.Snapshot, error) { return thaw.Snapshot{}, missing },
		versions:   func(string) error { return nil },
		verify: func(context.Context, string, func(thaw.FileCheck)) (thaw.Verification, error) {
			return thaw.Verification{}, missing
		},
		enqueue:  func(thaw.AsyncRequest) (thaw.QueueItem, error) { return thaw.QueueItem{ID: "q-1"}, nil },
		change:   func(string, thaw.ItemFilter) (int, error) { return 0, nil },
		schedule: func(string, thaw.Schedule) error { return nil },
	}
}

// rudeServer is the whole gateway behind the server that faces the network.
func rudeServer(t *testing.T, e engine, patience time.Duration) (addr string, log *lockedBuffer) {
	t.Helper()
	log = &lockedBuffer{}
	addr, _, _ = serveOn(t, rudeHandler(e, patience, log), time.Second)
	return addr, log
}

func rudeHandler(e engine, patience time.Duration, log io.Writer) http.Handler {
	return New(Config{
		Invoker: e, Exchanger: e, Deployer: e, Publisher: e, Catalog: e, Finder: e, Versions: e, Snapshots: e, Verifier: e, Monitor: e,
		Acceptor: e, Queue: e, Schedules: e, Secrets: e, Patience: patience,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metric 1\n") }),
		Logger:  slog.New(slog.NewTextHandler(log, nil)), Info: func() api.Info { return api.Info{} },
	})
}

// say sends raw bytes and returns the status that came back, 0 for none.
func say(t *testing.T, addr, raw string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() { _, _ = io.WriteString(conn, raw) }() // the server may hang up first
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(text)
}

// TestRudeRequests: what no client of ours would send is answered, and the next one is
// served as ever.
func TestRudeRequests(t *testing.T) {
	addr, log := rudeServer(t, obliging(), time.Minute)
	const host, invoke = "Host: localhost\r\n", "/2015-03-31/functions/hello/invocations"
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n" }
	post := func(path, header, body string) string {
		return "POST " + path + " HTTP/1.1\r\n" + host + "Connection: close\r\n" + header + "\r\n" + body
	}
	length := func(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }
	for name, test := range map[string]struct {
		raw    string
		status []int // any of these
	}{
		"nothing HTTP":         {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400}},
		"no version":           {"GET /v1/functions\r\n\r\n", []int{400}},
		"a later version":      {"GET / HTTP/9.9\r\n" + host + "\r\n", []int{505}},
		"no host":              {"GET /v1/functions HTTP/1.1\r\n\r\n", []int{400}},
		"two hosts":            {"GET /v1/functions HTTP/1.1\r\n" + host + host + "\r\n", []int{400}},
		"unknown method":       {"BREW " + invoke + " HTTP/1.1\r\n" + host + "\r\n", []int{405}},
		"bad method":           {"GE T / HTTP/1.1\r\n" + host + "\r\n", []int{400}},
		"connect":              {"CONNECT example.com:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{403, 404, 405}},
		"star":                 {"OPTIONS * HTTP/1.1\r\n" + host + "\r\n", []int{200}},
		"absolute form":        {get("http://localhost/v1/functions"), []int{200}},
		"another's name":       {get("http://example.com/v1/functions"), []int{403}},
		"long header":          {"GET / HTTP/1.1\r\n" + host + "X: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", []int{431}},
		"many headers":         {"GET / HTTP/1.1\r\n" + host + strings.Repeat("X: y\r\n", 20_000) + "\r\n", []int{431}},
		"long path":            {get("/v1/functions/" + strings.Repeat("x", 20<<10)), []int{400}},
		"longer path":          {get("/" + strings.Repeat("x", 64<<10)), []int{431}},
		"many parts":           {get(strings.Repeat("/x", 10<<10)), []int{404}},
		"dots":                 {get("/v1/functions/../../etc/passwd"), []int{301, 307, 400, 404}},
		"encoded dots":         {get("/v1/functions/%2e%2e%2f%2e%2e%2fetc%2fpasswd"), []int{400}},
		"NUL":                  {get("/v1/functions/a%00b"), []int{400}},
		"not UTF-8":            {get("/v1/functions/%ff%fe"), []int{400}},
		"overlong UTF-8":       {get("/v1/functions/%c0%ae%c0%ae"), []int{400}},
		"bad escape":           {get("/v1/functions/%zz"), []int{400}},
		"half an escape":       {get("/v1/functions/%"), []int{400}},
		"newline in a name":    {get("/v1/functions/a%0d%0aX-Evil:%201"), []int{400}},
		"two qualifiers":       {get("/v1/functions/a:b:c"), []int{400}},
		"many parameters":      {get("/v1/functions?" + strings.Repeat("limit=1&", 3000)), []int{400}},
		"many names":           {get("/v1/functions?a=1" + strings.Repeat("&b=1", 5000)), []int{400}},
		"semicolons":           {get("/v1/functions?limit=1;limit=2"), []int{400}},
		"negative":             {get("/v1/functions?limit=-1"), []int{400}},
		"NaN":                  {get("/v1/functions/hello/logs?limit=NaN"), []int{400}},
		"far away":             {get("/v1/functions/hello/logs?since=99999999999h"), []int{400}},
		"negative length":      {post(invoke, "Content-Length: -1\r\n", ""), []int{400}},
		"two lengths":          {post(invoke, length(2)+length(3), "{}x"), []int{400}},
		"length and chunks":    {post(invoke, length(2)+"Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"), []int{200, 400}},
		"unknown encoding":     {post(invoke, "Transfer-Encoding: gzip\r\n", "{}"), []int{501}},
		"bad chunk":            {post(invoke, "Transfer-Encoding: chunked\r\n", "zz\r\n{}"), []int{400}},
		"endless chunk header": {post(invoke, "Transfer-Encoding: chunked\r\n", strings.Repeat("0", 10_000)), []int{400}},
		"too long":             {post(invoke, length(7<<20), strings.Repeat(" ", 7<<20)), []int{413}},
		"too long by chunks":   {post(invoke, "Transfer-Encoding: chunked\r\n", "700000\r\n"+strings.Repeat(" ", 0x700000)+"\r\n0\r\n\r\n"), []int{413}},
		"announced too long":   {post(invoke, "Content-Length: 9223372036854775807\r\n", ""), []int{413}},
		"not JSON":             {post(invoke, length(3), "{]}"), []int{400}},
		"JSON not UTF-8":       {post(invoke, length(3), "\"\xff\""), []int{400}},
		"deep JSON":            {post(invoke, length(200_000), strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)), []int{400}},
		"headers at odds":      {post(invoke, "Thaw-Cold: perhaps\r\n"+length(2), "{}"), []int{400}},
		"unknown policy":       {post(invoke, "Thaw-Policy: "+strings.Repeat("x", 1000)+"\r\n"+length(2), "{}"), []int{400}},
		"bad trace":            {post(invoke, "Traceparent: "+strings.Repeat("0", 1000)+"\r\n"+length(2), "{}"), []int{200}},
		"callback to a file":   {post("/async-function/hello", "X-Callback-Url: file:///etc/passwd\r\n"+length(2), "{}"), []int{400}},
		"call id":              {post("/function/hello", "X-Call-Id: "+strings.Repeat("x", 5000)+"\r\n"+length(2), "{}"), []int{400}},
		"deploy of nothing":    {"PUT /v1/functions/hello HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n", []int{400, 415}},
		"deploy of no form":    {"PUT /v1/functions/hello HTTP/1.1\r\n" + host + "Content-Type: multipart/form-data\r\nConnection: close\r\n" + length(2) + "\r\n{}", []int{400, 415}},
		"expect something":     {post(invoke, "Expect: something\r\n"+length(2), "{}"), []int{417, 200}},
		"upgrade":              {"GET / HTTP/1.1\r\n" + host + "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n", []int{404}},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := say(t, addr, test.raw)
			if !oneOf(status, test.status) {
				t.Errorf("%d %.300q, want %v", status, body, test.status)
			}
			if status, _ := say(t, addr, get("/healthz")); status != 200 {
				t.Fatalf("after that: %d", status)
			}
		})
	}
	if strings.Contains(log.String(), "panic") {
		t.Errorf("the log has a panic:\n%s", log)
	}
}

func oneOf(n int, all []int) bool {
	for _, x := range all {
		if n == x {
			return true
		}
	}
	return false
}

// pipes is a listener whose connections hold nothing back.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// serveOnPipe returns a client's end of a connection.
func serveOnPipe(t *testing.T, handler http.Handler) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	l := &pipes{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conns <- theirs
	ctx, stop := context.WithCancel(t.Context())
	var server sync.WaitGroup
	server.Go(func() { _ = Serve(ctx, l, handler, time.Second, slog.New(slog.DiscardHandler)) })
	t.Cleanup(func() { stop(); ours.Close(); server.Wait() })
	return ours
}

// TestWhoDoesNotRead: a client that asks for much and reads nothing is given up, and
// what it held is free.
func TestWhoDoesNotRead(t *testing.T) {
	e := obliging()
	large := []byte(`"` + strings.Repeat("x", thaw.MaxPayload-2) + `"`)
	e.invoke = func(context.Context, thaw.InvokeRequest) (thaw.Reply, error) {
		return thaw.Reply{Payload: large}, nil
	}
	log := &lockedBuffer{}
	conn := serveOnPipe(t, rudeHandler(e, 50*time.Millisecond, log))
	if _, err := io.WriteString(conn, "POST /2015-03-31/functions/hello/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(log.String(), "path=/2015-03-31/functions/hello/invocations") { // written when the request is over
		time.Sleep(5 * time.Millisecond)
	}
	got, err := io.Copy(io.Discard, conn)
	if got >= int64(len(large)) {
		t.Errorf("%d bytes came in the end, %v", got, err)
	}
	// One that reads is served on the same terms, and its connection is good for more.
	addr, _ := rudeServer(t, e, 50*time.Millisecond)
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	for range 3 {
		r, err := client.Post("http://"+addr+"/2015-03-31/functions/hello/invocations", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || !bytes.Equal(body, large) {
			t.Fatalf("%d bytes, %v", len(body), err)
		}
		time.Sleep(60 * time.Millisecond) // longer than anybody has patience
	}
}

// TestWhoGoesAway: a client that leaves in the middle of its body ends nothing but its
// own request, which nobody executes.
func TestWhoGoesAway(t *testing.T) {
	e := obliging()
	e.invoke = func(_ context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
		if !json.Valid(r.Payload) || len(r.Payload) > 2 {
			t.Errorf("executed with %.100q", r.Payload)
		}
		return thaw.Reply{Payload: r.Payload}, nil
	}
	e.deploy = func(_ context.Context, _ string, _ thaw.Settings, code io.Reader, _ func(thaw.DeployEvent)) (thaw.Version, error) {
		if _, err := io.Copy(io.Discard, code); err == nil {
			t.Error("half an upload looks whole")
		}
		return thaw.Version{}, errors.New("cut off")
	}
	addr, log := rudeServer(t, e, time.Minute)
	boundary := "--b\r\nContent-Disposition: form-data; name=\"settings\"\r\n\r\n{}\r\n--b\r\nContent-Disposition: form-data; name=\"code\"\r\n\r\n"
	for _, raw := range []string{
		"POST /2015-03-31/functions/hello/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"half\":",
		"POST /function/hello HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{\"half\":",
		"PUT /v1/functions/hello HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\n" + boundary + strings.Repeat("x", 5000),
		"PUT /v1/secrets/db HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf",
	} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, raw); err != nil {
			t.Error(err)
		}
		conn.Close()
	}
	for strings.Count(log.String(), "msg=request") < 4 {
		time.Sleep(5 * time.Millisecond)
	}
	if strings.Contains(log.String(), "panic") || strings.Contains(log.String(), "half") {
		t.Errorf("the log:\n%s", log)
	}
}

// FuzzRequests: whatever is asked, the gateway answers, an error as JSON.
func FuzzRequests(f *testing.F) {
	for _, path := range []string{
		"/2015-03-31/functions/hello/invocations", "/v1/functions?limit=1&after=a", "/v1/functions/hello:2/logs?since=10m&limit=5", "/function/hello/x?y=z",
		"/system/secrets", "/v1/secrets/db", "/v1/queue/q-1/redrive", "/v1/schedules/s", "/2015-03-31/functions/", "/metrics", "/v1/functions/a/aliases/b",
		"/2018-10-31/layers", "/v1/snapshots/abcdefgh/verify",
	} {
		f.Add("GET", path, "", "", "")
		f.Add("POST", path, "Content-Type", "application/json", `{"a": 1}`)
		f.Add("PUT", path, "X-Amz-Invocation-Type", "Event", `{"function": "f", "spec": "@hourly"}`)
		f.Add("DELETE", path, "Thaw-Policy", "reap", "")
	}
	handler := rudeHandler(obliging(), time.Minute, io.Discard)
	f.Fuzz(func(t *testing.T, method, path, header, value, body string) {
		raw := method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + header + ": " + value + "\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			return // net/http answers itself
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code < 200 || w.Code > 599 {
			t.Errorf("status %d", w.Code)
		}
		if w.Code >= 400 && r.Method != http.MethodHead && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %q: %d %.200q is no JSON", method, path, w.Code, w.Body)
		}
	})
}
