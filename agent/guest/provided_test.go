package guest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"thaw"
	"thaw/agent"
)

// buildBootstrap returns the path of the compiled testdata/bootstrap.
func buildBootstrap(t *testing.T) string {
	t.Helper()
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("the go command is not in PATH: add it, such as PATH=$PATH:/usr/local/go/bin")
	}
	path := filepath.Join(t.TempDir(), "bootstrap")
	cmd := exec.CommandContext(t.Context(), goTool, "build", "-o", path, "./testdata/bootstrap")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build bootstrap: %v\n%s", err, out)
	}
	return path
}

func providedFunction(env map[string]string, snapStart bool) agent.Function {
	return agent.Function{Name: "p", Version: 1, SnapStart: snapStart, Settings: thaw.Settings{Runtime: thaw.RuntimeProvided, Env: env}}
}

// startProvided starts the test bootstrap as a function.
func startProvided(t *testing.T, binary string, env map[string]string, snapStart bool) (*testGuest, *agent.Conn, error) {
	t.Helper()
	return startProvidedAs(t, binary, providedFunction(env, snapStart))
}

func startProvidedAs(t *testing.T, binary string, fn agent.Function) (*testGuest, *agent.Conn, error) {
	t.Helper()
	g := startGuest(t, nil)
	if err := os.Symlink(binary, filepath.Join(g.dir, "task", "bootstrap")); err != nil {
		t.Fatal(err)
	}
	c := g.connect()
	return g, c, c.Init(g.ctx(), fn)
}

