package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"thaw"
	"thaw/daemon"
)

const whoEvent = `{"do": "who"}`

// TestVersions has two versions of a function live side by side, moves what points
// at them, and removes what nothing does.
func TestVersions(t *testing.T) {
	s := open(t, t.TempDir(), func(c *daemon.Config) { c.KeepVersions = 2 })
	var deployed []thaw.Version
	for _, colour := range []string{"red", "green"} {
		deployed = append(deployed, s.deploy(t, "probe", "testdata/probe", thaw.Settings{Env: map[string]string{"COLOUR": colour}}))
	}
	for ref, colour := range map[string]string{"probe": "green", "probe:1": "red", "probe:2": "green", "probe:$LATEST": "green"} {
		s.isColour(t, ref, colour)
	}
	t.Run("Learning", func(t *testing.T) { testLearnedApart(t, s) })
	t.Run("Aliases", func(t *testing.T) { testAliases(t, s) })
	t.Run("Rollback", func(t *testing.T) { testRollback(t, s) })
	t.Run("RollbackWithoutSnapshot", func(t *testing.T) { testRollbackWithoutSnapshot(t, s) })
	t.Run("CommandLine", func(t *testing.T) { testVersionCommands(t, s) })
	t.Run("Prune", func(t *testing.T) { testPrune(t, s, deployed) })
}

// isColour invokes ref and wants the version that was deployed with colour.
func (s *site) isColour(t *testing.T, ref, colour string) thaw.Reply {
	t.Helper()
	r := s.warm(t, ref, whoEvent)
	number := map[string]int{"red": 1, "green": 2, "blue": 3}[colour]
	if w := decode[who](t, r.Payload); w.Env != colour || r.Version != number || r.Function != "probe" {
		t.Errorf("%s is %s, version %d of %s; want %s", ref, w.Env, r.Version, r.Function, colour)
	}
	return r
}

// testLearnedApart records a larger working set for one version: the other one
// keeps its own.
func testLearnedApart(t *testing.T, s *site) {
	pages := func(ref string) int64 { return s.describe(t, ref).SnapshotInfo.WorkingSetPages }
	for _, ref := range []string{"probe:1", "probe:2"} {
		s.recorded(t, ref, helloEvent)
	}
	one, two := pages("probe:1"), pages("probe:2")
	s.invoke(t, thaw.InvokeRequest{Function: "probe:1", Payload: []byte(wideEvent), Policy: thaw.PolicyReap, Record: true})
	if pages("probe:1") <= one || pages("probe:2") != two {
		t.Errorf("working sets of %d and %d pages are %d and %d after a recording of the first", one, two, pages("probe:1"), pages("probe:2"))
	}
	for ref, want := range map[string][]int{"probe:1": {1}, "probe:2": {2}, "probe": {1, 2}} {
		d := s.describe(t, ref)
		seen := map[int]bool{}
		for _, i := range d.Invocations {
			seen[i.Version] = true
		}
		for _, in := range d.Instances {
			seen[in.Version] = true
		}
		if len(seen) != len(want) || slices.ContainsFunc(want, func(n int) bool { return !seen[n] }) {
			t.Errorf("%s tells of versions %v, want %v", ref, seen, want)
		}
	}
}

func testAliases(t *testing.T, s *site) {
	for weight, colour := range map[float64]string{0: "red", 1: "green"} {
		if err := s.SetAlias(t.Context(), "probe", thaw.Alias{Name: "canary", Version: 1, Weights: map[int]float64{2: weight}}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			s.isColour(t, "probe:canary", colour)
		}
	}
	if err := s.SetAlias(t.Context(), "probe", thaw.Alias{Name: "canary", Version: 3}); thaw.CodeOf(err) != thaw.CodeNotFound {
		t.Errorf("an alias for a version that is not there: %v", err)
	}
	if _, err := s.Invoke(t.Context(), thaw.InvokeRequest{Function: "probe:beta"}); thaw.CodeOf(err) != thaw.CodeNotFound {
		t.Errorf("invoke by an alias that is not there: %v", err)
	}
	if err := s.RemoveAlias(t.Context(), "probe", "canary"); err != nil {
		t.Error(err)
	}
}

