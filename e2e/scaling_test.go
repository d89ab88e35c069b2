package e2e

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/daemon"
)

// TestScale has more requests than there may be VMs, and VMs that nobody asks for.
func TestScale(t *testing.T) {
	s := open(t, t.TempDir(), func(c *daemon.Config) {
		c.MaxInstances, c.QueueDepth, c.QueueTimeout = 3, 100, time.Minute
	})
	s.deploy(t, "burst", "testdata/probe", thaw.Settings{MaxScale: 2})
	s.deploy(t, "probe", "testdata/probe", thaw.Settings{})
	t.Run("Burst", func(t *testing.T) { testBurst(t, s) })
	t.Run("Flood", func(t *testing.T) { testFlood(t, s) })
	t.Run("MinScale", func(t *testing.T) { testMinScale(t, s) })
}

// testBurst sends eight requests to a function of two VMs at most, each when the one
// before it has got in line.
func testBurst(t *testing.T, s *site) {
	const requests = 8
	var all sync.WaitGroup
	var done atomic.Int64
	replies := make([]thaw.Reply, requests)
	for i := range replies {
		all.Go(func() {
			replies[i] = s.warm(t, "burst", `{"do": "sleep", "seconds": 0.2}`)
			done.Add(1)
		})
		eventually(t, "a request that has arrived", func() bool {
			// From the end of a request's life to its beginning: one that moves on meanwhile is missed
			// until the next look, never counted twice.
			n := int(done.Load())
			n += s.leases("burst")
			return n+s.daemon.Load().Waiting["burst"] > i
		})
	}
	all.Wait()
	byInstance, made := map[string][]int{}, 0
	for i, r := range replies {
		byInstance[r.Instance] = append(byInstance[r.Instance], i)
		if r.Start != thaw.StartWarm {
			made++
		}
	}
	if len(byInstance) != 2 || made != 2 {
		t.Errorf("%d VMs, %d made while somebody waited, want 2 and 2", len(byInstance), made)
	}
	for instance, served := range byInstance { // in the order in which they arrived
		if !slices.IsSortedFunc(served, func(a, b int) int { return invoked(replies[a]).Compare(invoked(replies[b])) }) {
			t.Errorf("%s served requests %v in another order than they came in", instance, served)
		}
	}
	if last := replies[requests-1]; last.PhasesMS[thaw.PhaseQueue] == 0 {
		t.Errorf("the last of them has not waited: %v", last.PhasesMS)
	}
}

// leases is how many invocations are at work on VMs of function.
func (s *site) leases(function string) (n int) {
	for _, in := range s.daemon.Instances() {
		if in.Function == function {
			n += in.Leases
		}
	}
	return n
}

// invoked is when the function was called.
func invoked(r thaw.Reply) time.Time {
	i := slices.IndexFunc(r.Spans, func(s thaw.Span) bool { return s.Phase == thaw.PhaseInvoke })
	return r.Time.Add(time.Duration(r.Spans[i].StartUS) * time.Microsecond)
}

// testFlood keeps one function busy with more than there is: another one's request
// is served before the flood's are.
func testFlood(t *testing.T, s *site) {
	var flood sync.WaitGroup
	var mu sync.Mutex
	served := 0
	for range 24 {
		flood.Go(func() {
			s.warm(t, "probe", `{"do": "sleep", "seconds": 0.3}`)
			mu.Lock()
			served++
			mu.Unlock()
		})
	}
	eventually(t, "a flood that waits", func() bool { return s.daemon.Load().Waiting["probe"] > 15 })
	s.warm(t, "burst", helloEvent)
	mu.Lock()
	before := served
	mu.Unlock()
	if before >= 24 {
		t.Error("all of the flood was served before the other function's request")
	}
	flood.Wait()
	if l := s.daemon.Load(); len(l.Waiting) > 0 {
		t.Errorf("%+v", l)
	}
}