func TestProvided(t *testing.T) {
	binary := buildBootstrap(t)
	g, c, err := startProvided(t, binary, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	id := 0
	call := func(event string) agent.Result {
		t.Helper()
		id++
		return g.invoke(c, "r"+strconv.Itoa(id), event, time.Minute)
	}
	tests := []struct{ event, payload, functionError string }{
		{`{"op":"echo"}`, `{"op":"echo"}`, ""},
		{`{"op":"chunked","text":"in pieces"}`, "in pieces", ""},
		{`{"op":"size","size":0}`, "", ""},
		{`{"op":"wrong id"}`, "400", ""},
		{`{"op":"next first"}`, "403", ""},
		{`{"op":"twice"}`, "first", ""},
		{`{"op":"error","text":"{\"errorType\":\"X\",\"errorMessage\":\"m\",\"more\":1}"}`, `{"errorType":"X","errorMessage":"m","more":1}`, "X"},
		{`{"op":"error","text":"no json"}`, "no json", "Test.Error"},
		{`{"op":"error","text":""}`, `{"errorType":"Test.Error","errorMessage":""}`, "Test.Error"},
	}
	for _, tt := range tests {
		if r := call(tt.event); string(r.Payload) != tt.payload || r.FunctionError != tt.functionError || r.Finished {
			t.Errorf("%s: got %q %q %v", tt.event, r.Payload, r.FunctionError, r.Finished)
		}
	}
	if fe := functionError(t, call(fmt.Sprintf(`{"op":"size","size":%d}`, 20<<20))); fe.Type != thaw.ErrorTypeTooBig {
		t.Errorf("20 MiB: %+v", fe)
	}
	if r := call(fmt.Sprintf(`{"op":"size","size":%d}`, thaw.MaxPayload)); len(r.Payload) != thaw.MaxPayload {
		t.Errorf("6 MiB: %d bytes, %s", len(r.Payload), r.FunctionError)
	}
	checkHeaders(t, g, c)
}

func checkHeaders(t *testing.T, g *testGuest, c *agent.Conn) {
	deadline := time.Now().Add(time.Minute)
	r, err := c.Invoke(g.ctx(), agent.Invocation{
		RequestID: "abc-1", Deadline: deadline, Payload: []byte(`{"op":"headers"}`),
		TraceID: "Root=1-5;Sampled=1", ClientContext: `{"custom":{}}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	var h http.Header
	if err := json.Unmarshal(r.Payload, &h); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{
		"Lambda-Runtime-Aws-Request-Id": "abc-1", "Lambda-Runtime-Deadline-Ms": strconv.FormatInt(deadline.UnixMilli(), 10),
		"Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:local:000000000000:function:p:1",
		"Lambda-Runtime-Trace-Id":             "Root=1-5;Sampled=1", "Lambda-Runtime-Client-Context": `{"custom":{}}`,
	} {
		if h.Get(k) != want {
			t.Errorf("%s: %q, not %q", k, h.Get(k), want)
		}
	}
}

// Every line of an invocation comes before its result.
func TestProvidedLogOrder(t *testing.T) {
	g, c, err := startProvided(t, buildBootstrap(t), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		id := fmt.Sprintf("r%d", i)
		g.invoke(c, id, `{"op":"log","text":"line","size":3000}`, time.Minute)
		n := 0
		for _, l := range g.lines() {
			if l.RequestID == id {
				if want := fmt.Sprintf("line %d", n); l.Text != want {
					t.Fatalf("got %q, not %q", l.Text, want)
				}
				n++
			}
		}
		if n != 3000 {
			t.Errorf("%s: %d lines before the result", id, n)
		}
	}
}

func TestProvidedEntrypoint(t *testing.T) {
	tests := []struct {
		name, text string
		mode       os.FileMode
		want       string
	}{
		{"missing", "", 0, "Error: Couldn't find valid bootstrap(s): [%[1]s/task/bootstrap %[1]s/runtime/bootstrap]"},
		{"not executable", "#!/bin/sh\n", 0o644, "Error: fork/exec %[1]s/task/bootstrap: permission denied"},
		{"no program", "hello", 0o755, "Error: fork/exec %[1]s/task/bootstrap: exec format error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := startGuest(t, nil)
			if tt.text != "" {
				g.write("task/bootstrap", tt.text, tt.mode)
			}
			c := g.connect()
			err := c.Init(g.ctx(), providedFunction(nil, false))
			ie, ok := errors.AsType[*agent.InitError](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if want := fmt.Sprintf(tt.want, g.dir); ie.Type != "Runtime.InvalidEntrypoint" || ie.Message != want {
				t.Errorf("got %+v, want %q", ie, want)
			}
		})
	}
}

func TestProvidedInitError(t *testing.T) {
	_, _, err := startProvided(t, buildBootstrap(t), map[string]string{"FAIL_INIT": "no database"}, false)
	ie, ok := errors.AsType[*agent.InitError](err)
	if !ok || ie.Type != "Test.InitError" || ie.Message != "no database" {
		t.Errorf("got %v", err)
	}
}

// A client that gives up waiting for work and asks again gets the work.
func TestProvidedImpatient(t *testing.T) {
	g, c, err := startProvided(t, buildBootstrap(t), map[string]string{"IMPATIENT": "1"}, false)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return g.texts() == "gave up: true\n" })
	for range 3 {
		if r := g.invoke(c, "r1", `{"op":"echo"}`, 5*time.Second); r.FunctionError != "" {
			t.Fatalf("%+v %s", r, r.Payload)
		}
	}
}

// What a function started in its process group ends with it.
func TestProvidedLeavesNoProcess(t *testing.T) {
	g := startGuest(t, nil)
	g.write("task/bootstrap", "#!/bin/sh\nsleep 1000 &\necho $!\nwait\n", 0o755)
	c := g.connect()
	ctx := g.ctx()
	go func() { _ = c.Init(ctx, providedFunction(nil, false)) }()
	var pid int
	waitFor(t, func() bool {
		for _, l := range g.lines() {
			pid, _ = strconv.Atoi(l.Text)
		}
		return pid != 0
	})
	g.port.Close()
	waitFor(t, func() bool { return syscall.Kill(pid, 0) != nil || zombie(pid) })
}

// zombie reports whether nobody has waited for a process that has ended.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

func waitFor(t *testing.T, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen in time")
		}
	}
}

// TestProvidedConcurrency has a runtime that asks for several invocations at once
// have them at once, and no more than that.
func TestProvidedConcurrency(t *testing.T) {
	g := startGuest(t, nil)
	if err := os.Symlink(buildBootstrap(t), filepath.Join(g.dir, "task", "bootstrap")); err != nil {
		t.Fatal(err)
	}
	fn := providedFunction(nil, false)
	fn.Concurrency = 4
	c := g.connect()
	if err := c.Init(g.ctx(), fn); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			if r := g.invoke(c, fmt.Sprint("r", i), `{"op":"together","size":4}`, time.Minute); string(r.Payload) != "4" {
				t.Errorf("%s at once, %+v", r.Payload, r)
			}
		})
	}
	all.Wait()
	t.Run("Timeout", func(t *testing.T) {
		other := make(chan agent.Result)
		go func() { other <- g.invoke(c, "other", `{"op":"together","size":6}`, time.Minute) }()
		r := g.invoke(c, "late", `{"op":"sleep","size":60}`, 100*time.Millisecond)
		if r.FunctionError != thaw.ErrorTypeTimeout || !r.Finished {
			t.Errorf("%+v", r)
		}
		if r := g.invoke(c, "third", `{"op":"together","size":6}`, time.Minute); string(r.Payload) != "6" {
			t.Errorf("%+v %s", r, r.Payload)
		}
		if r := <-other; string(r.Payload) != "6" {
			t.Errorf("the other one: %+v", r)
		}
	})
	_, err := c.Invoke(g.ctx(), agent.Invocation{RequestID: "x", Deadline: time.Now().Add(time.Minute), Payload: []byte(`{"op":"echo"}`)})
	if err != nil {
		t.Error(err)
	}
}
