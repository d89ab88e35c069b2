package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"thaw"
	"thaw/daemon"
)

// TestProvided deploys a static program that speaks the Runtime API over TCP.
func TestProvided(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	code := t.TempDir()
	cmd := exec.Command("go", "build", "-o", filepath.Join(code, "bootstrap"), "../examples/provided-go")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	s.deploy(t, "go", code, thaw.Settings{Runtime: thaw.RuntimeProvided, MemoryBytes: thaw.MinMemory})
	for _, policy := range thaw.Policies() {
		r := s.cold(t, "go", policy, `{"name": "Ada"}`)
		chosen := policy == thaw.PolicyAuto || r.Policy == policy && r.Reason == ""
		if got := decode[map[string]string](t, r.Payload)["message"]; got != "Hello, Ada!" || !chosen {
			t.Errorf("%s: reply %s by %s (%s)", policy, r.Payload, r.Policy, r.Reason)
		}
	}
}

// TestRedeploy makes a second version where one is kept: it serves, and nothing of
// the first one is left.
func TestRedeploy(t *testing.T) {
	s := open(t, t.TempDir(), func(c *daemon.Config) { c.IdleTimeout, c.KeepVersions = 300*time.Millisecond, 1 })
	first := s.deploy(t, "probe", "testdata/probe", thaw.Settings{Env: map[string]string{"COLOUR": "red"}})
	warm := s.cold(t, "probe", thaw.PolicyVanilla, `{"do": "who"}`)
	second := s.deploy(t, "probe", "testdata/probe", thaw.Settings{Env: map[string]string{"COLOUR": "green"}})
	r := s.warm(t, "probe", `{"do": "who"}`)
	if w := decode[who](t, r.Payload); w.Env != "green" || w.Version != "2" || r.Start == thaw.StartWarm || r.Instance == warm.Instance {
		t.Errorf("after the second deploy: %s, version %s, start %s", w.Env, w.Version, r.Start)
	}
	if _, err := os.Stat(filepath.Join(s.state, "snapshots", first.Snapshot)); !os.IsNotExist(err) {
		t.Errorf("snapshot of version 1 is still there: %v", err)
	}
	if second.Number != 2 || s.describe(t, "probe").Number != 2 {
		t.Errorf("version %d serves, want 2", s.describe(t, "probe").Number)
	}
	eventually(t, "the end of the idle instance", func() bool { return len(s.daemon.Instances()) == 0 })
	t.Run("FailedDeployChangesNothing", func(t *testing.T) {
		_, err := s.tryDeploy(t.Context(), "probe", "testdata/probe", thaw.Settings{Handler: "app.nothing"})
		if thaw.CodeOf(err) != thaw.CodeFunction || !strings.Contains(err.Error(), "HandlerNotFound") {
			t.Errorf("deploy = %v, want a missing handler", err)
		}
		if r := s.warm(t, "probe", `{"do": "who"}`); decode[who](t, r.Payload).Version != "2" {
			t.Errorf("after a failed deploy: %s", r.Payload)
		}
		if drafts, _ := filepath.Glob(filepath.Join(s.state, "snapshots", "draft-*")); len(drafts) > 0 {
			t.Errorf("left behind: %v", drafts)
		}
	})
}

// TestDiskFull deploys into a state folder without room for guest memory.
func TestDiskFull(t *testing.T) {
	state := smallDisk(t, "64m")
	s := open(t, state, nil)
	_, err := s.tryDeploy(t.Context(), "probe", "testdata/probe", thaw.Settings{})
	if thaw.CodeOf(err) != thaw.CodeUnavailable || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("deploy = %v, want what to do about the full disk", err)
	}
	if _, err := s.Describe(t.Context(), "probe"); thaw.CodeOf(err) != thaw.CodeNotFound {
		t.Errorf("describe = %v, want no function", err)
	}
	if left, _ := filepath.Glob(filepath.Join(state, "snapshots", "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
