package snapshot_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/snapshot"
	"thaw/workingset"
)

func setOf(pages ...uint32) workingset.Set {
	var set workingset.Set
	for i, p := range pages {
		set.Touches = append(set.Touches, workingset.Touch{Page: p, After: time.Duration(i) * time.Microsecond})
	}
	return set
}

func publishSet(t *testing.T, s *snapshot.Store, m thaw.Manifest, pages ...uint32) {
	t.Helper()
	if published, err := s.PublishWorkingSet(t.Context(), m, setOf(pages...)); !published || err != nil {
		t.Fatalf("PublishWorkingSet = %v, %v", published, err)
	}
}

func pagesOf(f *workingset.File) (pages []uint32) {
	for _, t := range f.Touches {
		pages = append(pages, t.Page)
	}
	return pages
}

func TestWorkingSet(t *testing.T) {
	s, dir := newStore(t)
	sameDescriptors(t)
	m := publish(t, s)
	if _, err := s.WorkingSet(m); !errors.Is(err, fs.ErrNotExist) || s.HasWorkingSet(m.ID) {
		t.Errorf("WorkingSet before there is one = %v", err)
	}
	publishSet(t, s, m, 300, 9, 255, 256, 1)
	if !s.HasWorkingSet(m.ID) {
		t.Error("HasWorkingSet does not see it")
	}
	info, err := os.Stat(filepath.Join(dir, "snapshots", m.ID, thaw.FileWorkingSet))
	if err != nil || info.Mode() != 0o400 {
		t.Errorf("working set has mode %v, %v", info.Mode(), err)
	}
	f, err := s.WorkingSet(m)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]uint32{300, 9, 255, 256, 1}, pagesOf(f)); d != "" {
		t.Error(d)
	}
	pages := 0
	for at, b := range f.Pieces() {
		pages += len(b) / thaw.PageSize
		if !bytes.Equal(b, guestMemory()[at:][:len(b)]) {
			t.Errorf("the %d bytes at %d are not those of guest memory", len(b), at)
		}
	}
	if pages != 5 {
		t.Errorf("contents of %d pages are there, want 5", pages)
	}
	t.Run("FirstIsKept", func(t *testing.T) {
		if published, err := s.PublishWorkingSet(t.Context(), m, setOf(7)); published || err != nil {
			t.Errorf("second PublishWorkingSet = %v, %v, want false", published, err)
		}
		if f, err := s.WorkingSet(m); err != nil || len(f.Touches) != 5 {
			t.Errorf("first working set was not kept: %v", err)
		}
	})
	t.Run("Quarantine", func(t *testing.T) {
		for range 2 {
			if err := s.QuarantineWorkingSet(m.ID, errors.New("reason")); err != nil {
				t.Fatal(err)
			}
		}
		if s.HasWorkingSet(m.ID) {
			t.Error("quarantined working set is still there")
		}
		if err := s.Verify(t.Context(), m.ID); err != nil {
			t.Errorf("the snapshot suffers with its working set: %v", err)
		}
		publishSet(t, s, m, 7)
	})
}

func TestWorkingSetThatCannotBeTrusted(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"Flipped":  flip,
		"Cut":      resize(-1),
		"Grown":    resize(thaw.PageSize),
		"Empty":    overwrite(""),
		"Garbage":  overwrite("garbage"),
		"AFolder":  folderInstead,
		"TooLarge": resize(workingset.Size(workingset.MaxPages)),
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := newStore(t)
			sameDescriptors(t)
			m := publish(t, s)
			publishSet(t, s, m, 1, 2, 9)
			damage(t, filepath.Join(dir, "snapshots", m.ID, thaw.FileWorkingSet))
			if _, err := s.WorkingSet(m); !errors.Is(err, workingset.ErrCorrupt) {
				t.Errorf("WorkingSet = %v, want ErrCorrupt: otherwise it is never put in quarantine and every restore fails", err)
			}
		})
	}
}

func TestWorkingSetOfAnotherSnapshot(t *testing.T) {
	s, dir := newStore(t)
	m := publish(t, s)
	publishSet(t, s, m, 1, 2)
	set, err := os.ReadFile(filepath.Join(dir, "snapshots", m.ID, thaw.FileWorkingSet))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"OtherContents": {1}, "OtherSize": make([]byte, thaw.PageSize*10)} {
		t.Run(name, func(t *testing.T) {
			d, err := s.Draft(guestPages * thaw.PageSize)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Memory.Write(content); err != nil {
				t.Fatal(err)
			}
			other, err := d.Publish(t.Context(), machine(), images())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "snapshots", other.ID, thaw.FileWorkingSet), set, 0o400); err != nil {
				t.Fatal(err)
			}
			if _, err := s.WorkingSet(other); !errors.Is(err, workingset.ErrCorrupt) {
				t.Errorf("WorkingSet = %v, want ErrCorrupt", err)
			}
		})
	}
}

func TestPublishWorkingSetThatIsWrong(t *testing.T) {
	for name, set := range map[string]workingset.Set{
		"Empty":     {},
		"Outside":   setOf(guestPages),
		"PageTwice": setOf(3, 3),
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := newStore(t)
			sameDescriptors(t)
			m := publish(t, s)
			if published, err := s.PublishWorkingSet(t.Context(), m, set); published || err == nil {
				t.Errorf("PublishWorkingSet = %v, %v", published, err)
			}
			if got := names(t, filepath.Join(dir, "snapshots", m.ID)); len(got) != 3 {
				t.Errorf("it leaves %v", got)
			}
		})
	}
}

// TestPublishWorkingSetOfChangedMemory: pages are taken from the very file that
// was restored, or not at all.
func TestPublishWorkingSetOfChangedMemory(t *testing.T) {
	s, dir := newStore(t)
	m := publish(t, s)
	flip(t, filepath.Join(dir, "snapshots", m.ID, thaw.FileMemory))
	if published, err := s.PublishWorkingSet(t.Context(), m, setOf(1)); published || !errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("PublishWorkingSet = %v, %v, want ErrCorrupt", published, err)
	}
	if s.HasWorkingSet(m.ID) {
		t.Error("a working set was published")
	}
}
