package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw"
)

// TestSnapshots takes a snapshot through being listed, verified, damaged, put in
// quarantine and removed.
func TestSnapshots(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	v := s.deploy(t, "probe", "testdata/probe", thaw.Settings{})
	if v.Snapshot == "" {
		t.Fatalf("no snapshot: %s\n%s", v.Problem, s.log)
	}
	s.recorded(t, "probe", helloEvent)
	t.Run("Listed", func(t *testing.T) { testListed(t, s, v) })
	t.Run("RemoveRefused", func(t *testing.T) { testRemoveRefused(t, s, v.Snapshot) })
	t.Run("SetDamaged", func(t *testing.T) { testSetDamaged(t, s, v.Snapshot) })
	t.Run("MemoryDamaged", func(t *testing.T) { testMemoryDamaged(t, s, v) })
	t.Run("Quarantined", func(t *testing.T) { testQuarantined(t, s, v.Snapshot) })
}

// statuses returns what the list says, by id.
func statuses(t *testing.T, s *site) map[string]thaw.Snapshot {
	t.Helper()
	all, err := s.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]thaw.Snapshot{}
	for _, d := range all {
		by[d.ID] = d
	}
	return by
}

func testListed(t *testing.T, s *site, v thaw.Version) {
	got := statuses(t, s)
	d := got[v.Snapshot]
	if len(got) != 1 || d.Status != thaw.SnapshotServes || d.Function != "probe" || d.Version != v.Number || d.Users != 1 {
		t.Errorf("%+v", got)
	}
	if d.MemoryBytes != v.MemoryBytes || d.DiskBytes >= d.MemoryBytes || d.WorkingSetPages == 0 || d.LoadingBytes() <= d.WorkingSetPages*thaw.PageSize {
		t.Errorf("%d bytes of memory, %d on disk, %d pages in the working set, %d bytes of loading sets", d.MemoryBytes, d.DiskBytes, d.WorkingSetPages, d.LoadingBytes())
	}
	if diff := cmp.Diff(*s.describe(t, "probe").SnapshotInfo, d.SnapshotInfo); diff != "" {
		t.Error(diff)
	}
}

