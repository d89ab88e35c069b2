package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"thaw"
	"thaw/gateway"
	"thaw/queue"
	"thaw/schedule"
)

// testDaemon runs serve on e until stop, and returns the address it wrote.
type testDaemon struct {
	addr   string
	engine *memoryEngine
	stderr *output
	stop   func() error // ends serve and returns what it ended with
}

func serveMemory(t *testing.T) *testDaemon {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir()) // nobody's own settings
	e, stdout, stderr := newMemoryEngine(), &output{}, &output{}
	a := &app{stdout: stdout, stderr: stderr}
	ctx, cancel := context.WithCancel(t.Context())
	f := serveFlags{listen: "127.0.0.1:0", state: "/state"}
	start := func(_ context.Context, _ serveFlags, observe observer, _ *slog.Logger) (engine, error) {
		e.observe = observe
		q, err := queue.Open(queue.Config{
			Path: filepath.Join(t.TempDir(), "queue.db"), Invoker: e, Deliver: gateway.NewCallbacks(),
			Limits: queue.DefaultLimits(), Retry: queue.Retry{MaxAge: time.Hour}, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return engine{}, err
		}
		s := schedule.Start(q, nil, slog.New(slog.DiscardHandler))
		stop := func(ctx context.Context) error { s.Close(); return errors.Join(q.Close(ctx), e.close(ctx)) }
		return engine{acceptor: q, queue: q, schedules: s, secrets: e, invoker: e, exchanger: e, deployer: e, publisher: e, journal: e, catalog: e, finder: e, versions: e, snapshots: e, verifier: e, monitor: e, prestarted: func() (int, bool) { return 0, true }, load: func() thaw.Load { return thaw.Load{} }, accelerator: func() string { return "none, in memory" }, close: stop}, nil
	}
	ended := make(chan error, 1)
	go func() { ended <- a.serve(ctx, f, start) }()
	stop := func() error {
		cancel()
		err := <-ended
		ended <- err
		return err
	}
	t.Cleanup(func() { stop() })
	return &testDaemon{addr: readyAddr(t, stdout), engine: e, stderr: stderr, stop: stop}
}

// readyAddr waits for the line that says where a daemon serves.
func readyAddr(t *testing.T, stdout *output) string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if line, _, ok := strings.Cut(stdout.String(), "\n"); ok {
			addr, found := strings.CutPrefix(line, "thaw: serving on http://")
			addr, rest, _ := strings.Cut(addr, ";")
			if !found || rest != " state /state; accelerator none, in memory" {
				t.Fatalf("ready line %q", line)
			}
			return addr
		}
	}
	t.Fatal("serve does not become ready")
	return ""
}

// outcome is how a command ended.
type outcome struct {
	exit           int
	stdout, stderr string
}

func (d *testDaemon) thaw(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	var stdout, stderr output
	exit := run(t.Context(), append([]string{"--addr", d.addr}, args...), strings.NewReader(stdin), &stdout, &stderr)
	return outcome{exit, stdout.String(), stderr.String()}
}

// want fails unless the command ended with exit and said these words.
func (o outcome) want(t *testing.T, exit int, stdout, stderr string) {
	t.Helper()
	if o.exit != exit || !strings.Contains(o.stdout, stdout) || !strings.Contains(o.stderr, stderr) {
		t.Errorf("exit %d, want %d\nstdout %q, want %q\nstderr %q, want %q", o.exit, exit, o.stdout, stdout, o.stderr, stderr)
	}
}

func pythonFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app.py"), []byte("def handler(e, c): return e\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLifeOfAFunction(t *testing.T) {
	d := serveMemory(t)
	dir := pythonFolder(t)

	got := d.thaw(t, "", "deploy", "hello", dir, "--memory", "512MiB", "--env", "K=V", "--package", "python3-pil,python3-numpy", "--package", "python3-pil")
	got.want(t, 0, "hello version 1: python3, 512 MiB memory, code 8.0 KiB\n", "  build       12.3 ms  code disk built\n")
	if v := d.engine.functions["hello"]; v.MemoryBytes != 512<<20 || v.Env["K"] != "V" || v.Timeout != thaw.DefaultTimeout || v.Handler != "app.handler" {
		t.Errorf("%+v", v)
	}
	if got, want := d.engine.functions["hello"].Packages, []string{"python3-numpy", "python3-pil"}; !slices.Equal(got, want) {
		t.Errorf("packages %q, want %q", got, want)
	}
	if files := d.engine.files["hello"]; len(files) != 1 || files[0] != "app.py" {
		t.Errorf("files %v", files)
	}
	d.thaw(t, "", "ls").want(t, 0, "hello     1        python3  512 MiB  8.0 KiB  snapshot  now", "")
	d.thaw(t, "", "ps").want(t, 0, "i-1       hello     1        idle   cold   reap    42   20 MiB  ~0 B  1       now", "")
	d.thaw(t, "", "invoke", "hello", "-d", `{"a":1}`).want(t, 0, `{"a":1}`, "")
	d.thaw(t, "", "describe", "hello").want(t, 0, "615 pages, 2.4 MiB", "")
	d.thaw(t, "", "describe", "hello").want(t, 0, "python3-numpy python3-pil", "")
	d.thaw(t, "", "describe", "hello").want(t, 0, "cold  auto    150.0        1        3      2         600  4.0 KiB  inv-1\n", "")
	d.thaw(t, "", "logs", "hello").want(t, 0, "i-1 stdout   hi \uFFFD[31mred\n", "")
	d.thaw(t, "", "rm", "hello").want(t, 0, "hello removed\n", "")
	for _, verb := range []string{"rm", "describe", "logs", "invoke"} {
		d.thaw(t, "", verb, "hello").want(t, 3, "", "thaw: function hello does not exist\n")
	}
	d.thaw(t, "", "ls", "-o", "json").want(t, 0, "[]\n", "")
}

func TestDeployOutputs(t *testing.T) {
	d := serveMemory(t)
	dir := pythonFolder(t)
	got := d.thaw(t, "", "deploy", "hello", dir, "-o", "json")
	if lines := strings.Split(strings.TrimSpace(got.stdout), "\n"); got.exit != 0 || got.stderr != "" || len(lines) != 4 || !strings.Contains(lines[3], `"result":{"function":"hello"`) {
		t.Errorf("%+v", got)
	}
	got = d.thaw(t, "", "deploy", "hello", dir, "--env", "FAIL=no module named x")
	got.want(t, 1, "", "thaw: init failed: no module named x\n")
	if got.stdout != "" || !strings.Contains(got.stderr, "starting the runtime (not finished)") {
		t.Errorf("%+v", got)
	}
	d.thaw(t, "", "deploy", "hello", dir, "--env", "PROBLEM=no space").want(t, 0, "hello version 2", "thaw: warning: no snapshot, every start of hello is a boot: no space\n")
}

// TestNamesAlone has what -q prints: what other commands take.
func TestNamesAlone(t *testing.T) {
	d := serveMemory(t)
	for range 2 {
		got := d.thaw(t, "", "deploy", "hello", pythonFolder(t), "-q")
		if want := fmt.Sprintf("hello:%d\n", d.engine.functions["hello"].Number); got != (outcome{0, want, ""}) {
			t.Errorf("%+v, want %q", got, want)
		}
	}
	d.thaw(t, "", "alias", "set", "hello", "live", "1").want(t, 0, "", "")
	d.thaw(t, "", "schedule", "set", "hello", "@hourly", "--name", "tick").want(t, 0, "", "")
	for args, want := range map[string]string{
		"ls": "hello\n", "ps": "i-1\n", "versions hello": "hello:2\nhello:1\n", "alias ls hello": "hello:live\n",
		"schedule ls": "tick\n", "queue ls": "", "queue dlq ls": "",
	} {
		if got := d.thaw(t, "", append(strings.Fields(args), "-q")...); got != (outcome{0, want, ""}) {
			t.Errorf("%s -q: %+v, want %q", args, got, want)
		}
	}
	snapshots := d.thaw(t, "", "snapshot", "ls", "-q")
	for id := range strings.Lines(snapshots.stdout) {
		if err := thaw.CheckSnapshotID(strings.TrimSpace(id)); err != nil {
			t.Error(err)
		}
	}
}

