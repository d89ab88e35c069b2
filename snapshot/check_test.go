package snapshot_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/pagecache"
	"thaw/snapshot"
)

// check checks snapshot id and wants each result to be told, once.
func check(t *testing.T, s *snapshot.Store, id string) []thaw.FileCheck {
	t.Helper()
	var told []thaw.FileCheck
	checks, err := s.Check(t.Context(), id, func(f thaw.FileCheck) {
		if f.Status != "" {
			told = append(told, f)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(checks, told); d != "" {
		t.Error(d)
	}
	return checks
}

// checkFinds wants these files of snapshot id to be bad, and no other.
func checkFinds(t *testing.T, s *snapshot.Store, id string, want map[string]thaw.CheckStatus) {
	t.Helper()
	got := map[string]thaw.CheckStatus{}
	for _, f := range check(t, s, id) {
		if f.Status != thaw.CheckOK {
			got[f.Name] = f.Status
		}
		if (f.Status == thaw.CheckOK) != (f.Problem == "") {
			t.Errorf("%s is %s: %q", f.Name, f.Status, f.Problem)
		}
	}
	if d := cmp.Diff(want, got); d != "" && len(want)+len(got) > 0 {
		t.Error(d)
	}
}

// frozen fails the test unless the files in dir stay as they are now.
func frozen(t *testing.T, dir string) {
	t.Helper()
	before := fingerprints(t, dir)
	t.Cleanup(func() {
		if d := cmp.Diff(before, fingerprints(t, dir)); d != "" {
			t.Error("files have changed:", d)
		}
	})
}

func fingerprints(t *testing.T, dir string) map[string]string {
	t.Helper()
	prints := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && !e.IsDir() {
			b, e := os.ReadFile(path)
			prints[path] = info.ModTime().String() + info.Mode().String() + fileOf(b).SHA256
			err = e
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return prints
}

func TestCheck(t *testing.T) {
	s, dir := newStore(t)
	sameDescriptors(t)
	m := publish(t, s)
	publishSets(t, s, m, 300, 9, 255, 256, 1)
	moved()["Rewritten"](t, filepath.Join(dir, "snapshots", m.ID)) // a use would note the new identity
	frozen(t, dir)
	var checked []string
	for _, f := range check(t, s, m.ID) {
		checked = append(checked, f.Name)
		info, err := os.Stat(s.Path(m, f.Name))
		if err != nil {
			t.Fatal(err)
		}
		optional := f.Name == thaw.FileWorkingSet || f.Name == thaw.FileLoadingSetReap
		if f.Status != thaw.CheckOK || f.Bytes != info.Size() || f.ReadBytes != f.Bytes || f.Optional != optional {
			t.Errorf("%+v of %d bytes", f, info.Size())
		}
	}
	want := []string{thaw.FileManifest, thaw.FileState, thaw.FileMemory, thaw.FileRegions, thaw.FileWorkingSet, thaw.FileLoadingSetReap}
	if d := cmp.Diff(want, checked); d != "" {
		t.Error(d)
	}
}

// TestCheckNamesWhatIsBad: that file and no other, which stays where it is.
func TestCheckNamesWhatIsBad(t *testing.T) {
	for name, c := range map[string]struct {
		file   string
		damage func(t *testing.T, path string)
		want   thaw.CheckStatus
	}{
		"StateFlipped":      {thaw.FileState, flip, thaw.CheckCorrupt},
		"StateCut":          {thaw.FileState, resize(-1), thaw.CheckCorrupt},
		"StateMissing":      {thaw.FileState, remove, thaw.CheckMissing},
		"StateIsAFolder":    {thaw.FileState, folderInstead, thaw.CheckCorrupt},
		"StateIsALink":      {thaw.FileState, linkInstead, thaw.CheckCorrupt},
		"MemoryFlipped":     {thaw.FileMemory, flip, thaw.CheckCorrupt},
		"MemoryCut":         {thaw.FileMemory, resize(-thaw.PageSize), thaw.CheckCorrupt},
		"MemoryGrown":       {thaw.FileMemory, resize(1), thaw.CheckCorrupt},
		"MemoryMissing":     {thaw.FileMemory, remove, thaw.CheckMissing},
		"RegionsFlipped":    {thaw.FileRegions, flip, thaw.CheckCorrupt},
		"RegionsMissing":    {thaw.FileRegions, remove, thaw.CheckMissing},
		"WorkingSetFlipped": {thaw.FileWorkingSet, flip, thaw.CheckCorrupt},
		"WorkingSetCut":     {thaw.FileWorkingSet, resize(-1), thaw.CheckCorrupt},
		"WorkingSetGarbage": {thaw.FileWorkingSet, overwrite("garbage"), thaw.CheckCorrupt},
		"WorkingSetFolder":  {thaw.FileWorkingSet, folderInstead, thaw.CheckCorrupt},
		"LoadingSetFlipped": {thaw.FileLoadingSetReap, flip, thaw.CheckCorrupt},
		"LoadingSetsEnd":    {thaw.FileLoadingSetReap, flipLast, thaw.CheckCorrupt},
		"LoadingSetCut":     {thaw.FileLoadingSetReap, resize(-1), thaw.CheckCorrupt},
		"LoadingSetGrown":   {thaw.FileLoadingSetReap, resize(thaw.PageSize), thaw.CheckCorrupt},
		"LoadingSetEmpty":   {thaw.FileLoadingSetReap, overwrite(""), thaw.CheckCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := newStore(t)
			sameDescriptors(t)
			m := publish(t, s)
			var pages []uint32 // more than a chunk
			for p := range uint32(guestPages) {
				pages = append(pages, p)
			}
			publishSets(t, s, m, pages...)
			c.damage(t, s.Path(m, c.file))
			frozen(t, dir)
			checkFinds(t, s, m.ID, map[string]thaw.CheckStatus{c.file: c.want})
		})
	}
}

func linkInstead(t *testing.T, path string) {
	t.Helper()
	if err := errors.Join(os.Rename(path, path+".there"), os.Symlink(path+".there", path)); err != nil {
		t.Fatal(err)
	}
}

// flipLast changes a bit of the last byte.
func flipLast(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	rewrite(t, path, b)
}

func TestCheckWithoutManifest(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T, folder string)
		want   thaw.CheckStatus
	}{
		"Missing": {func(t *testing.T, folder string) { remove(t, filepath.Join(folder, thaw.FileManifest)) }, thaw.CheckMissing},
		"Cut":     {func(t *testing.T, folder string) { resize(-10)(t, filepath.Join(folder, thaw.FileManifest)) }, thaw.CheckCorrupt},
		"Older":   {func(t *testing.T, folder string) { edit(t, folder, func(m *thaw.Manifest) { m.Format-- }) }, thaw.CheckStale},
		"Other":   {func(t *testing.T, folder string) { edit(t, folder, func(m *thaw.Manifest) { m.ID = "abcdefghij" }) }, thaw.CheckCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := newStore(t)
			m := publish(t, s)
			publishSets(t, s, m, 1)
			folder := filepath.Join(dir, "snapshots", m.ID)
			c.damage(t, folder)
			remove(t, filepath.Join(folder, thaw.FileState))
			frozen(t, dir)
			checkFinds(t, s, m.ID, map[string]thaw.CheckStatus{
				thaw.FileManifest: c.want, thaw.FileState: thaw.CheckMissing, thaw.FileMemory: thaw.CheckSkipped, thaw.FileRegions: thaw.CheckSkipped,
				thaw.FileWorkingSet: thaw.CheckSkipped, thaw.FileLoadingSetReap: thaw.CheckSkipped,
			})
		})
	}
}