// testRollback rolls back while version 2 is at work: that is finished, its other
// instances end, and those of version 1 are used.
func testRollback(t *testing.T, s *site) {
	s.isColour(t, "probe:1", "red") // leaves a warm instance
	busy := make(chan error)
	go func() {
		_, err := s.Invoke(t.Context(), thaw.InvokeRequest{Function: "probe:2", Payload: []byte(`{"do": "sleep", "seconds": 3}`), Cold: true})
		busy <- err
	}()
	eventually(t, "an instance of version 2 at work", func() bool {
		return slices.ContainsFunc(s.daemon.Instances(), func(in thaw.Instance) bool {
			return in.Version == 2 && in.State == thaw.InstanceBusy
		})
	})
	v, err := s.Rollback(t.Context(), "probe", 0)
	if err != nil || v.Number != 1 {
		t.Fatalf("rollback to %d, %v", v.Number, err)
	}
	if r := s.isColour(t, "probe", "red"); r.Start != thaw.StartWarm {
		t.Errorf("%s start after the rollback, want that of an instance of version 1", r.Start)
	}
	if err := <-busy; err != nil {
		t.Errorf("the invocation under way: %v", err)
	}
	eventually(t, "the end of the instances of version 2", func() bool {
		return !slices.ContainsFunc(s.daemon.Instances(), func(in thaw.Instance) bool { return in.Version == 2 })
	})
	if _, err := s.Rollback(t.Context(), "probe", 0); thaw.CodeOf(err) != thaw.CodeConflict {
		t.Errorf("rollback to before the first version: %v", err)
	}
	s.isColour(t, "probe:$LATEST", "green")
}

// testRollbackWithoutSnapshot rolls back to a version whose snapshot turns out to
// be damaged: it boots, and another one is made.
func testRollbackWithoutSnapshot(t *testing.T, s *site) {
	d := s.describe(t, "probe:2")
	damage(t, filepath.Join(d.SnapshotInfo.Folder, thaw.FileState), flip)
	if _, err := s.Rollback(t.Context(), "probe", 2); err != nil {
		t.Fatal(err)
	}
	if r := s.cold(t, "probe", thaw.PolicyVanilla, whoEvent); r.Start != thaw.StartBoot || r.Version != 2 {
		t.Errorf("%s start of version %d (%s), want a boot of 2", r.Start, r.Version, r.Reason)
	}
	eventually(t, "another snapshot", func() bool {
		now := s.describe(t, "probe:2")
		return now.SnapshotInfo != nil && now.Snapshot != d.Snapshot
	})
	if r := s.cold(t, "probe", thaw.PolicyVanilla, whoEvent); r.Start != thaw.StartCold || r.Version != 2 {
		t.Errorf("%s start of version %d (%s) from the new one", r.Start, r.Version, r.Reason)
	}
}

