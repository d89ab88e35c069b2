package registry

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"thaw"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openTemp(t *testing.T) (*DB, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state", "registry.db")
	db := mustOpen(t, path)
	return db, path
}

func mustOpen(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func version(name string, number int) thaw.Version {
	return thaw.Version{
		Function:  name,
		Number:    number,
		Settings:  thaw.Settings{Env: map[string]string{"K": "V"}}.WithDefaults(),
		Images:    thaw.Images{Code: fmt.Sprintf("code-%d", number)},
		CodeBytes: 4096,
		Created:   time.Date(2026, 1, 2, 3, 4, number, 0, time.UTC),
	}
}

func put(t *testing.T, db *DB, vs ...thaw.Version) {
	t.Helper()
	for _, v := range vs {
		if _, err := db.Put(v); err != nil {
			t.Fatal(err)
		}
	}
}

func wantCode(t *testing.T, err error, want thaw.Code) {
	t.Helper()
	if got := thaw.CodeOf(err); got != want {
		t.Fatalf("code %q (%v), want %q", got, err, want)
	}
}

func TestVersionsSurviveReopen(t *testing.T) {
	db, path := openTemp(t)
	put(t, db, version("b", 1), version("a", 1), version("a", 2), version("a", 300))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = mustOpen(t, path)

	newest, err := db.Get("a")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(version("a", 300), newest); diff != "" {
		t.Error(diff)
	}
	all, err := db.Versions("a")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]thaw.Version{version("a", 1), version("a", 2), version("a", 300)}, all); diff != "" {
		t.Error(diff)
	}
	list, err := db.List()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]thaw.Version{version("a", 300), version("b", 1)}, list); diff != "" {
		t.Error(diff)
	}
}

func TestNumbersAreNeverReused(t *testing.T) {
	db, path := openTemp(t)
	next := func(want int) {
		t.Helper()
		if got, err := db.NextVersion("f"); err != nil || got != want {
			t.Fatalf("NextVersion = %d, %v; want %d", got, err, want)
		}
	}
	next(1)
	next(2) // 1 was reserved, though never put
	put(t, db, version("f", 2), version("f", 7))
	next(8)
	if err := db.Delete("f"); err != nil {
		t.Fatal(err)
	}
	next(9)
	db.Close()
	db = mustOpen(t, path)
	next(10)
}

func TestAbsentFunction(t *testing.T) {
	db, _ := openTemp(t)
	if _, err := db.NextVersion("f"); err != nil {
		t.Fatal(err)
	}
	_, err := db.Get("f")
	wantCode(t, err, thaw.CodeNotFound)
	_, err = db.Versions("f")
	wantCode(t, err, thaw.CodeNotFound)
	wantCode(t, db.Delete("f"), thaw.CodeNotFound)
	wantCode(t, db.Update("f", 1, nil), thaw.CodeNotFound)
	put(t, db, version("f", 1))
	wantCode(t, db.Update("f", 2, nil), thaw.CodeNotFound)
	if list, err := db.List(); err != nil || len(list) != 1 {
		t.Fatalf("List = %v, %v", list, err)
	}
}

func TestBadVersions(t *testing.T) {
	db, _ := openTemp(t)
	put(t, db, version("f", 1))
	for want, v := range map[thaw.Code]thaw.Version{thaw.CodeConflict: version("f", 1), thaw.CodeInvalid: version("f", 0)} {
		_, err := db.Put(v)
		wantCode(t, err, want)
	}
	_, err := db.Put(version("../f", 1))
	wantCode(t, err, thaw.CodeInvalid)
	_, err = db.NextVersion("")
	wantCode(t, err, thaw.CodeInvalid)
}

func TestUpdate(t *testing.T) {
	db, _ := openTemp(t)
	put(t, db, version("f", 1), version("f", 2))
	err := db.Update("f", 1, func(v *thaw.Version) error {
		v.Snapshot, v.Number, v.Function = "s1", 9, "other"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := version("f", 1)
	want.Snapshot = "s1"
	all, err := db.Versions("f")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]thaw.Version{want, version("f", 2)}, all); diff != "" {
		t.Error(diff)
	}

	boom := errors.New("boom")
	err = db.Update("f", 2, func(v *thaw.Version) error { v.Snapshot = "s2"; return boom })
	if !errors.Is(err, boom) {
		t.Fatalf("Update = %v, want boom", err)
	}
	if v, _ := db.Get("f"); v.Snapshot != "" {
		t.Errorf("a failed change was stored: %+v", v)
	}
}

func TestConcurrentDeploys(t *testing.T) {
	db, _ := openTemp(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 5 {
				n, err := db.NextVersion("f")
				if err == nil {
					_, err = db.Put(version("f", n))
				}
				if err == nil {
					_, err = db.List()
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	all, err := db.Versions("f")
	if err != nil || len(all) != 20 || all[19].Number != 20 {
		t.Fatalf("%d versions, %v", len(all), err)
	}
}
