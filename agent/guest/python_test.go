package guest_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"thaw"
	"thaw/agent"
)

const app = `
import os, random, sys, time
print("importing")

def echo(event, context):
    return event

def about(event, context):
    return {
        "name": context.function_name, "version": context.function_version,
        "arn": context.invoked_function_arn, "memory": context.memory_limit_in_mb,
        "id": context.aws_request_id, "group": context.log_group_name,
        "stream": context.log_stream_name, "identity": context.identity.cognito_identity_id,
        "left": context.get_remaining_time_in_millis(), "client": context.client_context,
        "colour": os.environ["COLOUR"], "cwd": os.getcwd(), "tz": os.environ["TZ"],
    }

def talk(event, context):
    print("one")
    print("two", file=sys.stderr)
    sys.stdout.write("no end")
    return "done"

def boom(event, context):
    raise ValueError("bad things: " + event["what"])

def slow(event, context):
    print("sleeping")
    time.sleep(60)

def leave(event, context):
    print("leaving")
    sys.exit(event)

def abort(event, context):
    os.kill(os.getpid(), 9)

def strange(event, context):
    return {1, 2}

def big(event, context):
    return "x" * event

def long_line(event, context):
    print("y" * event)
`

func ready(t *testing.T, handler string, timeout time.Duration) (*testGuest, *agent.Conn) {
	t.Helper()
	g := startGuest(t, map[string]string{"app.py": app, "pkg/__init__.py": "", "pkg/mod.py": app})
	c := g.connect()
	if err := c.Init(g.ctx(), pythonFunction(handler, timeout)); err != nil {
		t.Fatal(err)
	}
	return g, c
}

func functionError(t *testing.T, r agent.Result) thaw.FunctionError {
	t.Helper()
	var fe thaw.FunctionError
	if err := json.Unmarshal(r.Payload, &fe); err != nil {
		t.Fatalf("payload %q: %v", r.Payload, err)
	}
	if fe.Type != r.FunctionError {
		t.Errorf("payload has type %q, result %q", fe.Type, r.FunctionError)
	}
	return fe
}

func TestPythonEcho(t *testing.T) {
	for _, handler := range []string{"app.echo", "pkg/mod.echo", "pkg.mod.echo"} {
		t.Run(handler, func(t *testing.T) {
			g, c := ready(t, handler, time.Minute)
			for _, event := range []string{`{"a": [1, 2.5, null]}`, `"héllo 😀"`, `0`} {
				r := g.invoke(c, "r1", event, time.Minute)
				if string(r.Payload) != event || r.FunctionError != "" || r.Finished {
					t.Errorf("got %q %q %v for %q", r.Payload, r.FunctionError, r.Finished, event)
				}
			}
		})
	}
}

func TestPythonContext(t *testing.T) {
	g, c := ready(t, "app.about", 5*time.Second)
	r := g.invoke(c, "req-1", "{}", 5*time.Second)
	var got map[string]any
	if err := json.Unmarshal(r.Payload, &got); err != nil {
		t.Fatalf("%q: %v", r.Payload, err)
	}
	if left := got["left"].(float64); left < 1000 || left > 5000 {
		t.Errorf("remaining time %v ms", left)
	}
	delete(got, "left")
	want := map[string]any{
		"name": "f", "version": "7", "arn": "arn:aws:lambda:local:000000000000:function:f:7", "memory": "256",
		"id": "req-1", "group": "/aws/lambda/f", "stream": "f/[7]", "identity": nil, "client": nil,
		"colour": "blue", "cwd": g.dir + "/task", "tz": ":UTC",
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %v, not %v", k, got[k], v)
		}
	}
}

func TestPythonLogs(t *testing.T) {
	g, c := ready(t, "app.talk", time.Minute)
	g.invoke(c, "r1", "{}", time.Minute)
	var got []string
	for _, l := range g.lines() { // everything is there before the result
		got = append(got, l.Stream+" "+l.RequestID+" "+l.Text)
		if since := time.Since(l.Time); since < 0 || since > time.Minute {
			t.Errorf("line %q is %s old", l.Text, since)
		}
	}
	for _, want := range []string{"stdout  importing", "stdout r1 one", "stderr r1 two", "stdout r1 no end"} {
		if !strings.Contains("\n"+strings.Join(got, "\n")+"\n", "\n"+want+"\n") {
			t.Errorf("no line %q in %q", want, got)
		}
	}
}

