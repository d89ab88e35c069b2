package boltfile

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"thaw"
)

func kind(schema int, migrate func(*bbolt.Tx, int) error) Kind {
	return Kind{
		Name: "shelf", Format: "thaw shelf", Schema: schema, Buckets: []Bucket{{"books", 1}, {"authors", 2}}[:schema],
		Inspect: func(*bbolt.Tx, int) error { return nil }, Migrate: migrate, Loss: "to begin with an empty one",
	}
}

func mustOpen(t *testing.T, path string, k Kind) {
	t.Helper()
	db, err := Open(path, k)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, path string, k Kind, code thaw.Code, text string) {
	t.Helper()
	db, err := Open(path, k)
	if err == nil {
		db.Close()
	}
	if thaw.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
		t.Errorf("Open = %v, want code %s and %q", err, code, text)
	}
}

// TestSchemas brings a file forward: not at all when that fails, once when it does
// not, and then the thaw of before refuses it.
func TestSchemas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shelf.db")
	mustOpen(t, path, kind(1, nil))
	spoilt := kind(2, func(tx *bbolt.Tx, _ int) error {
		return errors.Join(tx.Bucket([]byte("authors")).Put([]byte("a"), nil), errors.New("the glue is dry"))
	})
	wantError(t, path, spoilt, thaw.CodeInternal, "bring the shelf forward from schema 1: the glue is dry): move the file away to begin with an empty one")
	mustOpen(t, path, kind(1, nil))
	var calls []int
	for range 2 {
		mustOpen(t, path, kind(2, func(tx *bbolt.Tx, from int) error {
			if first, _ := tx.Bucket([]byte("authors")).Cursor().First(); first != nil {
				t.Errorf("the migration that failed left %q", first)
			}
			calls = append(calls, from)
			return nil
		}))
	}
	if len(calls) != 1 || calls[0] != 1 {
		t.Errorf("migrated from %v", calls)
	}
	wantError(t, path, kind(1, nil), thaw.CodeUnavailable, "a newer thaw has written it: its schema is 2 and this build of thaw reads up to 1): start the thaw that wrote it")
}

// TestDamage spoils a file in ways that leave it good bbolt.
func TestDamage(t *testing.T) {
	for want, spoil := range map[string]func(*bbolt.Tx) error{
		"bucket authors is missing": func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("authors")) },
		"not a shelf of thaw":       func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucketMeta)).Delete([]byte(keyFormat)) },
		`its schema is "two"`:       func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucketMeta)).Put([]byte(keySchema), []byte("two")) },
		`its schema is "0"`:         func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucketMeta)).Put([]byte(keySchema), []byte("0")) },
	} {
		path := filepath.Join(t.TempDir(), "shelf.db")
		mustOpen(t, path, kind(2, nil))
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Update(spoil), db.Close()); err != nil {
			t.Fatal(err)
		}
		wantError(t, path, kind(2, nil), thaw.CodeInternal, want)
	}
}
