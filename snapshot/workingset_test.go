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

func setOf(t *testing.T, m thaw.Manifest, pages ...uint32) workingset.Set {
	t.Helper()
	set := workingset.Set{Recordings: 1}
	for i, p := range pages {
		set.Touches = append(set.Touches, workingset.Touch{Page: p, Uses: 1, After: time.Duration(i) * time.Microsecond})
	}
	var err error
	if set.Memory, set.MemoryPages, err = snapshot.Sum(m); err != nil {
		t.Fatal(err)
	}
	return set
}

func loadingOf(t *testing.T, m thaw.Manifest, pages ...uint32) workingset.LoadingSet {
	t.Helper()
	set := setOf(t, m, pages...)
	return workingset.LoadingSet{Memory: set.Memory, MemoryPages: set.MemoryPages, Extents: set.ByAddress()}
}

// publishSets gives m a working set and a loading set.
func publishSets(t *testing.T, s *snapshot.Store, m thaw.Manifest, pages ...uint32) {
	t.Helper()
	var b bytes.Buffer
	if err := workingset.Encode(&b, setOf(t, m, pages...)); err != nil {
		t.Fatal(err)
	}
	if err := s.PublishWorkingSet(m, thaw.FileWorkingSet, b.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := s.PublishLoadingSet(t.Context(), m, thaw.FileLoadingSetReap, loadingOf(t, m, pages...)); err != nil {
		t.Fatal(err)
	}
}

// loadingError opens the loading set and reads its pages.
func loadingError(s *snapshot.Store, m thaw.Manifest) error {
	l, err := s.LoadingSet(m, thaw.FileLoadingSetReap)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(s.Path(m, thaw.FileLoadingSetReap))
	return errors.Join(err, l.VerifyAll(b[l.DataOffset():]), l.Close())
}

func TestSets(t *testing.T) {
	s, _ := newStore(t)
	sameDescriptors(t)
	m := publish(t, s)
	if _, err := s.WorkingSet(m, thaw.FileWorkingSet); !errors.Is(err, fs.ErrNotExist) || s.Has(m, thaw.FileWorkingSet) {
		t.Errorf("WorkingSet before there is one = %v", err)
	}
	if err := loadingError(s, m); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("LoadingSet before there is one = %v", err)
	}
	pages := []uint32{300, 9, 255, 256, 1}
	publishSets(t, s, m, pages...)
	for _, name := range []string{thaw.FileWorkingSet, thaw.FileLoadingSetReap} {
		info, err := os.Stat(s.Path(m, name))
		if err != nil || info.Mode() != 0o400 || !s.Has(m, name) {
			t.Errorf("%s has mode %v, %v", name, info.Mode(), err)
		}
	}
	set, err := s.WorkingSet(m, thaw.FileWorkingSet)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(setOf(t, m, pages...), set); d != "" {
		t.Error(d)
	}
	l, err := s.LoadingSet(m, thaw.FileLoadingSetReap)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b, err := os.ReadFile(s.Path(m, thaw.FileLoadingSetReap))
	if err != nil {
		t.Fatal(err)
	}
	for at, piece := range workingset.Pieces(l.Extents, b[l.DataOffset():]) {
		if !bytes.Equal(piece, guestMemory()[at:][:len(piece)]) {
			t.Errorf("the %d bytes at %d are not those of guest memory", len(piece), at)
		}
	}
	info, err := s.Info(m.ID)
	if err != nil || info.WorkingSetPages != 5 || info.HostPages != 0 || len(info.Files) != 6 {
		t.Errorf("Info = %+v, %v", info, err)
	}
}

// TestSetsAreReplaced: a reader of the old one is not disturbed, the key tells them
// apart, and what was wrong with the old one is not held against the new one.
func TestSetsAreReplaced(t *testing.T) {
	s, _ := newStore(t)
	sameDescriptors(t)
	m := publish(t, s)
	publishSets(t, s, m, 1, 2)
	before := setFile(t, s, m, thaw.FileLoadingSetReap)
	old, err := s.LoadingSet(m, thaw.FileLoadingSetReap)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	publishSets(t, s, m, 1, 2, 3)
	if now := setFile(t, s, m, thaw.FileLoadingSetReap); now == before || now.Key() == before.Key() {
		t.Errorf("%v, as before", now)
	}
	if err := s.QuarantineSet(before, errors.New("reason")); err != nil || !s.Has(m, thaw.FileLoadingSetReap) {
		t.Errorf("the new one is gone, %v", err)
	}
	if info, err := old.File.Stat(); err != nil || info.Size() != old.Size() {
		t.Errorf("the old file has changed: %v", err)
	}
	if set, err := s.WorkingSet(m, thaw.FileWorkingSet); err != nil || len(set.Touches) != 3 {
		t.Errorf("%d pages, %v", len(set.Touches), err)
	}
}

func TestNonZero(t *testing.T) {
	s, dir := newStore(t)
	sameDescriptors(t)
	m := publish(t, s)
	runs, err := s.NonZero(m)
	if err != nil {
		t.Fatal(err)
	}
	bits := workingset.BitsOf(guestPages, runs)
	zero := make([]byte, thaw.PageSize)
	for p := range uint32(guestPages) {
		page := guestMemory()[int(p)*thaw.PageSize:][:thaw.PageSize]
		if bits.Has(p) == bytes.Equal(page, zero) {
			t.Fatalf("page %d: %v", p, bits.Has(p))
		}
	}
	if n := workingset.CountPages(runs); n != m.NonZeroPages {
		t.Errorf("%d pages, the manifest says %d", n, m.NonZeroPages)
	}
	flip(t, filepath.Join(dir, "snapshots", m.ID, thaw.FileRegions))
	if _, err := s.NonZero(m); !errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("NonZero = %v, want ErrCorrupt", err)
	}
	if err := s.Verify(t.Context(), m.ID); !errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("Verify = %v, want ErrCorrupt", err)
	}
}

