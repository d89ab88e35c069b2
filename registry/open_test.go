package registry

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"thaw"
)

func TestLockedByAnother(t *testing.T) {
	db, path := openTemp(t)
	put(t, db, version("f", 1))
	_, err := Open(path)
	wantCode(t, err, thaw.CodeUnavailable)
	if !strings.Contains(err.Error(), "in use by another process") {
		t.Error(err)
	}
}

// filled returns the bytes of a closed registry that spans many pages.
func filled(t *testing.T) []byte {
	t.Helper()
	db, path := openTemp(t)
	for n := range 60 {
		put(t, db, version("f", n+1), version("g", n+1))
	}
	if err := db.Delete("g"); err != nil { // so that the free list is not empty
		t.Fatal(err)
	}
	db.Close()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func openBytes(t *testing.T, raw []byte) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "registry.db")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := Open(path)
	if err == nil {
		db.Close()
	}
	return err
}

func TestTruncated(t *testing.T) {
	raw := filled(t)
	for _, size := range []int{0, 1, 100, 4096, 8192, 8193, 12288, 20480, len(raw) / 2} {
		err := openBytes(t, raw[:size])
		wantCode(t, err, thaw.CodeInternal)
		if !strings.Contains(err.Error(), "move the file away") {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestNotARegistry(t *testing.T) {
	err := openBytes(t, bytes.Repeat([]byte("no database\n"), 5000))
	wantCode(t, err, thaw.CodeInternal)

	path := filepath.Join(t.TempDir(), "foreign.db")
	write(t, path, func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("users"))
		return err
	})
	_, err = Open(path)
	wantCode(t, err, thaw.CodeInternal)
	if !strings.Contains(err.Error(), "not a registry of thaw") {
		t.Error(err)
	}
}

func TestNewerSchemaAndWrongRecord(t *testing.T) {
	db, path := openTemp(t)
	put(t, db, version("f", 1))
	db.Close()
	write(t, path, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketVersions)).Bucket([]byte("f")).Put(numberKey(2), []byte(`{"function":"f","version":1}`))
	})
	_, err := Open(path)
	wantCode(t, err, thaw.CodeInternal)
	if !strings.Contains(err.Error(), "version 1 of f is filed as 2 of f") {
		t.Error(err)
	}
	write(t, path, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("meta")).Put([]byte("schema"), []byte("4"))
	})
	_, err = Open(path)
	wantCode(t, err, thaw.CodeUnavailable)
	if !strings.Contains(err.Error(), "a newer thaw has written it: its schema is 4 and this build of thaw reads up to 3") {
		t.Error(err)
	}
}

// TestDamagedPages overwrites one page after another: whatever bbolt makes of
// it, the process must live and the caller hear of it or read correct versions.
func TestDamagedPages(t *testing.T) {
	raw := filled(t)
	random := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for page := range len(raw) / 4096 {
		bad := bytes.Clone(raw)
		for i := range 4096 {
			bad[page*4096+i] = byte(random.Uint32())
		}
		if err := openBytes(t, bad); err != nil {
			wantCode(t, err, thaw.CodeInternal)
			refused++
		}
	}
	if refused == 0 {
		t.Error("no damage was noticed")
	}
	t.Logf("%d of %d pages refused", refused, len(raw)/4096)
}

func write(t *testing.T, path string, f func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(f); err != nil {
		t.Fatal(err)
	}
}
