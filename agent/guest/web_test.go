package guest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"thaw"
	"thaw/agent"
)

// buildServer returns the path of the compiled testdata/server.
func buildServer(t *testing.T) string {
	t.Helper()
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("the go command is not in PATH: add it, such as PATH=$PATH:/usr/local/go/bin")
	}
	path := filepath.Join(t.TempDir(), "bootstrap")
	cmd := exec.CommandContext(t.Context(), goTool, "build", "-o", path, "./testdata/server")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build server: %v\n%s", err, out)
	}
	return path
}

// startServer starts the test server as a function.
func startServer(t *testing.T, binary string, change func(*agent.Function)) (*testGuest, *agent.Conn, error) {
	t.Helper()
	g := startGuest(t, nil)
	if err := os.Symlink(binary, filepath.Join(g.dir, "task", "bootstrap")); err != nil {
		t.Fatal(err)
	}
	fn := agent.Function{Name: "web", Version: 3, Settings: thaw.Settings{Runtime: thaw.RuntimeHTTP, Timeout: time.Minute, Concurrency: 8}}
	if change != nil {
		change(&fn)
	}
	c := g.connect()
	return g, c, c.Init(g.ctx(), fn)
}

// answer collects a reply.
type answer struct {
	thaw.HTTPReply
	body    bytes.Buffer
	trailer []thaw.HTTPField
	onWrite func([]byte) error
}

func (a *answer) Head(r thaw.HTTPReply) error { a.HTTPReply = r; return nil }
func (a *answer) Write(p []byte) (int, error) {
	if a.onWrite != nil {
		if err := a.onWrite(p); err != nil {
			return 0, err
		}
	}
	return a.body.Write(p)
}
func (a *answer) Trailer(f []thaw.HTTPField) error { a.trailer = f; return nil }

