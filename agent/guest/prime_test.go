package guest_test

import (
	"strings"
	"testing"
	"time"

	"thaw"
	"thaw/agent"
)

const primed = `
import os
from snapshot_restore_py import register_before_snapshot, register_after_restore

seen = []
env = "THAW_PRIME" in os.environ

@register_before_snapshot
def before():
    if "late" in seen:
        raise ValueError("no snapshot for the late")
    print("before, after", len(seen))

register_after_restore(print, "after")

def handler(event, context):
    seen.append(event)
    if event == "bad":
        raise ValueError("that is no sample")
    return [len(seen), env]
`

// startPrimed starts the function that is to be primed.
func startPrimed(t *testing.T) (*testGuest, *agent.Conn) {
	t.Helper()
	g := startGuest(t, map[string]string{"app.py": primed})
	c := g.connect()
	fn := pythonFunction("app.handler", time.Minute)
	fn.SnapStart, fn.Prime = true, true
	if err := c.Init(g.ctx(), fn); err != nil {
		t.Fatal(err)
	}
	return g, c
}

// TestPrime runs sample events before the hooks before the snapshot; the clone goes
// on from what they left.
func TestPrime(t *testing.T) {
	g, c := startPrimed(t)
	for _, want := range []string{"[1, false]", "[2, false]"} {
		if r := g.invoke(c, "p", `"x"`, time.Minute); string(r.Payload) != want {
			t.Errorf("reply %s, want %s", r.Payload, want)
		}
	}
	if err := c.Primed(g.ctx()); err != nil {
		t.Fatal(err)
	}
	if err := c.Quiesce(g.ctx()); err != nil {
		t.Fatal(err)
	}
	c.Close()
	c = g.connect()
	if _, err := c.Resume(g.ctx(), "clone"); err != nil {
		t.Fatal(err)
	}
	if r := g.invoke(c, "r", `"x"`, time.Minute); string(r.Payload) != "[3, false]" {
		t.Errorf("the clone replies %s", r.Payload)
	}
	// What is written comes by itself, not with the reply.
	for deadline := time.Now().Add(time.Minute); !strings.HasSuffix(g.texts(), "after\n") && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if texts := g.texts(); texts != "before, after 2\nafter\n" {
		t.Errorf("log: %q", texts)
	}
}

// TestPrimeFails: what a sample event comes to is told, and a hook that fails after
// it ends the guest.
func TestPrimeFails(t *testing.T) {
	g, c := startPrimed(t)
	if r := g.invoke(c, "p1", `"bad"`, time.Minute); r.FunctionError != "ValueError" || r.Finished {
		t.Errorf("%+v %s", r, r.Payload)
	}
	g.invoke(c, "p2", `"late"`, time.Minute)
	err := c.Primed(g.ctx())
	if thaw.CodeOf(err) != thaw.CodeFunction || !strings.Contains(err.Error(), "no snapshot for the late") {
		t.Errorf("Primed = %v", err)
	}
	if err := c.Primed(g.ctx()); thaw.CodeOf(err) != thaw.CodeFunction {
		t.Errorf("a second Primed = %v, want the same", err)
	}
}

// TestPrimeProvided primes runtimes that have not heard of it.
func TestPrimeProvided(t *testing.T) {
	binary := buildBootstrap(t)
	start := func(env map[string]string) (*testGuest, *agent.Conn, error) {
		fn := providedFunction(env, true)
		fn.Prime = true
		return startProvidedAs(t, binary, fn)
	}
	g, c, err := start(nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if r := g.invoke(c, "p", `{"op":"echo"}`, time.Minute); r.FunctionError != "" {
			t.Fatalf("%+v %s", r, r.Payload)
		}
	}
	if err := c.Primed(g.ctx()); err != nil {
		t.Fatal(err)
	}
	if err := c.Quiesce(g.ctx()); err != nil {
		t.Fatal(err)
	}
	c.Close()
	c = g.connect()
	if _, err := c.Resume(g.ctx(), "clone"); err != nil {
		t.Fatal(err)
	}
	if r := g.invoke(c, "r", `{"op":"echo"}`, time.Minute); r.FunctionError != "" {
		t.Errorf("%+v %s", r, r.Payload)
	}
	_, _, err = start(map[string]string{"USE_RESTORE": "1"})
	if thaw.CodeOf(err) != thaw.CodeFunction || !strings.Contains(err.Error(), "prime/next") {
		t.Errorf("a runtime that wants its snapshot at once: %v", err)
	}
	g, c, err = startProvidedAs(t, binary, providedFunction(nil, true))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Primed(g.ctx()); err == nil {
		t.Error("Primed without an Init that announced it works")
	}
}