func testVersionCommands(t *testing.T, s *site) {
	bin, env := build(t), []string{"THAW_ADDR=" + s.url}
	for _, test := range []struct {
		args []string
		exit int
		want []string
	}{
		{[]string{"versions", "probe"}, 0, []string{"\n2        yes     -        ", "\n1        -       -        ", "  ready     "}},
		{[]string{"diff", "probe", "1", "2"}, 0, []string{"\n*  env.COLOUR           set ", "\n   memory_bytes         256 MiB ", "\n   code  ", "\n*  working_set_bytes  "}},
		{[]string{"diff", "probe", "1", "$LATEST", "-o", "json"}, 0, []string{`"red",` + "\n      " + `"green"`}},
		{[]string{"explain", "probe:1"}, 0, []string{"probe version 1, "}},
		{[]string{"snapshot", "verify", "probe:1"}, 0, []string{"of probe version 1: good"}},
		{[]string{"rm", "probe:2"}, 2, []string{"version 2 of function probe serves", "thaw rollback probe VERSION"}},
		{[]string{"alias", "set", "probe", "live", "1"}, 0, []string{"probe:live is version 1\n"}},
		{[]string{"rm", "probe:1"}, 2, []string{"alias live of function probe names version 1", "thaw alias rm probe live"}},
		{[]string{"invoke", "probe:live", "-d", `{"do": "echo"}`, "-o", "json"}, 0, []string{`"version": 1,`}},
		{[]string{"alias", "rm", "probe", "live"}, 0, []string{"probe:live removed\n"}},
		{[]string{"rm", "probe:7"}, 3, []string{"has no version 7: `thaw versions probe`"}},
	} {
		out, code := execute(t, bin, env, test.args...)
		for _, want := range test.want {
			if code != test.exit || !strings.Contains(out, want) {
				t.Errorf("thaw %s: exit %d, want %d and %q:\n%s", strings.Join(test.args, " "), code, test.exit, want, out)
			}
		}
	}
}

// testPrune deploys a third version, where two are kept, and removes one of those.
func testPrune(t *testing.T, s *site, deployed []thaw.Version) {
	s.deploy(t, "probe", "testdata/probe", thaw.Settings{Env: map[string]string{"COLOUR": "blue"}})
	s.isColour(t, "probe", "blue")
	s.isColour(t, "probe:2", "green")
	if _, err := s.Describe(t.Context(), "probe:1"); thaw.CodeOf(err) != thaw.CodeNotFound {
		t.Errorf("describe of a pruned version: %v", err)
	}
	if _, err := os.Stat(filepath.Join(s.state, "snapshots", deployed[0].Snapshot)); !os.IsNotExist(err) {
		t.Errorf("snapshot of version 1 is still there: %v", err)
	}
	eventually(t, "the removal of version 2, once nothing is at work", func() bool { return s.Remove(t.Context(), "probe:2") == nil })
	if all, err := s.Versions(t.Context(), "probe"); err != nil || len(all) != 1 || all[0].Number != 3 || !all[0].Serves {
		t.Errorf("%+v, %v", all, err)
	}
	if got := statuses(t, s); len(got) != 2 { // one that serves, one in quarantine
		t.Errorf("%d snapshots are left: %+v", len(got), got)
	}
	eventually(t, "the end of the instances of version 2", func() bool {
		return !slices.ContainsFunc(s.daemon.Instances(), func(in thaw.Instance) bool { return in.Version != 3 })
	})
}

// TestVersionsSurviveKill kills a daemon that has versions and pointers: the next
// one has them all, and restores each.
func TestVersionsSurviveKill(t *testing.T) {
	bin, state := build(t), t.TempDir()
	p := serve(t, bin, state)
	p.deploy(t, "probe", "testdata/probe")
	p.deploy(t, "probe", "testdata/probe")
	if err := p.SetAlias(t.Context(), "probe", thaw.Alias{Name: "live", Version: 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Rollback(t.Context(), "probe", 0); err != nil {
		t.Fatal(err)
	}
	pids := vmms(t, p.cmd.Process.Pid)
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
	gone(t, pids)
	p = serve(t, bin, state)
	for ref, want := range map[string]int{"probe": 1, "probe:live": 2} {
		r, err := p.InvokeRecorded(t.Context(), thaw.InvokeRequest{Function: ref, Payload: []byte(helloEvent), Policy: thaw.PolicyVanilla})
		if err != nil || r.Version != want || r.Start != thaw.StartCold {
			t.Errorf("%s is version %d by a %s start (%s), %v", ref, r.Version, r.Start, r.Reason, err)
		}
	}
}
