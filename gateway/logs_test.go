package gateway

import (
	"bufio"
	"context"
	"encoding/base64"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"thaw"
	"thaw/gateway/api"
)

// following is an engine that gives line by line what a test sends.
func following(lines <-chan thaw.LogLine, ended chan<- error) fakeEngine {
	return fakeEngine{
		describe: func(name string) (thaw.Description, error) {
			if name == "none" {
				return thaw.Description{}, thaw.Errorf(thaw.CodeNotFound, "function none does not exist")
			}
			return thaw.Description{}, nil
		},
		follow: func(ctx context.Context, _ string, q thaw.LogQuery, emit func(thaw.LogLine) error) (err error) {
			defer func() { ended <- err }()
			for {
				select {
				case line := <-lines:
					if line.Text == "fail" {
						return thaw.Errorf(thaw.CodeUnavailable, "the disk is gone")
					}
					if err := emit(line); err != nil {
						return err
					}
				case <-ctx.Done():
					return nil
				}
			}
		},
	}
}

func TestFollowLogs(t *testing.T) {
	lines, ended := make(chan thaw.LogLine), make(chan error, 1)
	url, _ := start(t, following(lines, ended))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/functions/hello/logs?follow=1&limit=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := http.DefaultClient.Do(r) // the headers come though there is no line yet
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if got := reply.Header.Get("Content-Type"); got != api.TypeNDJSON {
		t.Errorf("type %s", got)
	}
	body := bufio.NewReader(reply.Body)
	for _, text := range []string{"one", "two"} {
		lines <- thaw.LogLine{Text: text}
		if line, err := body.ReadString('\n'); err != nil || !strings.Contains(line, `"text":"`+text+`"`) {
			t.Fatalf("%q, %v", line, err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("a client that goes away ends it with %v", err)
	}
}

func TestFollowLogsFails(t *testing.T) {
	lines, ended := make(chan thaw.LogLine, 2), make(chan error, 1)
	url, _ := start(t, following(lines, ended))
	if got := do(t, "GET", url+"/v1/functions/none/logs?follow=1", nil, nil); got.status != http.StatusNotFound {
		t.Errorf("%+v", got)
	}
	lines <- thaw.LogLine{Text: "one"}
	lines <- thaw.LogLine{Text: "fail"}
	got := do(t, "GET", url+"/v1/functions/hello/logs?follow=1", nil, nil)
	if got.status != 200 || !strings.HasSuffix(got.body, `{"error":{"code":"unavailable","message":"the disk is gone"}}`+"\n") {
		t.Errorf("%+v", got)
	}
}

// TestStopEndsFollowing: a server that stops does not wait for those who would stay
// for ever.
func TestStopEndsFollowing(t *testing.T) {
	lines, ended := make(chan thaw.LogLine), make(chan error, 1)
	e := following(lines, ended)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	log := slog.New(slog.DiscardHandler)
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, l, New(Config{Monitor: e, Catalog: e, Logger: log}), time.Hour, log)
	}()
	reply, err := http.Get("http://" + l.Addr().String() + "/v1/functions/hello/logs?follow=1")
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer reply.Body.Close()
	cancel()
	if body, err := io.ReadAll(reply.Body); err != nil || len(body) != 0 {
		t.Errorf("%q, %v", body, err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestMetricsAreServed(t *testing.T) {
	url, log := start(t, fakeEngine{})
	if got := do(t, "GET", url+"/metrics", nil, nil); got.status != 200 || got.body != "metric 1\n" {
		t.Errorf("%+v", got)
	}
	do(t, "GET", url+"/metrics?x=y", nil, nil) // refused
	do(t, "GET", url+"/v1/functions", nil, nil)
	if got := log.String(); strings.Count(got, "path=/metrics") != 1 || !strings.Contains(got, "path=/v1/functions") {
		t.Errorf("scrapes that succeed are not for the log:\n%s", got)
	}
}

func TestLogTail(t *testing.T) {
	var wanted thaw.InvokeRequest
	text := "hi\n"
	url, _ := start(t, fakeEngine{invoke: func(_ context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
		wanted = r
		reply, err := echo(context.Background(), r)
		reply.LogTail = []byte(text)
		return reply, err
	}})
	if got := do(t, "POST", url+invokeURL, nil, nil); got.header.Get(api.HeaderLogResult) != "" || wanted.LogTail {
		t.Errorf("log without being asked: %+v", got)
	}
	invoke := func() string {
		t.Helper()
		got := do(t, "POST", url+invokeURL, http.Header{api.HeaderLogType: {"Tail"}}, nil)
		log, err := base64.StdEncoding.DecodeString(got.header.Get(api.HeaderLogResult))
		if err != nil || got.status != 200 || !wanted.LogTail {
			t.Fatalf("%+v: %v", got, err)
		}
		return string(log)
	}
	const end = "END RequestId: id-1\nREPORT RequestId: id-1\tDuration: 2.00 ms\tRestore Duration: 10.50 ms\n"
	if got, want := invoke(), "START RequestId: id-1 Version: 3\nhi\n"+end; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
	text = strings.Repeat("x", thaw.MaxLogTail)
	if got := invoke(); len(got) != thaw.MaxLogTail || !strings.HasPrefix(got, "xxx") || !strings.HasSuffix(got, end) {
		t.Errorf("%d bytes of log", len(got))
	}
	if got := do(t, "POST", url+invokeURL, http.Header{api.HeaderLogType: {"All"}}, nil); got.status != 400 || !strings.Contains(got.body, "None or Tail") {
		t.Errorf("%+v", got)
	}
}

func TestTraceIsTaken(t *testing.T) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	var seen thaw.TraceContext
	url, _ := start(t, fakeEngine{invoke: func(ctx context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
		seen = r.Trace
		return echo(ctx, r)
	}})
	for header, want := range map[string]thaw.TraceContext{parent: {Parent: parent, State: "a=b"}, "broken": {}} {
		do(t, "POST", url+invokeURL, http.Header{api.HeaderTraceParent: {header}, api.HeaderTraceState: {"a=b"}}, nil)
		if seen != want {
			t.Errorf("%s: %+v, want %+v", header, seen, want)
		}
	}
}