// TestCheckOfSetsOfAnotherSnapshot: each is whole, but not for this memory.
func TestCheckOfSetsOfAnotherSnapshot(t *testing.T) {
	s, _ := newStore(t)
	m := publish(t, s)
	publishSets(t, s, m, 1, 2)
	d := draft(t, s)
	if _, err := d.Memory.WriteAt([]byte("other"), 0); err != nil {
		t.Fatal(err)
	}
	other, err := d.Publish(t.Context(), machine(), images())
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range []string{thaw.FileWorkingSet, thaw.FileLoadingSetReap} {
		if err := os.Rename(s.Path(m, set), s.Path(other, set)); err != nil {
			t.Fatal(err)
		}
	}
	checkFinds(t, s, m.ID, nil)
	checkFinds(t, s, other.ID, map[string]thaw.CheckStatus{thaw.FileWorkingSet: thaw.CheckCorrupt, thaw.FileLoadingSetReap: thaw.CheckCorrupt})
}

func TestCheckInQuarantine(t *testing.T) {
	s, dir := newStore(t)
	m := publish(t, s)
	publishSets(t, s, m, 1, 2)
	aside := filepath.Join(dir, "aside")
	if err := os.CopyFS(aside, os.DirFS(filepath.Join(dir, "snapshots", m.ID))); err != nil {
		t.Fatal(err)
	}
	flip(t, s.Path(m, thaw.FileState))
	quarantine(t, s, m.ID, "first reason")
	if err := os.Rename(aside, filepath.Join(dir, "snapshots", m.ID)); err != nil {
		t.Fatal(err)
	}
	if err := s.QuarantineSet(setFile(t, s, m, thaw.FileWorkingSet), errors.New("set reason")); err != nil {
		t.Fatal(err)
	}
	flip(t, s.Path(m, thaw.FileRegions))
	quarantine(t, s, m.ID, "second reason")
	frozen(t, dir)
	checkFinds(t, s, m.ID, map[string]thaw.CheckStatus{thaw.FileState: thaw.CheckCorrupt})
	checkFinds(t, s, m.ID+".1", map[string]thaw.CheckStatus{thaw.FileRegions: thaw.CheckCorrupt})
	_, err := s.Check(t.Context(), m.ID+"."+thaw.FileWorkingSet, nil)
	if thaw.CodeOf(err) != thaw.CodeInvalid {
		t.Errorf("Check of a set = %v", err)
	}
}

