package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"thaw"
	"thaw/gateway/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dial(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	c, err := New(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		server.Close()
	})
	return c
}

func TestAddresses(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:7300":         "http://127.0.0.1:7300",
		"http://localhost:7300/": "http://localhost:7300",
		"https://thaw.example":   "https://thaw.example",
		"[::1]:7300":             "http://[::1]:7300",
		"":                       "",
		"http://":                "",
		"ftp://x":                "",
		"http://x/path":          "",
		"host:port:more":         "",
		"\n":                     "",
	} {
		c, err := New(addr)
		if want == "" {
			if thaw.CodeOf(err) != thaw.CodeInvalid {
				t.Errorf("New(%q) = %v", addr, err)
			}
			continue
		}
		if err != nil || c.Addr() != want {
			t.Errorf("New(%q) = %v, %v", addr, c, err)
		}
	}
}

// TestErrorsComeBack sends every code through the server's body and expects it
// unchanged, and by its status alone when the body says nothing.
func TestErrorsComeBack(t *testing.T) {
	codes := []thaw.Code{thaw.CodeInvalid, thaw.CodeNotFound, thaw.CodeConflict, thaw.CodeTooLarge, thaw.CodeThrottled,
		thaw.CodeFunction, thaw.CodeInstance, thaw.CodeUnavailable, thaw.CodeInternal}
	for _, code := range codes {
		for _, body := range []string{fmt.Sprintf(`{"code":%q,"message":"why"}`, code), `{"message":"why"}`, `why`, ``} {
			c := dial(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(api.MappingOf(code).Status)
				io.WriteString(w, body)
			})
			_, err := c.Describe(t.Context(), "f")
			if thaw.CodeOf(err) != code || body != "" && !strings.Contains(err.Error(), "why") {
				t.Errorf("%s by %q: %v (%s)", code, body, err, thaw.CodeOf(err))
			}
		}
	}
}

func TestStrangeReplies(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		code   thaw.Code
	}{
		"not JSON":       {200, "<html>", thaw.CodeInternal},
		"unknown status": {418, "teapot", thaw.CodeInvalid},
		"gateway":        {504, "late", thaw.CodeInternal},
		"huge error":     {500, strings.Repeat("x", maxError+1), thaw.CodeInternal},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				io.WriteString(w, test.body)
			})
			_, err := c.Functions(t.Context())
			if thaw.CodeOf(err) != test.code || len(err.Error()) > 400 {
				t.Errorf("%.500v", err)
			}
		})
	}
}