// bad verifies and returns the files that are bad.
func bad(t *testing.T, s *site, id string) (names []string) {
	t.Helper()
	checked := map[string]thaw.FileCheck{}
	v, err := s.VerifySnapshot(t.Context(), id, func(f thaw.FileCheck) {
		if f.ReadBytes < checked[f.Name].ReadBytes {
			t.Errorf("%s: %d bytes read, then %d", f.Name, checked[f.Name].ReadBytes, f.ReadBytes)
		}
		checked[f.Name] = f
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range v.Files {
		if f != checked[f.Name] {
			t.Errorf("%+v is not what was told last, %+v", f, checked[f.Name])
		}
		if f.Status != thaw.CheckOK {
			names = append(names, f.Name)
		}
	}
	if len(v.Files) < 4 || v.Good != (len(names) == 0) {
		t.Errorf("%+v", v)
	}
	return names
}

// testRemoveRefused: a function starts from it, with or without VMs.
func testRemoveRefused(t *testing.T, s *site, id string) {
	for range 2 {
		err := s.RemoveSnapshot(t.Context(), id)
		if thaw.CodeOf(err) != thaw.CodeConflict || !strings.Contains(err.Error(), "thaw rm probe") {
			t.Errorf("RemoveSnapshot = %v, want a conflict and what to do", err)
		}
		s.idle(t)
	}
	hello(t, s.cold(t, "probe", thaw.PolicyVanilla, helloEvent), thaw.StartCold, thaw.PolicyVanilla)
}

// idle ends the instances of probe, all of which are idle.
func (s *site) idle(t *testing.T) {
	t.Helper()
	if err := s.daemon.EndIdle("probe"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "that nobody uses a snapshot", func() bool {
		for _, d := range statuses(t, s) {
			if d.Users > 0 {
				return false
			}
		}
		return true
	})
}

// testSetDamaged flips a bit of a loading set: the command names it and what to do,
// which helps.
func testSetDamaged(t *testing.T, s *site, id string) {
	if names := bad(t, s, id); names != nil {
		t.Errorf("%v are bad before anything has happened", names)
	}
	folder := s.describe(t, "probe").SnapshotInfo.Folder
	damage(t, filepath.Join(folder, thaw.FileLoadingSetReap), flip)
	if names := bad(t, s, id); !slices.Equal(names, []string{thaw.FileLoadingSetReap}) {
		t.Errorf("%v are bad, want %s", names, thaw.FileLoadingSetReap)
	}
	if got := statuses(t, s); len(got) != 1 || got[id].Status != thaw.SnapshotServes {
		t.Errorf("verifying has changed something: %+v", got)
	}
	bin, env := build(t), []string{"THAW_ADDR=" + s.url}
	out, code := execute(t, bin, env, "snapshot", "verify", "probe")
	for _, want := range []string{"\n  loading-set-reap     corrupt ", "\n  memory               ok ", "of probe version 1: BAD", "loading-set-reap is corrupt: it is good without", "`thaw invoke probe:1 --record -d EVENT`"} {
		if code != 4 || !strings.Contains(out, want) {
			t.Errorf("exit %d, want 4 and %q:\n%s", code, want, out)
		}
	}
	if out, code := execute(t, bin, env, "invoke", "probe", "--record", "-d", helloEvent); code != 0 {
		t.Errorf("exit %d: %s", code, out)
	}
	if out, code := execute(t, bin, env, "snapshot", "verify", "--all"); code != 0 || !strings.Contains(out, "of probe version 1: good") {
		t.Errorf("exit %d after what it said to do:\n%s", code, out)
	}
}

// testMemoryDamaged flips a bit of guest memory: the next start puts the snapshot
// in quarantine.
func testMemoryDamaged(t *testing.T, s *site, v thaw.Version) {
	damage(t, filepath.Join(s.describe(t, "probe").SnapshotInfo.Folder, thaw.FileMemory), flip)
	if names := bad(t, s, v.Snapshot); !slices.Equal(names, []string{thaw.FileMemory}) {
		t.Errorf("%v are bad, want %s", names, thaw.FileMemory)
	}
	if r := s.cold(t, "probe", thaw.PolicyVanilla, helloEvent); r.Start != thaw.StartBoot {
		t.Errorf("%s start (%s), want a boot", r.Start, r.Reason)
	}
	eventually(t, "another snapshot", func() bool { return s.describe(t, "probe").SnapshotInfo != nil })
	got := statuses(t, s)
	d := got[v.Snapshot]
	if len(got) != 2 || d.Status != thaw.SnapshotQuarantined || !strings.Contains(d.Problem, "checksum of the memory file") || d.Function != "probe" || d.Version != v.Number {
		t.Errorf("%+v", got)
	}
	if names := bad(t, s, v.Snapshot); !slices.Equal(names, []string{thaw.FileMemory}) {
		t.Errorf("%v are bad in quarantine, want %s", names, thaw.FileMemory)
	}
	if names := bad(t, s, s.describe(t, "probe").Snapshot); names != nil {
		t.Errorf("%v are bad of the new one", names)
	}
}

// testQuarantined removes the old snapshot, once no VM is left that came from it.
func testQuarantined(t *testing.T, s *site, id string) {
	if err := s.RemoveSnapshot(t.Context(), id); thaw.CodeOf(err) != thaw.CodeConflict || !strings.Contains(err.Error(), "in use") {
		t.Errorf("with VMs that were restored from it: %v", err)
	}
	s.idle(t)
	if err := s.RemoveSnapshot(t.Context(), id); err != nil {
		t.Errorf("without: %v", err)
	}
	if got := statuses(t, s); len(got) != 1 || got[id].ID != "" {
		t.Errorf("%+v", got)
	}
	if left, _ := filepath.Glob(filepath.Join(s.state, "*", id+"*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	hello(t, s.cold(t, "probe", thaw.PolicyVanilla, helloEvent), thaw.StartCold, thaw.PolicyVanilla)
}
