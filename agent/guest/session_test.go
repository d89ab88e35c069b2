package guest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"thaw"
	"thaw/agent"
	"thaw/agent/wire"
)

const hooked = `
import random, sys
from snapshot_restore_py import register_before_snapshot, register_after_restore

seen = []

@register_after_restore
def first_after():
    print("after 1")

register_after_restore(print, "after", 2)
register_before_snapshot(print, "before 1")
register_before_snapshot(print, "before 2")
random.seed(1)

def handler(event, context):
    return [random.random(), event]

def plain(event, context):
    return "plain"
`

// abandon leaves a mess behind: half a frame of the old session towards the
// guest, as of a host that died while it wrote.
func abandon(t *testing.T, g *testGuest, c *agent.Conn, host net.Conn) {
	t.Helper()
	f, err := wire.New(12345, &wire.Invoke{RequestID: "old", RemainingMS: 60000}, make([]byte, 100000))
	if err != nil {
		t.Fatal(err)
	}
	head, tail, err := wire.Encode(nil, f)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{[]byte("garbage" + wire.Magic + "more"), head, tail[:50000]} {
		if _, err := host.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(20 * time.Millisecond) // let the guest read it
	c.Close()
}

// dirty is a host's connection that finds the end of an old frame first.
type dirty struct {
	net.Conn
	first io.Reader
}

func (d *dirty) Read(b []byte) (int, error) {
	if n, err := d.first.Read(b); err == nil {
		return n, nil
	}
	return d.Conn.Read(b)
}

// leftovers are bytes that a guest may have been about to send.
func leftovers(t *testing.T) string {
	t.Helper()
	f, err := wire.New(12345, &wire.SyncAck{}, make([]byte, 9000))
	if err != nil {
		t.Fatal(err)
	}
	head, tail, err := wire.Encode(nil, f)
	if err != nil {
		t.Fatal(err)
	}
	whole := string(head) + string(tail)
	return whole[30:] + whole + whole[:5000]
}

func TestRestore(t *testing.T) {
	for _, handler := range []string{"app.handler", "app.plain"} {
		t.Run(handler, func(t *testing.T) {
			g := startGuest(t, map[string]string{"app.py": hooked})
			host := g.port.attach(t)
			c := g.open(host)
			if _, err := c.Resume(g.ctx(), "builder"); err != nil {
				t.Fatal(err)
			}
			fn := pythonFunction(handler, time.Minute)
			fn.SnapStart = true
			if err := c.Init(g.ctx(), fn); err != nil {
				t.Fatal(err)
			}
			if err := c.Quiesce(g.ctx()); err != nil {
				t.Fatal(err)
			}
			if texts := g.texts(); texts != "before 2\nbefore 1\n" {
				t.Errorf("log before the snapshot: %q", texts)
			}
			abandon(t, g, c, host)

			c = g.open(&dirty{g.port.attach(t), strings.NewReader(leftovers(t))})
			r, err := c.Resume(g.ctx(), "clone-1")
			if err != nil || len(r.Sample) != 32 || r.ClockError > time.Second {
				t.Fatalf("%+v, %v", r, err)
			}
			first := g.invoke(c, "r1", "1", time.Minute)
			if first.FunctionError != "" {
				t.Fatalf("%+v %s", first, first.Payload)
			}
			if strings.Contains(string(first.Payload), "0.13436424411240122") {
				t.Error("random numbers go on as seeded before the snapshot")
			}
			if texts := g.texts(); texts != "before 2\nbefore 1\nafter 1\nafter 2\n" {
				t.Errorf("log: %q", texts)
			}
		})
	}
}

// texts returns the lines written so far.
func (g *testGuest) texts() string {
	var b strings.Builder
	for _, l := range g.lines() {
		b.WriteString(l.Text + "\n")
	}
	return b.String()
}

func TestRestoreProvided(t *testing.T) {
	binary := buildBootstrap(t)
	tests := []struct {
		name string
		env  map[string]string
		want string
	}{
		{"restore/next", map[string]string{"USE_RESTORE": "1"}, ""},
		{"next only", nil, ""},
		{"restore/error", map[string]string{"USE_RESTORE": "1", "FAIL_RESTORE": "stale"}, "Test.RestoreError"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, c, err := startProvided(t, binary, tt.env, true)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Quiesce(g.ctx()); err != nil {
				t.Fatal(err)
			}
			if texts := g.texts(); strings.Contains(texts, "after restore") {
				t.Errorf("log before the restore: %q", texts)
			}
			c.Close()
			c = g.connect()
			if _, err := c.Resume(g.ctx(), "clone"); err != nil {
				t.Fatal(err)
			}
			r := g.invoke(c, "r1", `{"op":"echo"}`, time.Minute)
			if r.FunctionError != tt.want || r.Finished != (tt.want != "") {
				t.Errorf("%+v %s", r, r.Payload)
			}
		})
	}
}