// TestListInPages: however many there are, no reply is large.
func TestListInPages(t *testing.T) {
	const total = 2*functionsAtOnce + 5
	c := dial(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		limit, _ := strconv.Atoi(q.Get("limit"))
		after, _ := strconv.Atoi(strings.TrimPrefix(q.Get("after"), "f"))
		if limit < 1 || limit > functionsAtOnce {
			t.Errorf("limit %d", limit)
		}
		list := api.Functions{}
		for n := after + 1; n <= total && len(list.Functions) < limit; n++ {
			list.Functions = append(list.Functions, thaw.Version{Function: fmt.Sprintf("f%05d", n)})
		}
		list.More = after+limit < total
		json.NewEncoder(w).Encode(list)
	})
	for limit, want := range map[int]int{0: total, 3: 3, functionsAtOnce: functionsAtOnce, functionsAtOnce + 1: functionsAtOnce + 1, total: total, total + 1: total} {
		all, more, err := c.List(t.Context(), thaw.FunctionQuery{Limit: limit})
		if err != nil || len(all) != want || more != (want < total) || all[want-1].Function != fmt.Sprintf("f%05d", want) {
			t.Errorf("limit %d: %d functions, more %v, %v", limit, len(all), more, err)
		}
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	c, err := New(addr)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Functions(t.Context())
	if !errors.Is(err, ErrUnreachable) || thaw.CodeOf(err) != thaw.CodeUnavailable || !strings.Contains(err.Error(), "thaw serve") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = c.Functions(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
}

func TestInvokeReadsHeaders(t *testing.T) {
	record := thaw.Invocation{ID: "id-1", Function: "f", Version: 2, Start: thaw.StartCold, Faults: thaw.Faults{Trapped: 3}}
	kept := true
	c := dial(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			if kept {
				fmt.Fprint(w, `{"id":"id-1","function":"f","version":2,"start":"cold","faults":{"trapped":3}}`)
			} else {
				http.Error(w, `{"code":"not_found","message":"gone"}`, 404)
			}
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Thaw-Start", "cold")
		w.Header().Set("Thaw-Policy", r.Header.Get("Thaw-Policy"))
		w.Header().Set("Thaw-Instance", "i-1")
		w.Header().Set("X-Amz-Executed-Version", "2")
		w.Header().Set("X-Amzn-RequestId", "id-1")
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		w.Header().Set("Server-Timing", "plan;dur=1.500, total;dur=9.000")
		fmt.Fprintf(w, `{"errorType":"T","errorMessage":"%s %s %s"}`, r.Header.Get("Thaw-Cold"), r.Header.Get("Thaw-Discard"), body)
	})
	request := thaw.InvokeRequest{Function: "f", Payload: []byte("{}"), Policy: thaw.PolicyVanilla, Cold: true, Discard: true}
	want := thaw.Reply{Payload: []byte(`{"errorType":"T","errorMessage":"true true {}"}`), Invocation: thaw.Invocation{
		ID: "id-1", Function: "f", Version: 2, Instance: "i-1", Start: "cold", Policy: "vanilla",
		DurationMS: 9, PhasesMS: map[string]float64{"plan": 1.5}, FunctionError: "T",
	}}
	got, err := c.Invoke(t.Context(), request)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	got, err = c.InvokeRecorded(t.Context(), request)
	if diff := cmp.Diff(record, got.Invocation); diff != "" || err != nil {
		t.Error(diff, err)
	}
	kept = false
	got, err = c.InvokeRecorded(t.Context(), request)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestDeployReplies(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		code   thaw.Code
		events int
	}{
		"result":        {200, "{\"step\":\"image\"}\n\n{\"step\":\"activate\",\"result\":{\"function\":\"f\",\"version\":4}}\n", "", 2},
		"refused":       {409, `{"code":"conflict","message":"busy"}`, thaw.CodeConflict, 0},
		"late error":    {200, "{\"step\":\"image\"}\n{\"error\":{\"code\":\"function_error\",\"message\":\"no\"}}\n", thaw.CodeFunction, 1},
		"no result":     {200, "{\"step\":\"image\"}\n", thaw.CodeUnavailable, 1},
		"not JSON":      {200, "image\n", thaw.CodeInternal, 0},
		"line too long": {200, strings.Repeat("x", maxLine+1), thaw.CodeUnavailable, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				w.WriteHeader(test.status)
				io.WriteString(w, test.body)
			})
			events := 0
			v, err := c.Deploy(t.Context(), "f", thaw.Settings{}, strings.NewReader("tar"), func(thaw.DeployEvent) { events++ })
			if thaw.CodeOf(err) != test.code || events != test.events || (err == nil) != (v.Number == 4) {
				t.Errorf("%+v, %v, %d events", v, err, events)
			}
		})
	}
}

func TestDeployOfBadCode(t *testing.T) {
	c := dial(t, func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	bad := thaw.Errorf(thaw.CodeInvalid, "app.py is a socket")
	code := io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), errorReader{bad})
	_, err := c.Deploy(t.Context(), "f", thaw.Settings{}, code, nil)
	if err == nil || err.Error() != bad.Error() || thaw.CodeOf(err) != thaw.CodeInvalid {
		t.Error(err)
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

func TestDeployCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := dial(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "{\"step\":\"image\"}\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	_, err := c.Deploy(ctx, "f", thaw.Settings{}, strings.NewReader("tar"), func(thaw.DeployEvent) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
