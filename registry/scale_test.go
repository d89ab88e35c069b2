package registry

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw"
)

// crowded is a registry of n functions.
func crowded(tb testing.TB, n int) *DB {
	tb.Helper()
	db, err := Open(filepath.Join(tb.TempDir(), "registry.db"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	db.bolt.NoSync = true // this one is lost with the test
	for i := range n {
		if _, err := db.Put(version(fmt.Sprintf("f-%05d", i), 1)); err != nil {
			tb.Fatal(err)
		}
	}
	return db
}

func names(vs []thaw.Version) string {
	var list []string
	for _, v := range vs {
		list = append(list, v.Function)
	}
	return strings.Join(list, " ")
}

func TestPage(t *testing.T) {
	db, _ := openTemp(t)
	for _, name := range []string{"b", "a", "a-1", "a-2", "aa", "B"} {
		put(t, db, version(name, 1))
	}
	for _, c := range []struct {
		q    thaw.FunctionQuery
		want string
		more bool
	}{
		{thaw.FunctionQuery{}, "B a a-1 a-2 aa b", false},
		{thaw.FunctionQuery{Limit: 6}, "B a a-1 a-2 aa b", false},
		{thaw.FunctionQuery{Limit: 2}, "B a", true},
		{thaw.FunctionQuery{After: "a", Limit: 2}, "a-1 a-2", true},
		{thaw.FunctionQuery{After: "a-2"}, "aa b", false},
		{thaw.FunctionQuery{After: "a-15"}, "a-2 aa b", false}, // it may have been removed meanwhile
		{thaw.FunctionQuery{After: "b"}, "", false},
		{thaw.FunctionQuery{Prefix: "a-"}, "a-1 a-2", false},
		{thaw.FunctionQuery{Prefix: "a-", Limit: 1}, "a-1", true},
		{thaw.FunctionQuery{Prefix: "a-", After: "a-1", Limit: 1}, "a-2", false},
		{thaw.FunctionQuery{Prefix: "a-", After: "z"}, "", false},
		{thaw.FunctionQuery{Prefix: "a-", After: "B"}, "a-1 a-2", false},
		{thaw.FunctionQuery{Prefix: "c"}, "", false},
	} {
		some, more, err := db.Page(c.q)
		if err != nil || names(some) != c.want || more != c.more || some == nil {
			t.Errorf("%+v: %q, more %v, %v; want %q, %v", c.q, names(some), more, err, c.want, c.more)
		}
	}
}

// TestReadsDoNotGrow: what finding one function and one page costs does not depend on
// how many there are. Allocations stand for the work: each entry that is read is one.
func TestReadsDoNotGrow(t *testing.T) {
	costs := map[int]map[string]float64{}
	for _, n := range []int{10, 10_000} {
		db := crowded(t, n)
		costs[n] = map[string]float64{}
		for what, f := range map[string]func() error{
			"resolve": func() error { _, err := db.Resolve(thaw.Ref{Function: "f-00005"}, 0); return err },
			"page":    func() error { _, _, err := db.Page(thaw.FunctionQuery{After: "f-00002", Limit: 5}); return err },
		} {
			costs[n][what] = testing.AllocsPerRun(100, func() {
				if err := f(); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
	for what, few := range costs[10] {
		// Two levels more of the tree are a few for each entry.
		if many := costs[10_000][what]; many > 1.5*few {
			t.Errorf("%s costs %v with 10 functions and %v with 10,000: %s", what, few, many, cmp.Diff(costs[10], costs[10_000]))
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		db := crowded(b, n)
		b.Run(fmt.Sprintf("functions=%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := db.Resolve(thaw.Ref{Function: "f-00005"}, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