func TestPythonLongLine(t *testing.T) {
	g, c := ready(t, "app.long_line", time.Minute)
	g.invoke(c, "r1", "150000", time.Minute)
	total := 0
	for _, l := range g.lines() {
		if l.RequestID == "r1" {
			total += len(l.Text)
		}
	}
	if total != 150000 {
		t.Errorf("%d bytes of the line arrived", total)
	}
}

func TestPythonException(t *testing.T) {
	g, c := ready(t, "app.boom", time.Minute)
	for range 2 { // the runtime serves on
		r := g.invoke(c, "r1", `{"what": "no"}`, time.Minute)
		fe := functionError(t, r)
		if fe.Type != "ValueError" || fe.Message != "bad things: no" || r.Finished {
			t.Errorf("got %+v, finished %v", fe, r.Finished)
		}
		if len(fe.Trace) != 1 || !strings.Contains(fe.Trace[0], "in boom") {
			t.Errorf("trace %q", fe.Trace)
		}
		if !strings.Contains(string(r.Payload), `"requestId": "r1"`) {
			t.Errorf("no request id in %s", r.Payload)
		}
	}
}

func TestPythonBadPayloads(t *testing.T) {
	t.Run("reply is no JSON", func(t *testing.T) {
		g, c := ready(t, "app.strange", time.Minute)
		fe := functionError(t, g.invoke(c, "r1", "{}", time.Minute))
		if fe.Type != "Runtime.MarshalError" || !strings.Contains(fe.Message, "set is not JSON serializable") {
			t.Errorf("got %+v", fe)
		}
	})
	t.Run("event is no JSON", func(t *testing.T) {
		g, c := ready(t, "app.echo", time.Minute)
		if fe := functionError(t, g.invoke(c, "r1", "{", time.Minute)); fe.Type != "Runtime.UnmarshalError" {
			t.Errorf("got %+v", fe)
		}
	})
	t.Run("event is too large", func(t *testing.T) {
		g, c := ready(t, "app.echo", time.Minute)
		_, err := c.Invoke(g.ctx(), agent.Invocation{RequestID: "r1", Deadline: time.Now().Add(time.Minute), Payload: make([]byte, thaw.MaxPayload+1)})
		if thaw.CodeOf(err) != thaw.CodeTooLarge {
			t.Errorf("got %v", err)
		}
		g.invoke(c, "r2", "{}", time.Minute)
	})
}

func TestPythonPayloadSizes(t *testing.T) {
	g, c := ready(t, "app.echo", time.Minute)
	event := `"` + strings.Repeat("z", thaw.MaxPayload-2) + `"`
	if r := g.invoke(c, "r1", event, time.Minute); string(r.Payload) != event {
		t.Errorf("6 MiB came back as %d bytes, error %q", len(r.Payload), r.FunctionError)
	}
	g, c = ready(t, "app.big", time.Minute)
	r := g.invoke(c, "r1", "6291455", time.Minute) // two quotes more: one byte over
	fe := functionError(t, r)
	if fe.Type != thaw.ErrorTypeTooBig || r.Finished {
		t.Errorf("got %+v, finished %v", fe, r.Finished)
	}
	if r := g.invoke(c, "r2", "6291454", time.Minute); len(r.Payload) != thaw.MaxPayload {
		t.Errorf("got %d bytes and %q after a reply over the limit", len(r.Payload), r.FunctionError)
	}
}

