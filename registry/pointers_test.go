package registry

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"thaw"
)

func function(t *testing.T, db *DB, name string) thaw.Function {
	t.Helper()
	f, err := db.Function(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func rollback(t *testing.T, db *DB, number, want int) {
	t.Helper()
	v, _, err := db.Rollback("f", number)
	if err != nil || v.Number != want {
		t.Fatalf("Rollback to %d = version %d, %v; want %d", number, v.Number, err, want)
	}
	if got, err := db.Get("f"); err != nil || got.Number != want {
		t.Fatalf("version %d serves, %v; want %d", got.Number, err, want)
	}
}

func TestPointersSurviveReopen(t *testing.T) {
	db, path := openTemp(t)
	put(t, db, version("f", 1), version("f", 2), version("f", 3))
	alias := thaw.Alias{Name: "live", Version: 1, Weights: map[int]float64{2: 0.25}}
	if replaced, err := db.SetAlias("f", alias); err != nil || replaced.Name != "" {
		t.Fatal(replaced, err)
	}
	rollback(t, db, 0, 2)
	db.Close()
	db = mustOpen(t, path)
	want := thaw.Function{Name: "f", Serves: 2, Before: []int{1}, Aliases: []thaw.Alias{alias}}
	if diff := cmp.Diff(want, function(t, db, "f")); diff != "" {
		t.Error(diff)
	}
	for ref, want := range map[string]int{"f": 2, "f:1": 1, "f:3": 3, "f:$LATEST": 3, "f:live": 2} {
		r, err := thaw.ParseRef(ref)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := db.Resolve(r, 0.2); err != nil || v.Number != want {
			t.Errorf("%s is version %d, %v; want %d", ref, v.Number, err, want)
		}
	}
	if v, err := db.Resolve(thaw.Ref{Function: "f", Qualifier: "live"}, 0.25); err != nil || v.Number != 1 {
		t.Errorf("what the weights leave gets version %d, %v", v.Number, err)
	}
	for _, ref := range []thaw.Ref{{Function: "g"}, {Function: "f", Qualifier: "4"}, {Function: "f", Qualifier: "beta"}} {
		_, err := db.Resolve(ref, 0)
		wantCode(t, err, thaw.CodeNotFound)
	}
}

func TestRollback(t *testing.T) {
	db, _ := openTemp(t)
	put(t, db, version("f", 1), version("f", 2), version("f", 3))
	rollback(t, db, 0, 2)
	rollback(t, db, 0, 1)
	_, _, err := db.Rollback("f", 0)
	wantCode(t, err, thaw.CodeConflict)
	rollback(t, db, 3, 3) // forward
	rollback(t, db, 0, 1) // undoes it
	put(t, db, version("f", 4))
	rollback(t, db, 0, 1) // not to 3, which did not serve before
	_, _, err = db.Rollback("f", 9)
	wantCode(t, err, thaw.CodeNotFound)
	_, _, err = db.Rollback("g", 0)
	wantCode(t, err, thaw.CodeNotFound)
	if f := function(t, db, "f"); f.Serves != 1 {
		t.Errorf("a failed rollback changed %+v", f)
	}
}

func TestPrune(t *testing.T) {
	db, _ := openTemp(t)
	for n := range 6 {
		put(t, db, version("f", n+1))
	}
	if _, err := db.SetAlias("f", thaw.Alias{Name: "canary", Version: 6, Weights: map[int]float64{2: 0}}); err != nil {
		t.Fatal(err)
	}
	rollback(t, db, 3, 3)
	none := func(int) bool { return false }
	removed, err := db.Prune("f", 2, none)
	if diff := cmp.Diff([]thaw.Version{version("f", 1), version("f", 4)}, removed); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if f := function(t, db, "f"); f.Serves != 3 || !cmp.Equal(f.Before, []int{2}) {
		t.Errorf("%+v", f)
	}
	if removed, err = db.Prune("f", 2, none); err != nil || len(removed) != 0 {
		t.Errorf("again: %v, %v", removed, err)
	}
	if removed, err = db.Prune("f", 1, func(n int) bool { return n == 5 }); err != nil || len(removed) != 0 {
		t.Errorf("with version 5 spared: %v, %v", removed, err)
	}
	all, err := db.All()
	if diff := cmp.Diff([]thaw.Version{version("f", 2), version("f", 3), version("f", 5), version("f", 6)}, all); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestDeleteVersion(t *testing.T) {
	db, _ := openTemp(t)
	put(t, db, version("f", 1), version("f", 2), version("f", 3))
	if _, err := db.SetAlias("f", thaw.Alias{Name: "live", Version: 1}); err != nil {
		t.Fatal(err)
	}
	yes := func() error { return nil }
	for number, want := range map[int]string{3: "version 3 of function f serves", 1: "thaw alias rm f live"} {
		_, err := db.DeleteVersion("f", number, yes)
		if thaw.CodeOf(err) != thaw.CodeConflict || !strings.Contains(err.Error(), want) {
			t.Errorf("DeleteVersion %d = %v, want %q", number, err, want)
		}
	}
	busy := errors.New("busy")
	if _, err := db.DeleteVersion("f", 2, func() error { return busy }); !errors.Is(err, busy) {
		t.Errorf("DeleteVersion = %v", err)
	}
	if v, err := db.DeleteVersion("f", 2, yes); err != nil || v.Number != 2 {
		t.Errorf("DeleteVersion = %v, %v", v.Number, err)
	}
	_, err := db.DeleteVersion("f", 2, yes)
	wantCode(t, err, thaw.CodeNotFound)
	if f := function(t, db, "f"); !cmp.Equal(f.Before, []int{1}) {
		t.Errorf("%+v", f)
	}
}

func TestAliases(t *testing.T) {
	db, _ := openTemp(t)
	put(t, db, version("f", 1))
	for want, a := range map[thaw.Code]thaw.Alias{
		thaw.CodeInvalid:  {Name: "1", Version: 1},
		thaw.CodeNotFound: {Name: "live", Version: 1, Weights: map[int]float64{2: 0.5}},
	} {
		_, err := db.SetAlias("f", a)
		wantCode(t, err, want)
	}
	if f := function(t, db, "f"); len(f.Aliases) != 0 {
		t.Errorf("a bad alias was stored: %+v", f)
	}
	for _, name := range []string{"live", "beta", "live"} {
		if _, err := db.SetAlias("f", thaw.Alias{Name: name, Version: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if f := function(t, db, "f"); !cmp.Equal(f.AliasesOf(1), []string{"beta", "live"}) {
		t.Errorf("%+v", f)
	}
	if a, err := db.RemoveAlias("f", "beta"); err != nil || a.Version != 1 {
		t.Error(a, err)
	}
	_, err := db.RemoveAlias("f", "beta")
	wantCode(t, err, thaw.CodeNotFound)
	if err := db.Delete("f"); err != nil {
		t.Fatal(err)
	}
	put(t, db, version("f", 2))
	if f := function(t, db, "f"); len(f.Aliases) != 0 || len(f.Before) != 0 {
		t.Errorf("a removed function lives on in %+v", f)
	}
}

// schema1 writes a registry as schema 1 had it: a is at version 3, b at 1.
func schema1(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "registry.db")
	write(t, path, func(tx *bbolt.Tx) error {
		meta, _ := tx.CreateBucket([]byte("meta"))
		counters, _ := tx.CreateBucket([]byte("counters"))
		versions, err := tx.CreateBucket([]byte("versions"))
		err = errors.Join(err, meta.Put([]byte("format"), []byte("thaw registry")), meta.Put([]byte("schema"), []byte("1")))
		for name, numbers := range map[string][]int{"a": {1, 2, 3}, "b": {1}} {
			b, _ := versions.CreateBucket([]byte(name))
			for _, n := range numbers {
				raw, _ := json.Marshal(version(name, n))
				err = errors.Join(err, b.Put(numberKey(n), raw))
			}
			err = errors.Join(err, counters.Put([]byte(name), numberKey(7)))
		}
		return err
	})
	return path
}

func TestMigration(t *testing.T) {
	path := schema1(t)
	for range 2 { // it is brought forward once
		db, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		all, err := db.All()
		if diff := cmp.Diff([]thaw.Version{version("a", 3), version("b", 1)}, all); err != nil || diff != "" {
			t.Error(err, diff)
		}
		if diff := cmp.Diff(thaw.Function{Name: "a", Serves: 3}, function(t, db, "a")); diff != "" {
			t.Error(diff)
		}
		db.Close()
	}
	db := mustOpen(t, path)
	if n, err := db.NextVersion("a"); err != nil || n != 8 {
		t.Errorf("NextVersion = %d, %v: numbers are never given out again", n, err)
	}
}

// TestPointersToNothing damages a file in ways that leave it good bbolt.
func TestPointersToNothing(t *testing.T) {
	for want, raw := range map[string]string{
		"points at version 9":      `{"function":"f","serves":9}`,
		"points at version 8":      `{"function":"f","serves":1,"aliases":[{"alias":"live","version":8}]}`,
		"function g is filed as f": `{"function":"g","serves":1}`,
		"digits alone":             `{"function":"f","serves":1,"aliases":[{"alias":"1","version":1}]}`,
		"nothing says which":       "",
	} {
		db, path := openTemp(t)
		put(t, db, version("f", 1))
		db.Close()
		write(t, path, func(tx *bbolt.Tx) error {
			if raw == "" {
				return tx.Bucket([]byte(bucketFunctions)).Delete([]byte("f"))
			}
			return tx.Bucket([]byte(bucketFunctions)).Put([]byte("f"), []byte(raw))
		})
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open = %v, want %q", err, want)
		}
	}
}

// TestKilled kills a process that moves every pointer there is, again and again:
// what it leaves can be opened, and each pointer is where one of the moves put it.
func TestKilled(t *testing.T) {
	const own = "THAW_TEST_MOVES_IN"
	if path := os.Getenv(own); path != "" {
		moveForever(t, path)
	}
	path := filepath.Join(t.TempDir(), "registry.db")
	for round := range 8 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), own+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// The first thing it says is that it has begun.
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "moving\n" {
			t.Fatalf("%q, %v", line, err)
		}
		time.Sleep(time.Duration(round) * 7 * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		db, err := Open(path) // checks every pointer
		if err != nil {
			t.Fatalf("after kill %d: %v", round, err)
		}
		f := function(t, db, "f")
		all, err := db.Versions("f")
		if a, ok := f.Alias("live"); err != nil || ok && a.Weights[a.Version+1] != 0.5 || len(all) > 5 {
			t.Errorf("after kill %d: %+v, %d versions, %v", round, f, len(all), err)
		}
		db.Close()
	}
}

// moveForever ends with its process.
func moveForever(t *testing.T, path string) {
	db := mustOpen(t, path)
	for first := true; ; first = false {
		n, err := db.NextVersion("f")
		if err != nil {
			t.Fatal(err)
		}
		put(t, db, version("f", n))
		if first {
			fmt.Println("moving")
		}
		// Some of these fail on the first rounds.
		_, _ = db.SetAlias("f", thaw.Alias{Name: "live", Version: n - 1, Weights: map[int]float64{n: 0.5}})
		_, _, _ = db.Rollback("f", 0)
		_, _ = db.Prune("f", 2, func(int) bool { return false })
	}
}