// A session that ends while an invocation runs leaves nothing to the next one.
func TestNewSessionDropsOldResult(t *testing.T) {
	g := startGuest(t, map[string]string{"app.py": "import time\ndef f(e, c):\n  time.sleep(e)\n  return 'x' * 6000000\n"})
	c := g.connect()
	if err := c.Init(g.ctx(), pythonFunction("app.f", time.Minute)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(g.ctx(), 100*time.Millisecond)
	defer cancel()
	_, err := c.Invoke(ctx, agent.Invocation{RequestID: "r1", Deadline: time.Now().Add(time.Minute), Payload: []byte("0.3")})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	c.Close()
	c = g.connect()
	_, err = c.Invoke(g.ctx(), agent.Invocation{RequestID: "r2", Deadline: time.Now().Add(time.Minute), Payload: []byte("0")})
	if err == nil || !strings.Contains(err.Error(), "another invocation is under way") {
		t.Fatalf("got %v", err)
	}
	waitFor(t, func() bool {
		r, err := c.Invoke(g.ctx(), agent.Invocation{RequestID: "r3", Deadline: time.Now().Add(time.Minute), Payload: []byte("0")})
		return err == nil && len(r.Payload) == 6000002
	})
}

func TestResumeRefusals(t *testing.T) {
	tests := []struct {
		name string
		off  time.Duration
		fail string
		want string
	}{
		{"clock", -time.Hour, "", "its clock is off by"},
		{"clock ahead", time.Hour, "", "its clock is off by"},
		{"failure", 0, "cannot set clock", "cannot set clock"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := startGuest(t, nil)
			g.machine.mu.Lock()
			g.machine.off, g.machine.fail = tt.off, tt.fail
			g.machine.mu.Unlock()
			_, err := g.connect().Resume(g.ctx(), "a")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A host that was slow may have to set the clock again: until it invokes, the
// function must not see the time.
func TestSlowResumeHoldsTheFunction(t *testing.T) {
	g := startGuest(t, map[string]string{"app.py": hooked})
	c := g.connect()
	fn := pythonFunction("app.handler", time.Minute)
	fn.SnapStart = true
	if err := c.Init(g.ctx(), fn); err != nil {
		t.Fatal(err)
	}
	if err := c.Sync(g.ctx()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * wire.MaxClockError)
	if _, err := c.Resume(g.ctx(), "clone"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if texts := g.texts(); strings.Contains(texts, "after") {
		t.Errorf("the function ran before it was invoked: %q", texts)
	}
	if r := g.invoke(c, "r1", "1", time.Minute); r.FunctionError != "" {
		t.Errorf("%+v %s", r, r.Payload)
	}
	if texts := g.texts(); !strings.HasSuffix(texts, "after 1\nafter 2\n") {
		t.Errorf("log: %q", texts)
	}
}

// A clone whose random numbers may be those of another one must not serve: the host
// refuses it, and not a line of its function runs.
func TestUnseededCloneIsRefused(t *testing.T) {
	for name, broken := range map[string]func(*machine){
		"says so":       func(m *machine) { m.fail = "reseed random number generator: operation not permitted" },
		"does not know": func(m *machine) { m.unseeded = true },
	} {
		t.Run(name, func(t *testing.T) {
			g := startGuest(t, map[string]string{"app.py": hooked})
			c := g.connect()
			fn := pythonFunction("app.handler", time.Minute)
			fn.SnapStart = true
			if err := c.Init(g.ctx(), fn); err != nil {
				t.Fatal(err)
			}
			g.machine.mu.Lock()
			broken(g.machine)
			g.machine.mu.Unlock()
			_, err := c.Resume(g.ctx(), "clone")
			if err == nil || !strings.Contains(err.Error(), "not fit to serve") || !strings.Contains(err.Error(), "reseed") {
				t.Errorf("the host takes it: %v", err)
			}
			_, err = c.Invoke(g.ctx(), agent.Invocation{RequestID: "r1", Deadline: time.Now().Add(time.Minute), Payload: []byte("1")})
			if err == nil || !strings.Contains(err.Error(), "no clock, entropy and identity") {
				t.Errorf("the guest serves a host that takes it all the same: %v", err)
			}
			if texts := g.texts(); strings.Contains(texts, "after") {
				t.Errorf("its function ran: %q", texts)
			}
		})
	}
}

// After Quiesced not a byte comes, whatever the function does.
func TestQuiescedIsSilent(t *testing.T) {
	g := startGuest(t, map[string]string{"app.py": `
import threading, time
def chat():
    while True:
        print("chat")
        time.sleep(0.001)
threading.Thread(target=chat, daemon=True).start()
def f(e, c): return 1
`})
	c := g.connect()
	if err := c.Init(g.ctx(), pythonFunction("app.f", time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := c.Quiesce(g.ctx()); err != nil {
		t.Fatal(err)
	}
	before := len(g.lines())
	time.Sleep(50 * time.Millisecond)
	if after := len(g.lines()); after != before {
		t.Errorf("%d lines after Quiesced", after-before)
	}
	if err := c.Sync(g.ctx()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return len(g.lines()) > before })
}

func TestBusyAndEarlyInvokes(t *testing.T) {
	g := startGuest(t, map[string]string{"app.py": app})
	c := g.connect()
	_, err := c.Invoke(g.ctx(), agent.Invocation{RequestID: "r1", Deadline: time.Now().Add(time.Minute)})
	if err == nil || !strings.Contains(err.Error(), "no function has been started") {
		t.Errorf("got %v", err)
	}
	if err := c.Init(g.ctx(), pythonFunction("app.echo", time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := c.Ping(g.ctx()); err != nil {
		t.Error(err)
	}
	if err := c.Init(g.ctx(), pythonFunction("app.echo", time.Minute)); !errors.Is(err, agent.ErrGone) {
		t.Errorf("second init: %v", err)
	}
}

func TestTimeoutIsPrompt(t *testing.T) {
	g, c := ready(t, "app.slow", 200*time.Millisecond)
	began := time.Now()
	r := g.invoke(c, "r1", "{}", 200*time.Millisecond)
	if took := time.Since(began); took < 150*time.Millisecond || took > 2*time.Second || r.FunctionError != thaw.ErrorTypeTimeout {
		t.Errorf("took %s: %+v", took, r)
	}
}