func TestPythonEnds(t *testing.T) {
	tests := []struct {
		name, handler, event string
		timeout              time.Duration
		kind, message, line  string
	}{
		{"timeout", "app.slow", "{}", 300 * time.Millisecond, thaw.ErrorTypeTimeout, "RequestId: r1 Error: Task timed out after 0.30 seconds", "sleeping"},
		{"exit", "app.leave", "3", time.Minute, thaw.ErrorTypeExit, "RequestId: r1 Error: Runtime exited with error: exit status 3", "leaving"},
		{"exit 0", "app.leave", "0", time.Minute, thaw.ErrorTypeExit, "RequestId: r1 Error: Runtime exited without providing a reason", "leaving"},
		{"killed", "app.abort", "{}", time.Minute, thaw.ErrorTypeExit, "RequestId: r1 Error: Runtime exited with error: signal: killed", "importing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, c := ready(t, tt.handler, tt.timeout)
			r := g.invoke(c, "r1", tt.event, tt.timeout)
			fe := functionError(t, r)
			if fe.Type != tt.kind || fe.Message != tt.message || !r.Finished {
				t.Errorf("got %+v, finished %v", fe, r.Finished)
			}
			var texts []string
			for _, l := range g.lines() {
				texts = append(texts, l.Text)
			}
			if all := strings.Join(texts, "\n"); !strings.Contains(all, tt.line) || !strings.Contains(all, tt.message) {
				t.Errorf("log is %q", texts)
			}
			if r.Unserved {
				t.Error("what the runtime was given counts as unserved")
			}
			r = g.invoke(c, "r2", "{}", time.Minute)
			if !r.Finished || r.FunctionError != tt.kind || r.Unserved != (tt.kind == thaw.ErrorTypeExit) {
				t.Errorf("after the end: %+v", r)
			}
		})
	}
}

func TestPythonInitFailures(t *testing.T) {
	tests := []struct{ name, handler, code, kind, message string }{
		{"no module", "nothing.f", "", "Runtime.ImportModuleError", "Unable to import module 'nothing': No module named 'nothing'"},
		{"no dependency", "app.f", "import missing_thing", "Runtime.ImportModuleError", "Unable to import module 'app': No module named 'missing_thing'"},
		{"no handler", "app.g", "def f(e, c): pass", "Runtime.HandlerNotFound", "Handler 'g' missing on module 'app'"},
		{"not a function", "app.g", "g = 1", "Runtime.HandlerNotFound", "Handler 'g' on module 'app' is not a function"},
		{"syntax", "app.f", "def f(:\n", "Runtime.UserCodeSyntaxError", "Syntax error in module 'app': invalid syntax (app.py, line 1)"},
		{"exception", "app.f", "1/0", "ZeroDivisionError", "division by zero"},
		{"exit", "app.f", "import sys; sys.exit(4)", "Runtime.ExitError", "Error: Runtime exited with error: exit status 4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := startGuest(t, map[string]string{"app.py": tt.code})
			c := g.connect()
			err := c.Init(g.ctx(), pythonFunction(tt.handler, time.Minute))
			var ie *agent.InitError
			if !errors.As(err, &ie) || thaw.CodeOf(err) != thaw.CodeFunction {
				t.Fatalf("got %v", err)
			}
			if ie.Type != tt.kind || ie.Message != tt.message {
				t.Errorf("got %+v", ie)
			}
			if r := g.invoke(c, "r1", "{}", time.Minute); !r.Finished || r.FunctionError != tt.kind {
				t.Errorf("invoke after that: %+v", r)
			}
		})
	}
}

// TestPythonPackages imports what was installed beside the code, after the code's own.
func TestPythonPackages(t *testing.T) {
	g := startGuest(t, map[string]string{
		"app.py": "import own, theirs, more\ndef handler(e, c): return [own.x, theirs.x, more.x]", "own.py": "x = 'own'",
		".packages/own.py": "x = 'theirs'", ".packages/theirs.py": "x = 'theirs'", "more/more.py": "x = 'more'",
	})
	c := g.connect()
	fn := pythonFunction("app.handler", time.Minute)
	fn.Settings.Env["PYTHONPATH"] = "/none:" + g.dir + "/task/more"
	if err := c.Init(g.ctx(), fn); err != nil {
		t.Fatal(err)
	}
	if r := g.invoke(c, "r1", "{}", time.Minute); string(r.Payload) != `["own", "theirs", "more"]` {
		t.Errorf("imported %s", r.Payload)
	}
}
