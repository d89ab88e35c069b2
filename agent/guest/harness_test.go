package guest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"thaw"
	"thaw/agent"
	"thaw/agent/guest"
	"thaw/agent/guest/runtime"
	"thaw/agent/wire"
)

// port is a virtio-serial port for tests: hosts come and go, reads return
// io.EOF while none is attached and writes wait for one.
type port struct {
	mu     sync.Mutex
	cond   *sync.Cond
	host   net.Conn
	closed bool
}

func newPort() *port {
	p := &port{}
	p.cond = sync.NewCond(&p.mu)
	return p
}

// attach connects a new host and returns its end of a socket pair.
func (p *port) attach(t *testing.T) net.Conn {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		if conns[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.host != nil {
		p.host.Close()
	}
	p.host = conns[0]
	p.cond.Broadcast()
	return conns[1]
}

func (p *port) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.host != nil {
		p.host.Close()
	}
	p.cond.Broadcast()
}

func (p *port) current() (net.Conn, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.host, p.closed
}

func (p *port) Read(b []byte) (int, error) {
	host, closed := p.current()
	if closed {
		return 0, os.ErrClosed
	}
	if host == nil {
		return 0, io.EOF
	}
	n, err := host.Read(b)
	if err != nil {
		p.detach(host)
		return n, io.EOF
	}
	return n, nil
}

func (p *port) detach(host net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.host == host {
		p.host.Close()
		p.host = nil
	}
}

func (p *port) Write(b []byte) (int, error) {
	for {
		p.mu.Lock()
		for p.host == nil && !p.closed {
			p.cond.Wait()
		}
		host, closed := p.host, p.closed
		p.mu.Unlock()
		if closed {
			return 0, os.ErrClosed
		}
		if n, err := host.Write(b); err == nil {
			return n, nil
		}
		p.detach(host)
	}
}

// machine stands for the guest's machine, whose clock a test must not set.
type machine struct {
	mu       sync.Mutex
	quiesced int
	off      time.Duration // how wrong its clock stays
	fail     string
	unseeded bool // its generator was not reseeded, and nothing says why
}

func (m *machine) Resume(r wire.Resume, entropy []byte, received time.Time) wire.Resumed {
	m.mu.Lock()
	defer m.mu.Unlock()
	return wire.Resumed{
		InstanceID: r.InstanceID, Reseeded: m.fail == "" && !m.unseeded, Error: m.fail,
		Sample: "00112233445566778899aabbccddeeff", WallNS: time.Now().Add(m.off).UnixNano(),
	}
}

func (*machine) Furnish(bool) error { return nil }

func (m *machine) Quiesce() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.quiesced++
	return nil
}

// testGuest is an agent that serves in this process.
type testGuest struct {
	t       *testing.T
	port    *port
	machine *machine
	dir     string
	cancel  context.CancelFunc
	done    chan error

	mu   sync.Mutex
	logs []agent.Log
}

// startGuest starts an agent whose /var/task holds files.
func startGuest(t *testing.T, files map[string]string) *testGuest {
	t.Helper()
	g := &testGuest{t: t, port: newPort(), machine: &machine{}, dir: t.TempDir(), done: make(chan error, 1)}
	for name, text := range files {
		g.write(filepath.Join("task", name), text, 0o644)
	}
	g.write("task/.keep", "", 0o644)
	if err := os.Mkdir(g.secrets(), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, files := range runtime.Files() {
		for name, content := range files {
			g.write(filepath.Join("runtime", name), string(content), 0o644)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	g.cancel = cancel
	a := guest.New(guest.Config{
		Port: g.port, System: g.machine, APIAddr: "127.0.0.1:0", APISocket: filepath.Join(g.dir, "socket"), ServerPort: freePort(t),
		TaskRoot: filepath.Join(g.dir, "task"), RuntimeDir: filepath.Join(g.dir, "runtime"), SecretsDir: g.secrets(), Python: python(t), Node: node(t),
	})
	go func() { g.done <- a.Serve(ctx) }()
	t.Cleanup(g.stop)
	return g
}

func (g *testGuest) secrets() string { return filepath.Join(g.dir, "secrets") }

func (g *testGuest) stop() {
	g.cancel()
	g.port.Close()
	select {
	case err := <-g.done:
		if !errors.Is(err, os.ErrClosed) && !errors.Is(err, context.Canceled) {
			g.t.Errorf("serve: %v", err)
		}
	case <-time.After(time.Minute):
		g.t.Error("the agent did not stop")
	}
}

func (g *testGuest) write(name, text string, mode os.FileMode) {
	g.t.Helper()
	path := filepath.Join(g.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		g.t.Fatal(err)
	}
}

func python(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed: apt-get install python3")
	}
	return path
}

// node returns where Node.js is, "" when it is not installed: needNode skips then.
func node(t *testing.T) string {
	t.Helper()
	path, _ := exec.LookPath("node")
	return path
}

// connect attaches a host whose session is open.
func (g *testGuest) connect() *agent.Conn {
	g.t.Helper()
	return g.open(g.port.attach(g.t))
}

func (g *testGuest) open(rw io.ReadWriteCloser) *agent.Conn {
	g.t.Helper()
	c := agent.NewConn(rw, func(l agent.Log) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.logs = append(g.logs, l)
	})
	g.t.Cleanup(func() { c.Close() })
	if err := c.Sync(g.ctx()); err != nil {
		g.t.Fatal(err)
	}
	return c
}

// ctx bounds one call.
func (g *testGuest) ctx() context.Context {
	ctx, cancel := context.WithTimeout(g.t.Context(), 2*time.Minute)
	g.t.Cleanup(cancel)
	return ctx
}

// lines returns what the function wrote so far.
func (g *testGuest) lines() []agent.Log {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]agent.Log(nil), g.logs...)
}

func pythonFunction(handler string, timeout time.Duration) agent.Function {
	return agent.Function{Name: "f", Version: 7, Settings: thaw.Settings{
		Runtime: thaw.RuntimePython, Handler: handler, Timeout: timeout, Env: map[string]string{"COLOUR": "blue"},
	}}
}

// invoke runs one invocation that must be answered.
func (g *testGuest) invoke(c *agent.Conn, id, payload string, timeout time.Duration) agent.Result {
	g.t.Helper()
	r, err := c.Invoke(g.ctx(), agent.Invocation{RequestID: id, Deadline: time.Now().Add(timeout), Payload: []byte(payload)})
	if err != nil {
		g.t.Fatal(err)
	}
	return r
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