// TestYAML compares what -o yaml prints with what -o json does.
func TestYAML(t *testing.T) {
	d := serveMemory(t)
	d.thaw(t, "", "deploy", "hello", pythonFolder(t), "--env", "VERSION=1.10", "--env", "YES=yes").want(t, 0, "", "")
	for _, args := range []string{"ls", "ps", "describe hello", "versions hello", "snapshot ls", "queue ls", "version"} {
		asJSON := d.thaw(t, "", append(strings.Fields(args), "-o", "json")...)
		asYAML := d.thaw(t, "", append(strings.Fields(args), "-o", "yaml")...)
		var want, got any
		now := regexp.MustCompile(`20\d\d-[-0-9T:.]+Z`) // which goes on
		asJSON.stdout, asYAML.stdout = now.ReplaceAllString(asJSON.stdout, "now"), now.ReplaceAllString(asYAML.stdout, "now")
		if err := json.Unmarshal([]byte(asJSON.stdout), &want); err != nil {
			t.Fatalf("%s: %v in %s", args, err, asJSON.stdout)
		}
		if err := yaml.Load([]byte(asYAML.stdout), &got); err != nil {
			t.Fatalf("%s: %v in %s", args, err, asYAML.stdout)
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(again, &got); err != nil || !cmp.Equal(want, got) {
			t.Errorf("%s: %v\n%s", args, err, cmp.Diff(want, got))
		}
	}
	d.thaw(t, "", "invoke", "hello", "-d", `{"b": [1, "2"], "a": null}`, "-o", "yaml").want(t, 0, "response:\n  b:\n  - 1\n  - '2'\n  a: null\n", "")
	d.thaw(t, "", "logs", "hello", "-o", "yaml").want(t, 0, "---\ntime: ", "")
}

func TestInvokeOutputs(t *testing.T) {
	d := serveMemory(t)
	d.thaw(t, "", "deploy", "hello", pythonFolder(t)).want(t, 0, "", "")
	event := filepath.Join(t.TempDir(), "event.json")
	if err := os.WriteFile(event, []byte(`[1]`), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		stdin string
		args  []string
		want  outcome
	}{
		{"nothing", "", nil, outcome{0, "{}", ""}},
		{"data", "", []string{"-d", `"ü <b>"`}, outcome{0, `"ü <b>"`, ""}},
		{"file", "", []string{"-f", event}, outcome{0, `[1]`, ""}},
		{"standard input", `{"x": null}`, []string{"-"}, outcome{0, `{"x": null}`, ""}},
		{"function error", "", []string{"-d", `"raise"`}, outcome{1, `{"errorType":"ValueError","errorMessage":"bad\nvalue"}`, "thaw: function hello failed: ValueError: bad | value\n"}},
		{"throttled", "", []string{"-d", `"busy"`}, outcome{6, "", "thaw: all VMs are busy: try again\n"}},
		{"dead VM", "", []string{"-d", `"die"`}, outcome{4, "", "thaw: the VM ended: last words:\nKernel panic\nEnd\n"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := d.thaw(t, test.stdin, append([]string{"invoke", "hello"}, test.args...)...); got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
	d.thaw(t, "", "invoke", "hello", "-d", `"bug"`).want(t, 4, "", "see the daemon's log")
	if !strings.Contains(d.stderr.String(), "index out of range") {
		t.Error("the log lacks the detail of an internal error")
	}
}

func TestInvokeJSON(t *testing.T) {
	d := serveMemory(t)
	d.thaw(t, "", "deploy", "hello", pythonFolder(t)).want(t, 0, "", "")
	invoke := func(exit int, args ...string) (m map[string]any) {
		t.Helper()
		got := d.thaw(t, "", append([]string{"invoke", "hello", "-o", "json"}, args...)...)
		if err := json.Unmarshal([]byte(got.stdout), &m); err != nil || got.exit != exit {
			t.Fatalf("%+v: %v", got, err)
		}
		return m
	}
	m := invoke(0, "-d", `{"a":1}`, "--policy", "vanilla", "--cold")
	for key, want := range map[string]string{
		"response": `{"a":1}`, "start": `"cold"`, "policy": `"vanilla"`, "duration_ms": `150`, "phases_ms": `{"invoke":20,"vmm":50}`,
		"faults": `{"major":2,"minor":1,"trapped":3}`, "pages_prefetched": `600`, "bytes_read": `4096`, "instance": `"i-1"`, "version": `1`,
	} {
		if got, err := json.Marshal(m[key]); err != nil || string(got) != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
	if m := invoke(0, "-d", `"text"`); m["response"] != "not JSON" {
		t.Errorf("response %v", m["response"])
	}
	m = invoke(1, "-d", `"raise"`)
	if e, ok := m["response"].(map[string]any); !ok || e["errorType"] != "ValueError" || m["function_error"] != "ValueError" {
		t.Errorf("%v", m)
	}
}

func TestInterrupted(t *testing.T) {
	d := serveMemory(t)
	d.engine.hold = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	var stdout, stderr output
	exit := run(ctx, []string{"--addr", d.addr, "invoke", "hello"}, strings.NewReader(""), &stdout, &stderr)
	close(d.engine.hold)
	outcome{exit, stdout.String(), stderr.String()}.want(t, 130, "", "thaw: interrupted\n")
}

func TestServeStops(t *testing.T) {
	d := serveMemory(t)
	d.thaw(t, "", "deploy", "hello", pythonFolder(t)).want(t, 0, "", "")
	d.engine.hold = make(chan struct{})
	running := make(chan outcome, 1)
	go func() { running <- d.thaw(t, "", "invoke", "hello") }()
	time.Sleep(50 * time.Millisecond) // until it waits in the engine
	stopped := make(chan error, 1)
	go func() { stopped <- d.stop() }()
	time.Sleep(50 * time.Millisecond)
	close(d.engine.hold)
	(<-running).want(t, 0, "{}", "")
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if !d.engine.closed {
		t.Error("the engine was not closed")
	}
	d.thaw(t, "", "ls").want(t, 5, "", "start one with `thaw serve`")
}

func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for addr, want := range map[string]struct {
		code thaw.Code
		text string
	}{
		l.Addr().String():  {thaw.CodeUnavailable, "is in use: stop the other program"},
		"192.0.2.1:80":     {thaw.CodeUnavailable, "choose another address with --listen"},
		"127.0.0.1":        {thaw.CodeInvalid, "write host:port"},
		"127.0.0.1:seven":  {thaw.CodeInvalid, "write host:port"},
		"127.0.0.1:700000": {thaw.CodeInvalid, "write host:port"},
	} {
		_, err := listen(t.Context(), addr)
		if thaw.CodeOf(err) != want.code || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestCompletion(t *testing.T) {
	d := serveMemory(t)
	d.thaw(t, "", "deploy", "hello", pythonFolder(t)).want(t, 0, "", "")
	d.thaw(t, "", "deploy", "hello", pythonFolder(t)).want(t, 0, "", "")
	d.thaw(t, "", "deploy", "other", pythonFolder(t)).want(t, 0, "", "")
	d.thaw(t, "", "alias", "set", "hello", "live", "1").want(t, 0, "", "")
	d.thaw(t, "", "schedule", "set", "hello", "@hourly", "--name", "tick").want(t, 0, "", "")
	names := []string{"hello", "other"}
	refs := []string{"hello:live", "hello:2", "hello:1", "hello:$LATEST"}
	for _, c := range []struct {
		line string // up to what the shell asks for
		want []string
	}{
		{"invoke ", names}, {"invoke o", []string{"other"}}, {"invoke hello:", refs}, {"invoke hello:l", []string{"hello:live"}}, {"invoke nope:", nil}, {"invoke hello ", nil},
		{"describe ", names}, {"describe hello:", refs}, {"logs hello:", refs}, {"rm hello:", refs}, {"explain hello:", refs}, {"schedule set hello:", refs},
		{"bench hello other:", []string{"other:1", "other:$LATEST"}}, {"bench hello ", []string{"other"}}, {"bench replay hello:", refs}, {"bench peers hello:", refs},
		{"versions ", names}, {"versions hello:", nil}, {"ls ", names},
		{"rollback ", names}, {"rollback hello ", []string{"2", "1"}},
		{"alias ls ", names}, {"alias set ", names}, {"alias set hello ", []string{"live"}}, {"alias set hello live ", []string{"2", "1"}}, {"alias rm hello ", []string{"live"}},
		{"diff ", names}, {"diff hello ", []string{"live", "2", "1", "$LATEST"}}, {"diff hello 1 ", []string{"live", "2", "$LATEST"}},
		{"schedule rm ", []string{"tick"}}, {"queue show ", nil},
		{"snapshot inspect hel", []string{"hello"}}, {"snapshot verify hello:", refs},
		{"deploy ", names}, {"deploy ./", nil}, {"deploy hello ", nil},
		{"bench suite hello", []string{"helloworld"}},
		{"config set ", []string{"addr", "output", "policy", "state"}}, {"config set output ", formats()}, {"config unset o", []string{"output"}},
	} {
		words := strings.Split(c.line, " ")
		if got := offered(d.thaw(t, "", append([]string{"__complete"}, words...)...)); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.line, got, c.want)
		}
	}
	d.thaw(t, "", "__complete", "deploy", "./").want(t, 0, ":16\n", "") // folders
	d.thaw(t, "", "__complete", "invoke", "--policy", "").want(t, 0, "auto\nboot\nvanilla\neager\n", "")
}

// offered are the words of a completion, without their descriptions.
func offered(o outcome) (all []string) {
	for line := range strings.Lines(o.stdout) {
		if word, _, _ := strings.Cut(strings.TrimSpace(line), "\t"); !strings.HasPrefix(word, ":") {
			all = append(all, word)
		}
	}
	return all
}

// TestQueueCommands takes an invocation to the dead letters and back.
func TestQueueCommands(t *testing.T) {
	d := serveMemory(t)
	d.thaw(t, "", "deploy", "hello", pythonFolder(t)).want(t, 0, "", "")
	got := d.thaw(t, "", "invoke", "hello", "--async", "-d", `"raise"`)
	id := strings.TrimSpace(got.stdout)
	got.want(t, 0, "-", "")
	list := func(want string) func() bool {
		return func() bool { return strings.Contains(d.thaw(t, "", "queue", "dlq", "ls").stdout, want) }
	}
	wait := func(done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("not after a minute")
			}
		}
	}
	wait(list(id + "  hello     invoke  lambda  dead   now       1         7 B   the function failed 1 times: ValueError: bad | value"))
	d.thaw(t, "", "queue", "show", id).want(t, 0, `"payload": "raise"`, "")
	d.thaw(t, "", "queue", "redrive", id).want(t, 0, "1 redriven\n", "")
	wait(list(id))
	d.thaw(t, "", "queue", "purge", "--all").want(t, 0, "1 purged\n", "")
	d.thaw(t, "", "queue", "show", id).want(t, 3, "", "no item "+id)
	d.thaw(t, "", "schedule", "set", "hello", "@hourly", "--name", "tick").want(t, 0, "tick invokes hello next at 2", "")
	d.thaw(t, "", "schedule", "ls").want(t, 0, "tick      hello     @hourly", "")
	d.thaw(t, "", "alias", "set", "hello", "live", "1").want(t, 0, "", "")
	d.thaw(t, "", "schedule", "set", "hello:live", "@hourly").want(t, 0, "hello invokes hello:live next at 2", "")
	d.thaw(t, "", "schedule", "set", "hello:beta", "@hourly").want(t, 3, "", "beta")
	d.thaw(t, "", "schedule", "ls").want(t, 0, "hello     hello:live  @hourly", "")
	d.thaw(t, "", "invoke", "hello:live", "--async").want(t, 0, "-", "")
	d.thaw(t, "", "invoke", "hello:9", "--async").want(t, 3, "", "9")
	d.thaw(t, "", "schedule", "rm", "tick").want(t, 0, "tick removed\n", "")
	d.thaw(t, "", "schedule", "rm", "tick").want(t, 3, "", "does not exist")
}