func (a *answer) get(name string) string {
	for _, f := range a.Header {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

func request(method, target string, body io.Reader, length int64) agent.Request {
	r := agent.Request{RequestID: "r", Deadline: time.Now().Add(time.Minute), HTTPRequest: thaw.HTTPRequest{
		Method: method, Target: target, Length: length, Header: []thaw.HTTPField{{Name: "Host", Value: "example.com"}, {Name: "X-A", Value: "b"}},
	}}
	if body != nil {
		r.Body = io.NopCloser(body)
	}
	return r
}

func (g *testGuest) exchange(c *agent.Conn, r agent.Request) *answer {
	g.t.Helper()
	a := &answer{}
	done, err := c.Exchange(g.ctx(), r, a)
	if err != nil || done.Failure != nil {
		g.t.Fatalf("%s %s: %+v, %v", r.Method, r.Target, done.Failure, err)
	}
	return a
}

func TestExchange(t *testing.T) {
	g, c, err := startServer(t, buildServer(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("Echo", func(t *testing.T) {
		for _, length := range []int64{0, 1, 5000, 300_000} {
			for _, known := range []bool{true, false} {
				body := bytes.Repeat([]byte{0, 1, 0xf5, 't', 'h', 'a', 'w', 0xff}, int(length/8)+1)[:length]
				r := request("PUT", "/echo/a%2Fb?c=d&status=201", bytes.NewReader(body), length)
				if !known {
					r.Length = -1
				}
				a := g.exchange(c, r)
				var head struct {
					Method, Path, Query, Host string
					Length                    int64
					Header                    http.Header
				}
				if err := json.Unmarshal([]byte(a.get("x-request")), &head); err != nil {
					t.Fatal(err)
				}
				if a.Status != 201 || !bytes.Equal(a.body.Bytes(), body) || a.get("Content-Type") != "application/x-echo" {
					t.Errorf("%d bytes: status %d, %d bytes", length, a.Status, a.body.Len())
				}
				if head.Method != "PUT" || head.Path != "/echo/a%2Fb" || head.Query != "c=d&status=201" || head.Host != "example.com" || head.Header.Get("X-A") != "b" {
					t.Errorf("the server saw %+v", head)
				}
				if known && head.Length != length || !known && head.Length != -1 {
					t.Errorf("the server saw a length of %d", head.Length)
				}
			}
		}
	})
	t.Run("NoBody", func(t *testing.T) {
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "OPTIONS"} {
			if a := g.exchange(c, request(method, "/echo/", nil, 0)); a.Status != 200 || a.body.Len() != 0 || a.get("Set-Cookie") != "a=1" {
				t.Errorf("%s: %d, %q", method, a.Status, a.body.String())
			}
		}
		for _, status := range []int{204, 304} {
			if a := g.exchange(c, request("GET", fmt.Sprintf("/echo/?status=%d", status), nil, 0)); a.Status != status {
				t.Errorf("status %d, want %d", a.Status, status)
			}
		}
	})
	t.Run("Trailer", func(t *testing.T) {
		a := g.exchange(c, request("GET", "/events?n=2&pause=1ms", nil, 0))
		if a.body.String() != "data: 0\n\ndata: 1\n\n" || len(a.trailer) != 1 || a.trailer[0] != (thaw.HTTPField{Name: "X-Sum", Value: "2"}) {
			t.Errorf("%q %v", a.body.String(), a.trailer)
		}
	})
	t.Run("EarlyReply", func(t *testing.T) {
		r, w := io.Pipe() // a body that never ends
		defer w.Close()
		q := request("POST", "/early", nil, -1)
		q.Body = r
		if a := g.exchange(c, q); a.Status != 403 || a.body.String() != "no" {
			t.Errorf("%d %q", a.Status, a.body.String())
		}
	})
	t.Run("Large", func(t *testing.T) {
		for _, query := range []string{"", "&length"} {
			a := g.exchange(c, request("GET", fmt.Sprintf("/bytes?n=%d%s", 20<<20, query), nil, 0))
			if a.body.Len() != 20<<20 || a.body.Bytes()[9<<20+5] != 35 {
				t.Errorf("%d bytes", a.body.Len())
			}
		}
		a := g.exchange(c, request("POST", "/sink", io.LimitReader(zeroes{}, 20<<20), -1))
		if !strings.Contains(a.body.String(), `"bytes":20971520`) {
			t.Error(a.body.String())
		}
	})
	t.Run("Environment", func(t *testing.T) {
		a := g.exchange(c, request("GET", "/env", nil, 0))
		for _, want := range []string{`"PORT=`, `"K_SERVICE=web"`, `"K_REVISION=web-00003"`, `"K_CONFIGURATION=web"`} {
			if !strings.Contains(a.body.String(), want) {
				t.Errorf("%s is not in %s", want, a.body.String())
			}
		}
		if strings.Contains(a.body.String(), "AWS_LAMBDA_RUNTIME_API") {
			t.Error("an HTTP server is told of a Runtime API")
		}
	})
	t.Run("NoInvocations", func(t *testing.T) {
		_, err := c.Invoke(g.ctx(), agent.Invocation{RequestID: "i", Deadline: time.Now().Add(time.Minute)})
		if err == nil || !strings.Contains(err.Error(), "HTTP server") {
			t.Error(err)
		}
	})
	t.Run("BadRequests", func(t *testing.T) {
		for _, r := range []agent.Request{request("G T", "/", nil, 0), request("GET", "nopath", nil, 0), request("GET", "/a b", nil, 0), request("GET", "/\r\nX: y", nil, 0)} {
			if _, err := c.Exchange(g.ctx(), r, &answer{}); thaw.CodeOf(err) != thaw.CodeInvalid {
				t.Errorf("%q %q: %v", r.Method, r.Target, err)
			}
		}
	})
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Each piece of a reply comes as it is written, and a slow reader stops the server.
func TestExchangeStreams(t *testing.T) {
	g, c, err := startServer(t, buildServer(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	a := &answer{}
	ctx, cancel := context.WithCancel(g.ctx())
	defer cancel()
	a.onWrite = func(p []byte) error {
		if seen++; seen == 3 {
			cancel()
		}
		return nil
	}
	_, err = c.Exchange(ctx, request("GET", "/events?n=1000&pause=10ms", nil, 0), a)
	if !errors.Is(err, agent.ErrClient) || !strings.HasPrefix(a.body.String(), "data: 0\n\ndata: 1\n\n") || a.body.Len() > 200 {
		t.Errorf("%v, %q", err, a.body.String())
	}
	if n := g.exchange(c, request("GET", "/echo/", nil, 0)); n.Status != 200 {
		t.Errorf("after a client that went away: %d", n.Status)
	}
}

// A client that goes away ends the request in the server.
func TestExchangeAborted(t *testing.T) {
	g, c, err := startServer(t, buildServer(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(g.ctx())
	go func() {
		waitFor(t, func() bool {
			return strings.Contains(g.exchange(c, request("GET", "/counts", nil, 0)).body.String(), `"active":2`)
		})
		cancel()
	}()
	if _, err := c.Exchange(ctx, request("GET", "/wait?n=99", nil, 0), &answer{}); !errors.Is(err, agent.ErrClient) {
		t.Errorf("got %v", err)
	}
	waitFor(t, func() bool {
		return strings.Contains(g.exchange(c, request("GET", "/counts", nil, 0)).body.String(), `"aborted":1`)
	})
	_, err = c.Exchange(g.ctx(), request("POST", "/sink", io.MultiReader(strings.NewReader("a"), badReader{}), -1), &answer{})
	if !errors.Is(err, agent.ErrClient) || !errors.Is(err, errBadBody) {
		t.Errorf("a body that fails: %v", err)
	}
	if a := g.exchange(c, request("GET", "/counts", nil, 0)); !strings.Contains(a.body.String(), `"active":1`) {
		t.Error(a.body.String())
	}
}

var errBadBody = errors.New("bad body")

type badReader struct{}

func (badReader) Read([]byte) (int, error) { return 0, errBadBody }

func TestExchangeConcurrency(t *testing.T) {
	g, c, err := startServer(t, buildServer(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			r := request("GET", "/wait?n=4", nil, 0)
			r.RequestID = fmt.Sprint("r", i)
			if a := g.exchange(c, r); strings.TrimSpace(a.body.String()) != "4" {
				t.Errorf("the server saw %s at once", a.body.String())
			}
		})
	}
	all.Wait()
	g.exchange(c, request("GET", "/log?mine", nil, 0))
	lines := g.lines()
	if last := lines[len(lines)-1]; last.Text != "mine" || last.RequestID != "r" {
		t.Errorf("%+v", last)
	}
}

// A server that breaks off shows, and one that ends takes the guest with it.
func TestExchangeBroken(t *testing.T) {
	binary := buildServer(t)
	for _, tt := range []struct {
		path, kind, body string
		finished         bool
	}{
		{"/cut", thaw.ErrorTypeBadReply, "", false},
		{"/cut?after", thaw.ErrorTypeBadReply, "first piece", false},
		{"/crash", thaw.ErrorTypeExit, "", true},
		{"/crash?after", thaw.ErrorTypeExit, "first piece", true},
	} {
		t.Run(tt.path, func(t *testing.T) {
			g, c, err := startServer(t, binary, nil)
			if err != nil {
				t.Fatal(err)
			}
			a := &answer{}
			done, err := c.Exchange(g.ctx(), request("GET", tt.path, nil, 0), a)
			if err != nil || done.Failure == nil || done.Failure.Type != tt.kind || done.Finished != tt.finished || a.body.String() != tt.body {
				t.Errorf("%+v %+v, %v, %q", done, done.Failure, err, a.body.String())
			}
			done, err = c.Exchange(g.ctx(), request("GET", "/echo/", nil, 0), &answer{})
			if err != nil || (done.Failure != nil) != tt.finished {
				t.Errorf("the next: %+v, %v", done.Failure, err)
			}
		})
	}
}

func TestExchangeTimeout(t *testing.T) {
	binary := buildServer(t)
	late := func(g *testGuest, c *agent.Conn) {
		t.Helper()
		r := request("GET", "/wait?n=99", nil, 0)
		r.Deadline = time.Now().Add(200 * time.Millisecond)
		done, err := c.Exchange(g.ctx(), r, &answer{})
		if err != nil || done.Failure == nil || done.Failure.Type != thaw.ErrorTypeTimeout || !done.Finished {
			t.Errorf("%+v, %v", done, err)
		}
	}
	t.Run("Alone", func(t *testing.T) {
		g, c, err := startServer(t, binary, nil)
		if err != nil {
			t.Fatal(err)
		}
		late(g, c)
		if done, err := c.Exchange(g.ctx(), request("GET", "/echo/", nil, 0), &answer{}); err != nil || done.Failure == nil {
			t.Errorf("the server goes on: %+v, %v", done, err)
		}
	})
	t.Run("AmongOthers", func(t *testing.T) {
		g, c, err := startServer(t, binary, nil)
		if err != nil {
			t.Fatal(err)
		}
		other := make(chan *answer)
		go func() { other <- g.exchange(c, request("GET", "/events?n=10&pause=100ms", nil, 0)) }()
		waitFor(t, func() bool {
			return strings.Contains(g.exchange(c, request("GET", "/counts", nil, 0)).body.String(), `"active":2`)
		})
		late(g, c)
		if a := <-other; !strings.Contains(a.body.String(), "data: 9") {
			t.Errorf("the other one: %q", a.body.String())
		}
	})
}

func TestServerThatDoesNotStart(t *testing.T) {
	_, _, err := startServer(t, buildServer(t), func(fn *agent.Function) { fn.Env = map[string]string{"FAIL_INIT": "no such database"} })
	var failed *agent.InitError
	if !errors.As(err, &failed) || failed.Type != thaw.ErrorTypeExit || !strings.Contains(err.Error(), "no such database") {
		t.Errorf("got %v", err)
	}
	_, _, err = startServer(t, buildServer(t), func(fn *agent.Function) { fn.Handler = "nothing at all" })
	if err == nil || !strings.Contains(err.Error(), "Couldn't find \"nothing\"") {
		t.Errorf("got %v", err)
	}
}

func TestServerHooks(t *testing.T) {
	binary := buildServer(t)
	hooks := map[string]string{"AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH": "/hook/before", "AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH": "/hook/after"}
	start := func(fail string) (*testGuest, *agent.Conn, error) {
		return startServer(t, binary, func(fn *agent.Function) {
			fn.SnapStart, fn.Env = true, map[string]string{"FAIL_HOOK": fail}
			for k, v := range hooks {
				fn.Env[k] = v
			}
		})
	}
	t.Run("Called", func(t *testing.T) {
		g, c, err := start("")
		if err != nil {
			t.Fatal(err)
		}
		c = g.restoredAfterHook(c)
		if a := g.exchange(c, request("GET", "/hook/", nil, 0)); strings.TrimSpace(a.body.String()) != `"before after "` {
			t.Errorf("%q", a.body.String())
		}
	})
	t.Run("Refused", func(t *testing.T) {
		g, c, err := start("")
		if err != nil {
			t.Fatal(err)
		}
		c = g.restoredAfterHook(c)
		for _, target := range []string{"/hook/after", "/hook/before?x=y", "/hook//after", "/hook/./before", "/hook%2fafter", "/x/../hook/after", "/hook/after/"} {
			for _, method := range []string{"POST", "GET", "PUT"} {
				a := g.exchange(c, request(method, target, strings.NewReader("body"), 4))
				if a.Status != 404 || !strings.Contains(a.body.String(), "AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH") || a.get("Content-Type") != "application/json" {
					t.Errorf("%s %s: %d %q", method, target, a.Status, a.body.String())
				}
			}
		}
		if a := g.exchange(c, request("HEAD", "/hook/after", nil, 0)); a.Status != 404 || a.body.Len() > 0 {
			t.Errorf("HEAD: %d %q", a.Status, a.body.String())
		}
		r, w := io.Pipe() // a body that never ends
		defer w.Close()
		q := request("POST", "/hook/after", nil, -1)
		q.Body = r
		if a := g.exchange(c, q); a.Status != 404 {
			t.Errorf("an endless body: %d", a.Status)
		}
		if a := g.exchange(c, request("GET", "/hook/", nil, 0)); strings.TrimSpace(a.body.String()) != `"before after "` {
			t.Errorf("the server saw %q", a.body.String())
		}
	})
	t.Run("BeforeFails", func(t *testing.T) {
		if _, _, err := start("before"); err == nil || !strings.Contains(err.Error(), "the server replied 500") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("AfterFails", func(t *testing.T) {
		g, c, err := start("after")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Resume(g.ctx(), "clone"); err != nil {
			t.Fatal(err)
		}
		done, err := c.Exchange(g.ctx(), request("GET", "/echo/", nil, 0), &answer{})
		if err != nil || done.Failure == nil || done.Failure.Type != "Runtime.HookFailed" || !done.Finished {
			t.Errorf("%+v, %v", done, err)
		}
	})
}

// freePort is one that nobody listens on now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Sample requests reach the server before its hooks and the snapshot, and no others do
// until it is restored.
func TestServerPrimed(t *testing.T) {
	g, c, err := startServer(t, buildServer(t), func(fn *agent.Function) {
		fn.SnapStart, fn.Prime = true, true
		fn.Env = map[string]string{"AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH": "/hook/before"}
	})
	if err != nil {
		t.Fatal(err)
	}
	if a := g.exchange(c, request("GET", "/hook/", nil, 0)); strings.TrimSpace(a.body.String()) != `""` {
		t.Errorf("%q", a.body.String())
	}
	if err := c.Primed(g.ctx()); err != nil {
		t.Fatal(err)
	}
	c = g.restoredAfterHook(c)
	if a := g.exchange(c, request("GET", "/hook/", nil, 0)); strings.TrimSpace(a.body.String()) != `"before "` {
		t.Errorf("%q", a.body.String())
	}
}

// restoredAfterHook takes the place of a snapshot, before which the hook has run, and
// of a restore, and returns the clone's connection.
func (g *testGuest) restoredAfterHook(c *agent.Conn) *agent.Conn {
	g.t.Helper()
	if texts := g.texts(); !strings.HasSuffix(texts, "hook before\n") {
		g.t.Errorf("before the snapshot: %q", texts)
	}
	if err := c.Quiesce(g.ctx()); err != nil {
		g.t.Fatal(err)
	}
	c.Close()
	c = g.connect()
	if _, err := c.Resume(g.ctx(), "clone"); err != nil {
		g.t.Fatal(err)
	}
	return c
}
