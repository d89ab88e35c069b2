package guest_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"thaw"
	"thaw/agent"
)

const index = `
const fs = require('fs');
console.log('loading');

exports.echo = async (event) => event;
exports.nested = { deep: { echo: exports.echo } };

exports.about = async (event, context) => ({
  name: context.functionName, version: context.functionVersion, arn: context.invokedFunctionArn,
  memory: context.memoryLimitInMB, id: context.awsRequestId, group: context.logGroupName,
  stream: context.logStreamName, left: context.getRemainingTimeInMillis(),
  colour: process.env.COLOUR, cwd: process.cwd(), gc: typeof gc, socket: process.env.THAW_RUNTIME_SOCKET,
});

exports.talk = async () => {
  console.log('one');
  console.error('two');
  process.stdout.write('no end');
};

exports.callback = (event, context, callback) => {
  context.callbackWaitsForEmptyEventLoop = event.waits;
  let last = 'not yet';
  setTimeout(() => { last = 'done'; }, 50);
  const reply = { toJSON: () => last };
  setTimeout(() => callback(event.error, reply), 1);
};
exports.legacy = (event, context) => context[event.how](event.error ?? null, 'a reply');
exports.succeed = (event, context) => context.succeed('a reply');
exports.silent = () => {};
exports.pending = () => new Promise(() => {});

exports.boom = async (event) => { throw new TypeError('bad things: ' + event.what); };
exports.boomAtOnce = (event) => { throw new TypeError('bad things: ' + event.what); };
exports.text = async () => { throw 'a text'; };
exports.slow = async () => { console.log('sleeping'); await new Promise((resolve) => setTimeout(resolve, 60000)); };
exports.leave = async (event) => { console.log('leaving'); process.exit(event); };
exports.circular = async () => { const a = {}; a.a = a; return a; };
exports.big = async (event) => 'x'.repeat(event);
exports.forgotten = async () => { Promise.reject(new RangeError('nobody listens')); await new Promise((resolve) => setTimeout(resolve, 60000)); };
exports.later = async () => { setTimeout(() => { throw new RangeError('nobody is there'); }, 1); await new Promise((resolve) => setTimeout(resolve, 60000)); };
exports.nothing = undefined;
exports.value = 1;
`

const esm = `
import { readFileSync } from 'node:fs';
await 0;
export const handler = async (event) => ({ event, size: readFileSync(new URL(import.meta.url)).length > 0 });
`

func nodeFunction(handler string, timeout time.Duration) agent.Function {
	fn := pythonFunction(handler, timeout)
	fn.Settings.Runtime = thaw.RuntimeNode
	return fn
}

func startNode(t *testing.T, files map[string]string) (*testGuest, *agent.Conn) {
	t.Helper()
	if node(t) == "" {
		t.Skip("node is not installed: apt-get install nodejs")
	}
	g := startGuest(t, files)
	return g, g.connect()
}

func readyNode(t *testing.T, handler string, timeout time.Duration) (*testGuest, *agent.Conn) {
	t.Helper()
	g, c := startNode(t, map[string]string{"index.js": index, "dir/my-mod.mjs": esm, "typed/package.json": `{"type": "module"}`, "typed/index.js": esm, "old/index.cjs": index})
	if err := c.Init(g.ctx(), nodeFunction(handler, timeout)); err != nil {
		t.Fatal(err)
	}
	return g, c
}

func TestNodeReplies(t *testing.T) {
	tests := []struct{ name, handler, event, want string }{
		{"echo", "index.echo", `{"a":[1,2.5,null]}`, `{"a":[1,2.5,null]}`},
		{"unicode", "index.echo", `"héllo 😀"`, `"héllo 😀"`},
		{"nested", "index.nested.deep.echo", `0`, `0`},
		{"mjs", "dir/my-mod.handler", `1`, `{"event":1,"size":true}`},
		{"type module", "typed/index.handler", `1`, `{"event":1,"size":true}`},
		{"cjs", "old/index.echo", `1`, `1`},
		{"callback waits", "index.callback", `{"waits":true}`, `"done"`},
		{"callback does not wait", "index.callback", `{"waits":false}`, `"not yet"`},
		{"succeed", "index.succeed", `{}`, `"a reply"`},
		{"done", "index.legacy", `{"how":"done"}`, `"a reply"`},
		{"silent", "index.silent", `{}`, `null`},
		{"pending", "index.pending", `{}`, `null`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, c := readyNode(t, tt.handler, time.Minute)
			for range 2 {
				r := g.invoke(c, "r1", tt.event, time.Minute)
				if string(r.Payload) != tt.want || r.FunctionError != "" || r.Finished {
					t.Errorf("got %q %q %v", r.Payload, r.FunctionError, r.Finished)
				}
			}
		})
	}
}