func TestSetsThatCannotBeTrusted(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"Flipped":  flip,
		"Cut":      resize(-1),
		"Grown":    resize(thaw.PageSize),
		"Empty":    overwrite(""),
		"Garbage":  overwrite("garbage"),
		"AFolder":  folderInstead,
		"TooLarge": resize(workingset.MaxLoadingSet(thaw.MaxMemory)),
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newStore(t)
			sameDescriptors(t)
			m := publish(t, s)
			publishSets(t, s, m, 1, 2, 9)
			damage(t, s.Path(m, thaw.FileWorkingSet))
			damage(t, s.Path(m, thaw.FileLoadingSetReap))
			if _, err := s.WorkingSet(m, thaw.FileWorkingSet); !errors.Is(err, workingset.ErrCorrupt) {
				t.Errorf("WorkingSet = %v, want ErrCorrupt: otherwise it is never put in quarantine and every restore fails", err)
			}
			if err := loadingError(s, m); !errors.Is(err, workingset.ErrCorrupt) {
				t.Errorf("LoadingSet = %v, want ErrCorrupt", err)
			}
			if err := s.Verify(t.Context(), m.ID); err != nil {
				t.Errorf("the snapshot suffers with its sets: %v", err)
			}
			if s.Has(m, thaw.FileWorkingSet) || s.Has(m, thaw.FileLoadingSetReap) {
				t.Error("Verify left a bad set where it was")
			}
		})
	}
}

func TestSetsOfAnotherSnapshot(t *testing.T) {
	s, _ := newStore(t)
	m := publish(t, s)
	publishSets(t, s, m, 1, 2)
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
			for _, set := range []string{thaw.FileWorkingSet, thaw.FileLoadingSetReap} {
				b, err := os.ReadFile(s.Path(m, set))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(s.Path(other, set), b, 0o400); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.WorkingSet(other, thaw.FileWorkingSet); !errors.Is(err, workingset.ErrCorrupt) {
				t.Errorf("WorkingSet = %v, want ErrCorrupt", err)
			}
			if err := loadingError(s, other); !errors.Is(err, workingset.ErrCorrupt) {
				t.Errorf("LoadingSet = %v, want ErrCorrupt", err)
			}
		})
	}
}

func TestPublishSetsThatAreWrong(t *testing.T) {
	s, dir := newStore(t)
	sameDescriptors(t)
	m := publish(t, s)
	if err := s.PublishWorkingSet(m, thaw.FileWorkingSet, []byte("garbage")); err == nil {
		t.Error("garbage was published")
	}
	for name, l := range map[string]workingset.LoadingSet{
		"Empty":   loadingOf(t, m),
		"Outside": loadingOf(t, m, guestPages),
	} {
		if err := s.PublishLoadingSet(t.Context(), m, thaw.FileLoadingSetReap, l); err == nil {
			t.Errorf("%s was published", name)
		}
	}
	if got := names(t, filepath.Join(dir, "snapshots", m.ID)); len(got) != 4 {
		t.Errorf("it leaves %v", got)
	}
}

// TestPublishLoadingSetOfChangedMemory: pages are taken from the very file that
// was restored, or not at all.
func TestPublishLoadingSetOfChangedMemory(t *testing.T) {
	s, _ := newStore(t)
	m := publish(t, s)
	flip(t, s.Path(m, thaw.FileMemory))
	if err := s.PublishLoadingSet(t.Context(), m, thaw.FileLoadingSetReap, loadingOf(t, m, 1)); !errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("PublishLoadingSet = %v, want ErrCorrupt", err)
	}
	if s.Has(m, thaw.FileLoadingSetReap) {
		t.Error("it was published")
	}
}

func setFile(t *testing.T, s *snapshot.Store, m thaw.Manifest, name string) snapshot.SetFile {
	t.Helper()
	set, err := s.SetFile(m, name)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestNoSet: only sets are.
func TestNoSet(t *testing.T) {
	s, _ := newStore(t)
	m := publish(t, s)
	for _, name := range []string{"", thaw.FileMemory, thaw.FileWorkingSet} {
		if set, err := s.SetFile(m, name); err == nil || set != (snapshot.SetFile{}) {
			t.Errorf("%q: %v", name, set)
		}
	}
}

func TestQuarantineSet(t *testing.T) {
	s, _ := newStore(t)
	m := publish(t, s)
	publishSets(t, s, m, 7)
	set := setFile(t, s, m, thaw.FileWorkingSet)
	for range 2 {
		if err := s.QuarantineSet(set, errors.New("reason")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.QuarantineSet(snapshot.SetFile{}, errors.New("reason")); err != nil {
		t.Errorf("none: %v", err)
	}
	if s.Has(m, thaw.FileWorkingSet) || !s.Has(m, thaw.FileLoadingSetReap) {
		t.Error("it is still there, or the other is not")
	}
	publishSets(t, s, m, 7)
}