// testMinScale kills a VM that is kept: another one takes its place.
func testMinScale(t *testing.T, s *site) {
	v := s.deploy(t, "kept", "testdata/probe", thaw.Settings{MinScale: 1, IdleTimeout: thaw.MinIdleTimeout})
	pid := 0
	kept := func() bool {
		for _, in := range s.daemon.Instances() {
			if in.Function == "kept" && in.State == thaw.InstanceIdle {
				pid = in.PID
				return true
			}
		}
		return false
	}
	eventually(t, "a VM that nobody asked for", kept)
	if r := s.warm(t, "kept", helloEvent); r.Start != thaw.StartWarm {
		t.Errorf("%s start of a function that is kept warm (%s)", r.Start, r.Reason)
	}
	first := pid
	if err := unix.Kill(first, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another VM in its place", func() bool { return kept() && pid != first })
	if r := s.warm(t, "kept", helloEvent); r.Start != thaw.StartWarm || r.Version != v.Number {
		t.Errorf("%s start of version %d (%s)", r.Start, r.Version, r.Reason)
	}
	s.deploy(t, "kept", "testdata/probe", thaw.Settings{})
	eventually(t, "the end of what was kept of the version before", func() bool {
		return !slices.ContainsFunc(s.daemon.Instances(), func(in thaw.Instance) bool { return in.Function == "kept" && in.Version == 1 })
	})
}

// TestMinScaleAfterRestart has a daemon that was started again make what is kept.
func TestMinScaleAfterRestart(t *testing.T) {
	state := t.TempDir()
	s := open(t, state, nil)
	s.deploy(t, "kept", "testdata/probe", thaw.Settings{MinScale: 2})
	s.close(t)
	s = open(t, state, nil)
	eventually(t, "two VMs", func() bool {
		n := 0
		for _, in := range s.daemon.Instances() {
			if in.State == thaw.InstanceIdle && in.Invocations == 0 {
				n++
			}
		}
		return n == 2
	})
	if r := s.warm(t, "kept", helloEvent); r.Start != thaw.StartWarm || r.Policy == thaw.PolicyBoot {
		t.Errorf("%s start by %s", r.Start, r.Policy)
	}
}

// TestMemoryBudget has room for two VMs by what they were measured to need: the
// third has the one give way that was idle longest.
func TestMemoryBudget(t *testing.T) {
	state := t.TempDir()
	s := open(t, state, nil)
	for _, name := range []string{"a", "b", "c"} {
		s.deploy(t, name, "testdata/probe", thaw.Settings{})
		s.recorded(t, name, helloEvent)
	}
	measured := s.measured(t, "a")
	s.close(t)
	// What a start needs is guessed until one was measured: more than it will take.
	s = open(t, state, func(c *daemon.Config) {
		c.MemoryBudget, c.QueueDepth, c.QueueTimeout = measured*5/2, 10, time.Minute
	})
	for _, name := range []string{"a", "b"} {
		s.warm(t, name, helloEvent)
		s.measured(t, name)
	}
	s.warm(t, "c", helloEvent)
	left := map[string]bool{}
	for _, in := range s.daemon.Instances() {
		left[in.Function] = true
	}
	if l := s.daemon.Load(); left["a"] || !left["c"] || l.Evictions == 0 || l.MemoryBytes > l.MemoryBudget {
		t.Errorf("VMs of %v are left, %+v", left, l)
	}
	_, err := s.tryHuge(t)
	if thaw.CodeOf(err) != thaw.CodeThrottled {
		t.Errorf("a VM larger than the budget: %v", err)
	}
}

// measured waits until the memory of a function's VM was measured, and returns it.
func (s *site) measured(t *testing.T, function string) (bytes int64) {
	t.Helper()
	eventually(t, "a measurement", func() bool {
		for _, in := range s.daemon.Instances() {
			if in.Function == function && in.State == thaw.InstanceIdle && in.MemoryMeasured {
				bytes = in.MemoryBytes
				return true
			}
		}
		return false
	})
	t.Logf("a VM of %s occupies %d MiB", function, bytes>>20)
	return bytes
}

// tryHuge boots a guest of 4 GiB, which may need all of it.
func (s *site) tryHuge(t *testing.T) (thaw.Reply, error) {
	t.Helper()
	s.deploy(t, "huge", "testdata/probe", thaw.Settings{MemoryBytes: thaw.MaxMemory})
	return s.InvokeRecorded(t.Context(), thaw.InvokeRequest{Function: "huge", Payload: []byte(`{"do": "eat"}`), Policy: thaw.PolicyBoot})
}