func TestNodeContext(t *testing.T) {
	g, c := readyNode(t, "index.about", 5*time.Second)
	r := g.invoke(c, "req-1", "{}", 5*time.Second)
	var got map[string]any
	if err := json.Unmarshal(r.Payload, &got); err != nil {
		t.Fatalf("%q: %v", r.Payload, err)
	}
	if left := got["left"].(float64); left < 1000 || left > 5000 {
		t.Errorf("remaining time %v ms", left)
	}
	want := map[string]any{
		"name": "f", "version": "7", "arn": "arn:aws:lambda:local:000000000000:function:f:7", "memory": "256", "id": "req-1",
		"group": "/aws/lambda/f", "stream": "f/[7]", "colour": "blue", "cwd": g.dir + "/task", "gc": "undefined", "socket": nil,
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %v, not %v", k, got[k], v)
		}
	}
}

func TestNodeLogs(t *testing.T) {
	g, c := readyNode(t, "index.talk", time.Minute)
	g.invoke(c, "r1", "{}", time.Minute)
	var got []string
	for _, l := range g.lines() {
		got = append(got, l.Stream+" "+l.RequestID+" "+l.Text)
	}
	for _, want := range []string{"stdout  loading", "stdout r1 one", "stderr r1 two", "stdout r1 no end"} {
		if !slices.Contains(got, want) {
			t.Errorf("no line %q in %q", want, got)
		}
	}
}

func TestNodeErrors(t *testing.T) {
	tests := []struct{ name, handler, event, kind, message, trace string }{
		{"rejected", "index.boom", `{"what":"no"}`, "TypeError", "bad things: no", "exports.boom"},
		{"thrown", "index.boomAtOnce", `{"what":"no"}`, "TypeError", "bad things: no", "exports.boomAtOnce"},
		{"no error", "index.text", `{}`, "string", "a text", ""},
		{"callback", "index.callback", `{"error":"bad"}`, "string", "bad", ""},
		{"fail", "index.legacy", `{"how":"fail","error":"bad"}`, "string", "bad", ""},
		{"reply is no JSON", "index.circular", `{}`, "Runtime.MarshalError", "circular structure", ""},
		{"event is no JSON", "index.echo", `{`, "Runtime.UnmarshalError", "Unable to unmarshal input", ""},
		{"too big", "index.big", `6291455`, thaw.ErrorTypeTooBig, "exceeded", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, c := readyNode(t, tt.handler, time.Minute)
			for range 2 { // the runtime serves on
				r := g.invoke(c, "r1", tt.event, time.Minute)
				fe := functionError(t, r)
				if fe.Type != tt.kind || !strings.Contains(fe.Message, tt.message) || r.Finished {
					t.Errorf("got %+v, finished %v", fe, r.Finished)
				}
				if tt.trace != "" && (!strings.Contains(string(r.Payload), `"trace":["TypeError: bad things`) || !strings.Contains(string(r.Payload), tt.trace)) {
					t.Errorf("no trace in %s", r.Payload)
				}
			}
		})
	}
}

func TestNodeEnds(t *testing.T) {
	tests := []struct {
		name, handler, event string
		timeout              time.Duration
		kind, message        string
	}{
		{"timeout", "index.slow", "{}", 300 * time.Millisecond, thaw.ErrorTypeTimeout, "RequestId: r1 Error: Task timed out after 0.30 seconds"},
		{"exit", "index.leave", "3", time.Minute, thaw.ErrorTypeExit, "RequestId: r1 Error: Runtime exited with error: exit status 3"},
		{"unhandled rejection", "index.forgotten", "{}", time.Minute, "Runtime.UnhandledPromiseRejection", "RangeError: nobody listens"},
		{"uncaught exception", "index.later", "{}", time.Minute, "RangeError", "nobody is there"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, c := readyNode(t, tt.handler, tt.timeout)
			r := g.invoke(c, "r1", tt.event, tt.timeout)
			fe := functionError(t, r)
			if fe.Type != tt.kind || fe.Message != tt.message || !r.Finished {
				t.Errorf("got %+v, finished %v", fe, r.Finished)
			}
			if r := g.invoke(c, "r2", "{}", time.Minute); !r.Finished || r.FunctionError != tt.kind {
				t.Errorf("after the end: %+v", r)
			}
		})
	}
}

