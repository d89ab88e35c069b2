package e2e

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"thaw"
)

// TestDaemonKilled kills the daemon in every phase of restores that record and of
// restores that bring pages in. Nothing is left of it, and the next daemon on the
// same state restores the right memory by every policy.
func TestDaemonKilled(t *testing.T) {
	bin, state := build(t), t.TempDir()
	p := serve(t, bin, state)
	p.deploy(t, "probe", "testdata/probe")
	want := string(p.sum(t, thaw.PolicyVanilla).Payload)
	for i, policy := range []thaw.Policy{thaw.PolicyThaw, thaw.PolicyFaaSnap, thaw.PolicyReap, thaw.PolicyThaw, thaw.PolicyFaaSnap, thaw.PolicyThaw} {
		// Recordings first, that publishing is hit as well.
		r := thaw.InvokeRequest{Function: "probe", Payload: []byte(sumEvent), Policy: policy, Cold: true, Record: i < 2}
		p.killDuring(t, r, time.Duration(i)*60*time.Millisecond)
		p = serve(t, bin, state)
		for _, again := range []thaw.Policy{thaw.PolicyThaw, thaw.PolicyReap, thaw.PolicyFaaSnap} {
			reply := p.sum(t, again)
			if string(reply.Payload) != want || reply.Start != thaw.StartCold {
				t.Errorf("after a kill in a start by %s: %s, %s start by %s: %s", policy, reply.Payload, reply.Start, again, reply.Reason)
			}
		}
	}
	p.killDuring(t, thaw.InvokeRequest{Function: "probe", Payload: []byte(sumEvent), Policy: thaw.PolicyFaaSnap, Record: true}, 600*time.Millisecond)
	p = serve(t, bin, state)
	for _, pattern := range []string{"snapshots/draft-*", "snapshots/*/.*", "quarantine/*"} {
		if left, _ := filepath.Glob(filepath.Join(state, pattern)); len(left) > 0 {
			t.Errorf("left by the kills: %v", left)
		}
	}
	t.Run("Drain", func(t *testing.T) { testDrain(t, p) })
}

// sum restores the function once and has it add up its memory.
func (p *program) sum(t *testing.T, policy thaw.Policy) thaw.Reply {
	t.Helper()
	r, err := p.InvokeRecorded(t.Context(), thaw.InvokeRequest{Function: "probe", Payload: []byte(sumEvent), Policy: policy, Cold: true, Discard: true})
	if err != nil {
		t.Fatalf("%s: %v\n%s", policy, err, p.err)
	}
	return r
}

// killDuring kills the daemon when an invocation has been under way for a while.
func (p *program) killDuring(t *testing.T, r thaw.InvokeRequest, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = p.Invoke(ctx, r) // what it comes to is not the point
	}()
	time.Sleep(after)
	pids := vmms(t, p.cmd.Process.Pid)
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
	gone(t, pids)
	<-ended
}