func quarantine(t *testing.T, s *snapshot.Store, id, reason string) {
	t.Helper()
	if err := s.Quarantine(id, errors.New(reason)); err != nil {
		t.Fatal(err)
	}
}

// TestCheckThatIsCutShort says nothing about the snapshot.
func TestCheckThatIsCutShort(t *testing.T) {
	s, _ := newStore(t)
	sameDescriptors(t)
	m := publish(t, s)
	reason := errors.New("lost patience")
	ctx, cancel := context.WithCancelCause(t.Context())
	var last string
	_, err := s.Check(ctx, m.ID, func(f thaw.FileCheck) {
		if last = f.Name; f.Name == thaw.FileState {
			cancel(reason)
		}
	})
	if !errors.Is(err, reason) || last != thaw.FileState {
		t.Errorf("Check = %v after %s, want the reason at the next file", err, last)
	}
	_, err = s.Check(t.Context(), m.ID, func(f thaw.FileCheck) {
		if f.Status != thaw.CheckOK {
			t.Errorf("%+v of what was removed", f)
		}
		if err := s.Remove(m.ID); err != nil {
			t.Error(err)
		}
	})
	if thaw.CodeOf(err) != thaw.CodeNotFound {
		t.Errorf("Check of what was removed meanwhile = %v", err)
	}
}

// TestCheckReadsTheDisk and leaves the page cache, by which policies are chosen,
// as it is.
func TestCheckReadsTheDisk(t *testing.T) {
	s := reopen(t, mountExt4(t))
	m := publish(t, s)
	publishSets(t, s, m, 1, 2, 9)
	files := []string{thaw.FileState, thaw.FileMemory, thaw.FileRegions, thaw.FileWorkingSet, thaw.FileLoadingSetReap}
	for _, name := range files {
		withFile(t, s.Path(m, name), pagecache.Evict)
	}
	checkFinds(t, s, m.ID, nil)
	for _, name := range files {
		withFile(t, s.Path(m, name), func(f *os.File) error {
			if n, err := pagecache.Resident(f); n > 0 || err != nil {
				t.Errorf("%d pages of %s are in the page cache, %v", n, name, err)
			}
			return nil
		})
	}
}

func withFile(t *testing.T, path string, do func(*os.File) error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := do(f); err != nil {
		t.Fatal(err)
	}
}
