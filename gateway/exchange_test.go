package gateway

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw"
)

// webEngine is an engine whose function is an HTTP server that does serve.
func webEngine(serve func(context.Context, thaw.InvokeRequest, thaw.HTTPRequest, thaw.HTTPReplier) (thaw.Reply, error)) fakeEngine {
	return fakeEngine{exchange: func(ctx context.Context, r thaw.InvokeRequest, q thaw.HTTPRequest, w thaw.HTTPReplier) (thaw.Reply, error) {
		if q.Body != nil {
			defer q.Body.Close()
		}
		return serve(ctx, r, q, w)
	}}
}

func TestExchangePassesThrough(t *testing.T) {
	var got thaw.HTTPRequest
	var request thaw.InvokeRequest
	var body string
	url, _ := start(t, webEngine(func(_ context.Context, r thaw.InvokeRequest, q thaw.HTTPRequest, w thaw.HTTPReplier) (thaw.Reply, error) {
		b, err := io.ReadAll(q.Body)
		got, request, body = q, r, string(b)
		err = errors.Join(err, w.Begin(thaw.HTTPReply{Status: 418, Header: []thaw.HTTPField{
			{Name: "Set-Cookie", Value: "a=1"}, {Name: "Set-Cookie", Value: "b=2"}, {Name: "connection", Value: "close, x-own"}, {Name: "X-Own", Value: "1"}, {Name: "X-Reply", Value: "r"},
		}}, thaw.Invocation{ID: "id-1", Version: 3, Start: thaw.StartWarm}))
		_, werr := io.WriteString(w, "short and stout")
		return thaw.Reply{}, errors.Join(err, werr, w.Trailer([]thaw.HTTPField{{Name: "X-Sum", Value: "s"}}))
	}))
	r, err := http.NewRequest("PATCH", url+"/function/web:live/a%2Fb//c?x=1;y=%zz", strings.NewReader("\x00body"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{
		"X-A": {"1", "2"}, "Connection": {"X-Hop"}, "X-Hop": {"h"}, "Te": {"trailers"}, "Thaw-Cold": {"true"}, "Ce-Type": {"t"},
		"X-Call-Id": {"call"}, "X-Forwarded-For": {"10.0.0.1"}, "Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	}
	reply, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	b, err := io.ReadAll(reply.Body)
	if err != nil || string(b) != "short and stout" || reply.StatusCode != 418 {
		t.Errorf("%d %q %v", reply.StatusCode, b, err)
	}
	if got.Method != "PATCH" || got.Target != "/a%2Fb//c?x=1;y=%zz" || body != "\x00body" || got.Length != 5 {
		t.Errorf("the function got %+v %q", got, body)
	}
	if request.Function != "web:3" || !request.Cold || request.ID == "" {
		t.Errorf("the engine got %+v", request)
	}
	header := map[string]string{}
	for _, f := range got.Header {
		header[f.Name] += f.Value + "|"
	}
	want := map[string]string{
		"Host": r.URL.Host + "|", "X-A": "1|2|", "Ce-Type": "t|", "X-Call-Id": "call|", "X-Forwarded-For": "10.0.0.1, 127.0.0.1|",
		"X-Forwarded-Host": r.URL.Host + "|", "X-Forwarded-Proto": "http|", "Traceparent": r.Header.Get("Traceparent") + "|", "User-Agent": "Go-http-client/1.1|", "Accept-Encoding": "gzip|",
	}
	if d := cmp.Diff(want, header); d != "" {
		t.Error(d)
	}
	for name, want := range map[string]string{"X-Reply": "r", "X-Own": "", "Content-Type": "", "X-Content-Type-Options": "", "X-Call-Id": "call", "X-Amz-Executed-Version": "3"} {
		if got := reply.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if len(reply.Header["Set-Cookie"]) != 2 || reply.Trailer.Get("X-Sum") != "s" {
		t.Errorf("%v, trailer %v", reply.Header["Set-Cookie"], reply.Trailer)
	}
}

// Each piece is at the client before the next is made.
func TestExchangeStreams(t *testing.T) {
	seen := make(chan struct{})
	url, _ := start(t, webEngine(func(_ context.Context, _ thaw.InvokeRequest, _ thaw.HTTPRequest, w thaw.HTTPReplier) (thaw.Reply, error) {
		err := w.Begin(thaw.HTTPReply{Status: 200}, thaw.Invocation{})
		<-seen
		for i := range 3 {
			_, werr := fmt.Fprintf(w, "%d\n", i)
			err = errors.Join(err, werr)
			<-seen
		}
		return thaw.Reply{}, err
	}))
	reply, err := http.Get(url + "/function/web")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	seen <- struct{}{}
	lines := bufio.NewReader(reply.Body)
	for i := range 3 {
		line, err := lines.ReadString('\n')
		if err != nil || line != fmt.Sprintf("%d\n", i) {
			t.Errorf("%q, %v", line, err)
		}
		seen <- struct{}{}
	}
	if _, err := lines.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
}

// What has begun and has no end does not look whole; what has not begun is an error.
func TestExchangeFails(t *testing.T) {
	failure := func(kind string) thaw.Reply {
		return thaw.Reply{Payload: thaw.FunctionError{Type: kind, Message: "m"}.JSON(), Invocation: thaw.Invocation{FunctionError: kind}}
	}
	for name, tt := range map[string]struct {
		begin  bool
		reply  thaw.Reply
		err    error
		status int
	}{
		"Exit":       {false, failure(thaw.ErrorTypeExit), nil, 502},
		"BadReply":   {false, failure(thaw.ErrorTypeBadReply), nil, 502},
		"Timeout":    {false, failure(thaw.ErrorTypeTimeout), nil, 504},
		"Init":       {false, thaw.Reply{}, thaw.Errorf(thaw.CodeFunction, "function failed to start: x"), 502},
		"Throttled":  {false, thaw.Reply{}, thaw.Errorf(thaw.CodeThrottled, "busy"), 429},
		"Instance":   {false, thaw.Reply{}, thaw.Errorf(thaw.CodeInstance, "dead"), 502},
		"ExitLate":   {true, failure(thaw.ErrorTypeExit), nil, 0},
		"DiedLate":   {true, thaw.Reply{}, thaw.Errorf(thaw.CodeInstance, "dead"), 0},
		"TooLarge":   {false, thaw.Reply{}, bodyTooLarge(), 413},
		"NoFunction": {false, thaw.Reply{}, thaw.Errorf(thaw.CodeNotFound, "gone"), 404},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := start(t, webEngine(func(_ context.Context, _ thaw.InvokeRequest, _ thaw.HTTPRequest, w thaw.HTTPReplier) (thaw.Reply, error) {
				if tt.begin {
					if err := w.Begin(thaw.HTTPReply{Status: 200}, thaw.Invocation{}); err != nil {
						t.Error(err)
					}
					_, _ = io.WriteString(w, "piece")
				}
				return tt.reply, tt.err
			}))
			reply, err := http.Get(url + "/function/web")
			if err != nil {
				t.Fatal(err)
			}
			defer reply.Body.Close()
			body, err := io.ReadAll(reply.Body)
			if tt.begin {
				if err == nil || string(body) != "piece" {
					t.Errorf("looks whole: %q, %v", body, err)
				}
				return
			}
			if reply.StatusCode != tt.status || err != nil {
				t.Errorf("status %d, want %d: %s, %v", reply.StatusCode, tt.status, body, err)
			}
		})
	}
	t.Run("Upgrade", func(t *testing.T) {
		url, _ := start(t, webEngine(nil))
		r, err := http.NewRequest("GET", url+"/function/web/socket", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Connection", "upgrade")
		r.Header.Set("Upgrade", "websocket")
		reply, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Body.Close()
		if body, _ := io.ReadAll(reply.Body); reply.StatusCode != 501 || !strings.Contains(string(body), "server-sent events") {
			t.Errorf("%d %s", reply.StatusCode, body)
		}
	})
}

// A client that goes away ends the exchange, also when it has not sent all of its body;
// a body that nobody wanted does not hold up the reply.
func TestExchangeClientGone(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 1)
	url, _ := start(t, webEngine(func(ctx context.Context, _ thaw.InvokeRequest, q thaw.HTTPRequest, w thaw.HTTPReplier) (thaw.Reply, error) {
		if q.Target == "/early" {
			return thaw.Reply{}, w.Begin(thaw.HTTPReply{Status: 403}, thaw.Invocation{})
		}
		var err error
		began <- struct{}{}
		if q.Body != nil {
			_, err = io.Copy(io.Discard, q.Body)
		} else {
			<-ctx.Done()
			err = ctx.Err()
		}
		ended <- err
		return thaw.Reply{}, thaw.Errorf(thaw.CodeInvalid, "the client is gone: %w", err)
	}))
	for name, body := range map[string]io.Reader{"NoBody": nil, "HalfABody": io.MultiReader(strings.NewReader("half"), endless(t))} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			r, err := http.NewRequestWithContext(ctx, "POST", url+"/function/web", body)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				reply, err := http.DefaultTransport.RoundTrip(r)
				if err == nil {
					reply.Body.Close()
				}
			}()
			<-began
			cancel()
			if err := <-ended; err == nil {
				t.Error("it ended well")
			}
		})
	}
	t.Run("EarlyReply", func(t *testing.T) {
		reply, err := http.Post(url+"/function/web/early", "x/"+rand.Text(), endless(t))
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Body.Close()
		if _, err := io.ReadAll(reply.Body); reply.StatusCode != 403 || err != nil {
			t.Errorf("%d, %v", reply.StatusCode, err)
		}
	})
}

// endless is a body whose rest does not come before the end of the test.
func endless(t *testing.T) io.Reader {
	r, w := io.Pipe()
	t.Cleanup(func() { w.Close() })
	return r
}

// An asynchronous request to an HTTP server keeps all that it is.
func TestExchangeAsync(t *testing.T) {
	var got thaw.AsyncRequest
	e := fakeEngine{
		describe: func(string) (thaw.Description, error) { return thaw.Description{}, nil },
		enqueue: func(r thaw.AsyncRequest) (thaw.QueueItem, error) {
			got = r
			return thaw.QueueItem{ID: "1"}, nil
		},
	}
	url, _ := start(t, e)
	reply, err := http.Post(url+"/async-function/web", "application/json", strings.NewReader(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != 202 || !strings.Contains(string(got.Payload), `"version":"2.0"`) || !strings.Contains(string(got.Payload), `"body":"{\"a\":1}"`) {
		t.Errorf("%d %s", reply.StatusCode, got.Payload)
	}
}
