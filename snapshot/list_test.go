package snapshot_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/snapshot"
)

// listed returns what List says, by id.
func listed(t *testing.T, s *snapshot.Store) map[string]thaw.Snapshot {
	t.Helper()
	all, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]thaw.Snapshot{}
	for _, d := range all {
		by[d.ID] = d
		found, err := s.Find(d.ID)
		if diff := cmp.Diff(d, found); diff != "" || err != nil {
			t.Errorf("Find(%s): %v\n%s", d.ID, err, diff)
		}
	}
	if len(by) != len(all) {
		t.Errorf("%d of %d have an id of their own", len(by), len(all))
	}
	return by
}

// publishFor makes a snapshot of a version of a function.
func publishFor(t *testing.T, s *snapshot.Store, function string, version int) thaw.Manifest {
	t.Helper()
	d := draft(t, s)
	d.Function, d.Version = function, version
	m, err := d.Publish(t.Context(), machine(), images())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestList(t *testing.T) {
	s, dir := newStore(t)
	sameDescriptors(t)
	if got := listed(t, s); len(got) != 0 {
		t.Errorf("%v in a new store", got)
	}
	good, bad := publishFor(t, s, "hello", 3), publishFor(t, s, "other", 1)
	publishSets(t, s, good, 1, 2, 9)
	info, err := s.Info(good.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.QuarantineSet(setFile(t, s, good, thaw.FileLoadingSetReap), errors.New("set reason")); err != nil {
		t.Fatal(err)
	}
	set := info.Files[len(info.Files)-1]
	flip(t, s.Path(bad, thaw.FileMemory))
	quarantine(t, s, bad.ID, "first\nreason")
	unreadable := publishFor(t, s, "lost", 1)
	overwrite("garbage")(t, s.Path(unreadable, thaw.FileManifest))

	got := listed(t, s)
	if len(got) != 4 {
		t.Errorf("%d are listed, want 4", len(got))
	}
	t.Run("Published", func(t *testing.T) {
		want := thaw.Snapshot{SnapshotInfo: info}
		want.Files, want.DiskBytes = info.Files[:len(info.Files)-1], info.DiskBytes-set.DiskBytes
		if d := cmp.Diff(want, got[good.ID]); d != "" || want.Function != "hello" || want.Version != 3 || want.WorkingSetPages != 3 {
			t.Error(want, d)
		}
		if info.LoadingBytes() != set.Bytes || set.Bytes == 0 {
			t.Errorf("loading sets of %d bytes, want %d", info.LoadingBytes(), set.Bytes)
		}
	})
	t.Run("Quarantined", func(t *testing.T) {
		d := got[bad.ID]
		if d.Status != thaw.SnapshotQuarantined || d.Problem != "first\nreason" || time.Since(d.Quarantined) > time.Minute || d.Function != "other" || len(d.Files) != 4 || d.Folder != filepath.Join(dir, "quarantine", bad.ID) {
			t.Errorf("%+v", d)
		}
	})
	t.Run("QuarantinedSet", func(t *testing.T) {
		d := got[good.ID+"."+thaw.FileLoadingSetReap]
		if d.Status != thaw.SnapshotQuarantined || d.Set != thaw.FileLoadingSetReap || d.Problem != "set reason" || d.Function != "hello" || d.Version != 3 || d.DiskBytes != set.DiskBytes {
			t.Errorf("%+v", d)
		}
		if diff := cmp.Diff([]thaw.SnapshotFile{set}, d.Files); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("Unreadable", func(t *testing.T) {
		d := got[unreadable.ID]
		if !strings.Contains(d.Problem, "corrupt") || d.Status != "" || d.DiskBytes == 0 || len(d.Files) != 4 {
			t.Errorf("%+v", d)
		}
	})
	t.Run("ReasonLost", func(t *testing.T) {
		remove(t, filepath.Join(dir, "quarantine", bad.ID+".reason"))
		if d, err := s.Find(bad.ID); err != nil || d.Problem == "" {
			t.Errorf("%+v, %v", d, err)
		}
	})
}

func TestFindAndDiscardOfWhatIsNot(t *testing.T) {
	s, dir := newStore(t)
	m, aside := publish(t, s), publish(t, s)
	quarantine(t, s, aside.ID, "reason")
	victim := filepath.Join(dir, "victim12")
	if err := os.CopyFS(victim, os.DirFS(filepath.Join(dir, "snapshots", m.ID))); err != nil {
		t.Fatal(err)
	}
	frozen(t, dir)
	for id, want := range map[string]thaw.Code{
		"": thaw.CodeInvalid, ".": thaw.CodeInvalid, "..": thaw.CodeInvalid, "../victim12": thaw.CodeInvalid, m.ID + "/../../victim12": thaw.CodeInvalid,
		"/etc": thaw.CodeInvalid, "short": thaw.CodeInvalid, "draft-abcdefgh": thaw.CodeInvalid, strings.Repeat("a", 65): thaw.CodeInvalid,
		aside.ID + "/state": thaw.CodeInvalid, aside.ID + "..": thaw.CodeInvalid, m.ID + "\n": thaw.CodeInvalid, m.ID + "\x00": thaw.CodeInvalid,
		"victim12": thaw.CodeNotFound, aside.ID + ".reason": thaw.CodeNotFound, aside.ID + ".1": thaw.CodeNotFound, m.ID + ".state": thaw.CodeNotFound,
		strings.Repeat("a", 26): thaw.CodeNotFound,
	} {
		_, findErr := s.Find(id)
		_, checkErr := s.Check(t.Context(), id, nil)
		discardErr := s.Discard(id, func() error { t.Errorf("asked about %q", id); return nil })
		for name, err := range map[string]error{"Find": findErr, "Check": checkErr, "Discard": discardErr} {
			if thaw.CodeOf(err) != want {
				t.Errorf("%s(%q) = %v, want %s", name, id, err, want)
			}
		}
	}
}

func allow() error { return nil }

func TestDiscard(t *testing.T) {
	s, dir := newStore(t)
	m, aside := publish(t, s), publish(t, s)
	publishSets(t, s, m, 1)
	quarantine(t, s, aside.ID, "reason")
	if err := s.QuarantineSet(setFile(t, s, m, thaw.FileWorkingSet), errors.New("reason")); err != nil {
		t.Fatal(err)
	}
	refusal := errors.New("needed")
	if err := s.Discard(m.ID, func() error { return refusal }); !errors.Is(err, refusal) || len(ids(t, s)) != 1 {
		t.Errorf("Discard = %v, want the refusal, and nothing gone", err)
	}
	for _, id := range []string{m.ID, aside.ID, m.ID + "." + thaw.FileWorkingSet} {
		if err := s.Discard(id, allow); err != nil {
			t.Errorf("Discard(%s) = %v", id, err)
		}
		if err := s.Discard(id, allow); thaw.CodeOf(err) != thaw.CodeNotFound {
			t.Errorf("Discard(%s) again = %v", id, err)
		}
	}
	for _, folder := range []string{"snapshots", "quarantine"} {
		if left := names(t, filepath.Join(dir, folder)); len(left) > 0 {
			t.Errorf("%v are left in %s", left, folder)
		}
	}
}

// TestDiscardOfWhatIsOpen: also in quarantine, where a VM that runs may have its
// memory.
func TestDiscardOfWhatIsOpen(t *testing.T) {
	s, _ := newStore(t)
	sameDescriptors(t)
	m := publish(t, s)
	publishSets(t, s, m, 1)
	first, err := s.Open(t.Context(), m, machine())
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Open(t.Context(), m, machine())
	if err != nil {
		t.Fatal(err)
	}
	for _, move := range []func(){func() {}, func() { quarantine(t, s, m.ID, "reason") }} {
		move()
		if d, err := s.Find(m.ID); err != nil || d.Users != 2 {
			t.Errorf("%d users, %v, want 2", d.Users, err)
		}
		if err := s.Discard(m.ID, allow); thaw.CodeOf(err) != thaw.CodeConflict || !strings.Contains(err.Error(), "wait until they have ended") {
			t.Errorf("Discard = %v, want a conflict and what to do", err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	_ = first.Close() // a second time does not count
	if err := s.Discard(m.ID, allow); thaw.CodeOf(err) != thaw.CodeConflict {
		t.Errorf("Discard with one user left = %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Discard(m.ID, allow); err != nil {
		t.Error(err)
	}
}

// TestHoldsOfOpensThatFail: nothing is held by them.
func TestHoldsOfOpensThatFail(t *testing.T) {
	s, _ := newStore(t)
	m := publish(t, s)
	flip(t, s.Path(m, thaw.FileState))
	if err := openError(t, s, m.ID, machine()); !errors.Is(err, snapshot.ErrCorrupt) {
		t.Fatal(err)
	}
	other := machine()
	other.Kernel = "k2"
	if err := openError(t, s, m.ID, other); !errors.Is(err, snapshot.ErrStale) {
		t.Fatal(err)
	}
	if err := s.Discard(m.ID, allow); err != nil {
		t.Error(err)
	}
}

// TestDiscardAndOpenAtOnce: what was opened before it was discarded was not
// discarded.
func TestDiscardAndOpenAtOnce(t *testing.T) {
	for range 20 {
		s, _ := newStore(t)
		m := publish(t, s)
		var work sync.WaitGroup
		for range 4 {
			work.Go(func() {
				o, err := s.Open(t.Context(), m, machine())
				if err != nil {
					return // it was discarded first
				}
				if _, err := os.Stat(s.Path(m, thaw.FileManifest)); err != nil {
					t.Errorf("it is open and gone: %v", err)
				}
				_ = o.Close()
			})
		}
		work.Go(func() {
			if err := s.Discard(m.ID, allow); err != nil && thaw.CodeOf(err) != thaw.CodeConflict {
				t.Error(err)
			}
		})
		work.Wait()
	}
}