func TestNodeInitFailures(t *testing.T) {
	tests := []struct{ name, handler, code, kind, message string }{
		{"no module", "nothing.f", "", "Runtime.ImportModuleError", "Error: Cannot find module 'nothing'"},
		{"no dependency", "index.f", "require('missing-thing')", "Runtime.ImportModuleError", "Error: Cannot find module 'missing-thing'"},
		{"no handler", "index.g", "exports.f = () => {}", "Runtime.HandlerNotFound", "index.g is undefined or not exported"},
		{"not a function", "index.g", "exports.g = 1", "Runtime.HandlerNotFound", "index.g is not a function"},
		{"syntax", "index.f", "exports.f = )", "Runtime.UserCodeSyntaxError", "SyntaxError: Unexpected token"},
		{"exception", "index.f", "null.x", "TypeError", "Cannot read properties of null"},
		{"rejection", "index.f", "Promise.reject(new Error('lost')); exports.f = () => {}", "Runtime.UnhandledPromiseRejection", "Error: lost"},
		{"exit", "index.f", "process.exit(4)", "Runtime.ExitError", "Error: Runtime exited with error: exit status 4"},
		{"hook", "index.f", "thaw.beforeSnapshot(async () => { throw new Error('no') }); exports.f = () => {}", "Error", "no"},
		{"no hook", "index.f", "thaw.afterRestore(1)", "TypeError", "a hook is a function"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, c := startNode(t, map[string]string{"index.js": tt.code})
			fn := nodeFunction(tt.handler, time.Minute)
			fn.SnapStart = true
			err := c.Init(g.ctx(), fn)
			var ie *agent.InitError
			if !errors.As(err, &ie) || thaw.CodeOf(err) != thaw.CodeFunction {
				t.Fatalf("got %v", err)
			}
			if ie.Type != tt.kind || !strings.HasPrefix(ie.Message, tt.message) {
				t.Errorf("got %+v", ie)
			}
		})
	}
}

const nodeHooked = `
const order = [];
thaw.beforeSnapshot(() => { order.push('before 1'); });
thaw.beforeSnapshot(async () => { await 0; order.push('before 2'); });
thaw.afterRestore(async () => { await 0; order.push('after 1'); });
thaw.afterRestore(() => { order.push('after 2'); });
exports.handler = async () => order;
`

func TestNodeHooks(t *testing.T) {
	if node(t) == "" {
		t.Skip("node is not installed: apt-get install nodejs")
	}
	g := startGuest(t, map[string]string{"index.js": nodeHooked})
	host := g.port.attach(t)
	c := g.open(host)
	fn := nodeFunction("index.handler", time.Minute)
	fn.SnapStart = true
	if err := c.Init(g.ctx(), fn); err != nil {
		t.Fatal(err)
	}
	if err := c.Quiesce(g.ctx()); err != nil {
		t.Fatal(err)
	}
	abandon(t, g, c, host)
	c = g.connect()
	if _, err := c.Resume(g.ctx(), "clone-1"); err != nil {
		t.Fatal(err)
	}
	r := g.invoke(c, "r1", "{}", time.Minute)
	if string(r.Payload) != `["before 2","before 1","after 1","after 2"]` {
		t.Errorf("hooks ran as %s", r.Payload)
	}
}

// random draws in every way in which Node.js keeps something in advance.
const random = `
const crypto = require('crypto');
const native = /native code/.test(Function.prototype.toString.call(Math.random));
exports.handler = async () => ({
  uuid: crypto.randomUUID(), native, numbers: Array.from({ length: 1000 }, () => Math.random()),
});
`

func TestNodeRandom(t *testing.T) {
	g, c := startNode(t, map[string]string{"index.js": random})
	if err := c.Init(g.ctx(), nodeFunction("index.handler", time.Minute)); err != nil {
		t.Fatal(err)
	}
	var got struct {
		UUID    string
		Native  bool
		Numbers []float64
	}
	if err := json.Unmarshal(g.invoke(c, "r1", "{}", time.Minute).Payload, &got); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^[0-9a-f-]{36}$`).MatchString(got.UUID) || got.Native {
		t.Errorf("got %q, native %v", got.UUID, got.Native)
	}
	slices.Sort(got.Numbers)
	sum := 0.0
	for _, n := range got.Numbers {
		sum += n
	}
	// 1000 numbers from 0 to 1, all different, with a mean within 10 standard deviations.
	if n := got.Numbers; n[0] < 0 || n[999] >= 1 || len(slices.Compact(n)) != 1000 || sum < 400 || sum > 600 {
		t.Errorf("%v to %v, mean %v", n[0], n[999], sum/1000)
	}
}
