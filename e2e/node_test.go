package e2e

import (
	"strings"
	"testing"
	"time"

	"thaw"
)

// nodeWho is what the example says of itself.
type nodeWho struct {
	Born, Restored, Instance, UUID, Bytes, Time string
	Integer                                     int64
	Random                                      float64
}

// TestNode takes the example through the ways to start, and a function that fails
// through the ways to do so.
func TestNode(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	v := s.deploy(t, "node", "../examples/node-hello", thaw.Settings{Runtime: thaw.RuntimeNode})
	if v.Snapshot == "" {
		t.Fatalf("no snapshot: %s\n%s", v.Problem, s.log)
	}
	t.Run("Starts", func(t *testing.T) { testNodeStarts(t, s) })
	t.Run("Clones", func(t *testing.T) { testNodeClones(t, s) })
	t.Run("Failures", func(t *testing.T) { testNodeFailures(t, s) })
}

func testNodeStarts(t *testing.T, s *site) {
	const event = `{"name": "Ada", "language": "de"}`
	for _, policy := range []thaw.Policy{thaw.PolicyBoot, thaw.PolicyVanilla, thaw.PolicyReap, thaw.PolicyReap, thaw.PolicyThaw, thaw.PolicyThaw} {
		r := s.cold(t, "node", policy, event)
		if got := decode[map[string]string](t, r.Payload)["message"]; got != "Hallo, Ada!" || r.Policy != policy || r.Reason != "" {
			t.Errorf("%s: reply %s by %s (%s)", policy, r.Payload, r.Policy, r.Reason)
		}
		t.Logf("%s: %.0f ms, %d prefetched, %+v", policy, r.DurationMS, r.PagesPrefetched, r.Faults)
	}
	if r := s.warm(t, "node", event); r.Start != thaw.StartWarm {
		t.Errorf("start %s, want warm", r.Start)
	}
}

// testNodeClones draws right after a restore what Node.js may have drawn before it.
func testNodeClones(t *testing.T, s *site) {
	seen := map[any]string{}
	born := ""
	for _, policy := range []thaw.Policy{thaw.PolicyVanilla, thaw.PolicyVanilla, thaw.PolicyThaw} {
		before := time.Now().Add(-50 * time.Millisecond)
		r := s.cold(t, "node", policy, `{"who": true}`)
		w := decode[nodeWho](t, r.Payload)
		for _, value := range []any{w.UUID, w.Bytes, w.Integer, w.Random} {
			if earlier, twice := seen[value]; twice {
				t.Errorf("%v is that of another clone: %s", value, earlier)
			}
			seen[value] = r.Instance
		}
		if w.Instance != r.Instance || w.Born == w.UUID || born != "" && w.Born != born {
			t.Errorf("it is %+v, not instance %s born as %s", w, r.Instance, born)
		}
		born = w.Born
		for _, text := range []string{w.Restored, w.Time} {
			if at, err := time.Parse(time.RFC3339, text); err != nil || at.Before(before.Truncate(time.Millisecond)) || at.After(time.Now().Add(50*time.Millisecond)) {
				t.Errorf("clock of the clone is %s, of the host %s and later", text, before)
			}
		}
	}
}

func testNodeFailures(t *testing.T, s *site) {
	s.deploy(t, "fails", "testdata/nodefails", thaw.Settings{Runtime: thaw.RuntimeNode, Timeout: 5 * time.Second})
	for event, kind := range map[string]string{
		`"throw"`: "RangeError", `"reject"`: "Runtime.UnhandledPromiseRejection", `"exit"`: thaw.ErrorTypeExit, `"hang"`: thaw.ErrorTypeTimeout,
	} {
		r := s.cold(t, "fails", thaw.PolicyVanilla, event)
		if fe := decode[thaw.FunctionError](t, r.Payload); r.FunctionError == "" || fe.Type != kind {
			t.Errorf("%s: function error %q: %s; want type %s", event, r.FunctionError, r.Payload, kind)
		}
	}
	if r := s.warm(t, "fails", `"reply"`); string(r.Payload) != `"reply"` {
		t.Errorf("after all this: %s", r.Payload)
	}
	_, err := s.tryDeploy(t.Context(), "fails", "testdata/nodefails", thaw.Settings{Runtime: thaw.RuntimeNode, Handler: "index.nothing"})
	if thaw.CodeOf(err) != thaw.CodeFunction || !strings.Contains(err.Error(), "index.nothing is undefined or not exported") {
		t.Errorf("deploy = %v, want a missing handler", err)
	}
}
