package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"thaw"
	"thaw/bench/peers"
	"thaw/internal/testcache"
	"thaw/pagecache"
)

// TestPeers has the peers that Debian has restore a function for real, in turns with
// thaw, and then one run end early. Nothing is left of either.
func TestPeers(t *testing.T) {
	measurePeers(t, peers.CRIU, noCriu(os.Getenv("THAW_TEST_CRIU")))
}

// TestPeersGVisor is the same with a runsc that is built now, in minutes, unless the
// cache has it.
func TestPeersGVisor(t *testing.T) {
	measurePeers(t, peers.GVisor, noRunsc(os.Getenv("THAW_TEST_RUNSC")))
}

// measurePeers measures plain QEMU and another peer, unless there is a reason against it.
func measurePeers(t *testing.T, other, reason string) {
	s := open(t, t.TempDir(), nil)
	if _, err := pagecache.ReadaheadOf(s.state); err != nil {
		t.Skipf("%v: run with TMPDIR on a disk", err)
	}
	s.deploy(t, "hello", "../examples/hello", thaw.Settings{})
	o := peers.Options{
		Function: "hello", Event: []byte(`{"name": "Ada"}`), N: 2, Dir: t.TempDir(), Peers: []string{peers.QEMU},
		Runsc: os.Getenv("THAW_TEST_RUNSC"), Criu: os.Getenv("THAW_TEST_CRIU"), Cache: testcache.Dir(t), Say: func(step string) { t.Log(step) },
	}
	if reason == "" {
		o.Peers = append(o.Peers, other)
	}
	r, err := peers.Run(t.Context(), s.Client, o, func(int, int, string) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append([]string{peers.Thaw, peers.OnDemand}, o.Peers...) {
		t.Run(name, func(t *testing.T) { checkPeer(t, r, name, o.N) })
	}
	if reason != "" {
		t.Run(other, func(t *testing.T) { t.Skip(reason) })
	}
	nothingLeft(t, s, o.Dir)
	t.Run("Ended", func(t *testing.T) { testPeersEnded(t, s, o) })
}

func checkPeer(t *testing.T, r peers.Report, name string, n int) {
	i := slices.IndexFunc(r.Peers, func(p peers.Peer) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("was not measured: %+v", r.Skipped)
	}
	p := r.Peers[i]
	if len(p.Samples) != n || p.Version == "" || p.SnapshotBytes < 1<<20 {
		t.Errorf("incomplete: %+v", p)
	}
	for _, s := range p.Samples {
		if s.BytesRead < 1<<20 || s.WallMS <= 0 {
			t.Errorf("a cold start reads from the disk: %+v", s)
		}
	}
}

// testPeersEnded ends a run while it measures each of the peers, of a function that
// it has deployed itself.
func testPeersEnded(t *testing.T, s *site, o peers.Options) {
	o.Function = ""
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	last := o.Peers[len(o.Peers)-1]
	_, err := peers.Run(ctx, s.Client, o, func(_, _ int, what string) {
		if what == last {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the run ended with %v", err)
	}
	if list, err := s.Functions(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("functions %v, %v: want hello alone", list, err)
	}
	nothingLeft(t, s, o.Dir)
}

// nothingLeft looks for files, mounts and processes of a run.
func nothingLeft(t *testing.T, s *site, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("left mounted, %v:\n%s", err, mounts)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range lines {
		if b, _ := os.ReadFile(name); strings.Contains(string(b), dir) { // it may just have ended
			t.Errorf("still runs: %s: %q", name, b)
		}
	}
	eventually(t, "one VMM that waits and no other", func() bool {
		n, full := s.daemon.Prestarted()
		return full && len(children(os.Getpid())) == n+len(s.daemon.Instances())
	})
}

// noRunsc says why gVisor cannot be measured, "" if it can: program is there, or Go to
// build one.
func noRunsc(program string) string {
	if program == "" {
		program = "go"
	}
	if _, err := exec.LookPath(program); err != nil {
		return "there is no runsc, nor Go to build one: install Go, or name one in THAW_TEST_RUNSC"
	}
	return ""
}

// noCriu says why program, or the installed criu, cannot be measured, "" if it can.
func noCriu(program string) string {
	if program == "" {
		program = "criu"
	}
	if _, err := exec.LookPath(program); err != nil {
		return "there is no criu: install it, or name one in THAW_TEST_CRIU"
	}
	if out, err := exec.Command(program, "check").CombinedOutput(); err != nil {
		return "criu does not work with this kernel: name a newer one in THAW_TEST_CRIU: " + strings.TrimSpace(string(out))
	}
	return ""
}
