package registry

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"thaw"
)

// lockTimeout is how long Open waits for another process to let go of the file.
const lockTimeout = time.Second

// errForeign is a bbolt file that some other program wrote.
var errForeign = errors.New("it is not a registry of thaw")

// Open opens the registry at path, making it and its folder when there is none.
// One process at a time can hold it. Errors are fit for a user:
// [thaw.CodeUnavailable] when another process has it open,
// [thaw.CodeInternal] when the file is damaged, foreign or of a newer schema.
func Open(path string) (*DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make folder of registry: %w", err)
	}
	if err := inspect(path); err != nil {
		return nil, explain(path, err)
	}
	var db *DB
	err := recovered(func() (err error) {
		db, err = open(path)
		return err
	})
	if err != nil {
		return nil, explain(path, err)
	}
	return db, nil
}

func open(path string) (*DB, error) {
	bolt, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout})
	if err != nil {
		return nil, err
	}
	if err := bolt.Update(prepare); err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	return &DB{bolt: bolt}, nil
}

// prepare makes the buckets of a new file. A file without a schema is new:
// inspect has refused every other one.
func prepare(tx *bbolt.Tx) error {
	for _, name := range []string{bucketMeta, bucketCounters, bucketVersions} {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return fmt.Errorf("make bucket %s: %w", name, err)
		}
	}
	meta := tx.Bucket([]byte(bucketMeta))
	if meta.Get([]byte(keySchema)) != nil {
		return nil
	}
	return errors.Join(
		meta.Put([]byte(keyFormat), []byte(formatName)),
		meta.Put([]byte(keySchema), []byte(schemaVersion)))
}

// inspect reads the whole file through a read-only handle before it is opened
// for writing. bbolt trusts its file: pages beyond the end of a truncated one
// would fault the process when it loads its free list, and a foreign one would
// be written to.
func inspect(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return errors.New("the file is empty")
	}
	return recovered(func() error {
		bolt, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, ReadOnly: true})
		if err != nil {
			return err
		}
		defer bolt.Close()
		return bolt.View(func(tx *bbolt.Tx) error { return inspectAll(tx, info.Size()) })
	})
}

func inspectAll(tx *bbolt.Tx, fileSize int64) error {
	if tx.Size() > fileSize {
		return fmt.Errorf("the file is cut short: %d of %d bytes are there", fileSize, tx.Size())
	}
	if k, _ := tx.Cursor().First(); k == nil {
		return nil // made, but not yet prepared
	}
	if err := inspectSchema(tx); err != nil {
		return err
	}
	versions := tx.Bucket([]byte(bucketVersions))
	if versions == nil || tx.Bucket([]byte(bucketCounters)) == nil {
		return errors.New("a bucket is missing")
	}
	return versions.ForEachBucket(func(name []byte) error {
		return versions.Bucket(name).ForEach(func(k, raw []byte) error {
			_, err := decodeVersion(string(name), k, raw)
			return err
		})
	})
}

func inspectSchema(tx *bbolt.Tx) error {
	meta := tx.Bucket([]byte(bucketMeta))
	if meta == nil || string(meta.Get([]byte(keyFormat))) != formatName {
		return errForeign
	}
	if got := string(meta.Get([]byte(keySchema))); got != schemaVersion {
		return fmt.Errorf("its schema is %.20q and this build of thaw reads schema %s", got, schemaVersion)
	}
	return nil
}

// recovered turns a panic of f, also one from a page that cannot be read, into
// an error. bbolt reports damage it did not expect that way.
func recovered(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a page cannot be read: %v", r)
		}
	}()
	return f()
}

// explain says what a user can do about an error of opening the file at path.
func explain(path string, err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return thaw.Errorf(thaw.CodeUnavailable, "registry %s is in use by another process: stop the other thaw, or give this one another state directory", path)
	case errors.Is(err, os.ErrPermission):
		return thaw.Errorf(thaw.CodeUnavailable, "open registry: %w: run thaw as the user who owns it", err)
	case isPathError(err):
		return thaw.Errorf(thaw.CodeUnavailable, "open registry: %w", err)
	default:
		return thaw.Errorf(thaw.CodeInternal, "registry %s cannot be used (%w): move the file away to begin with an empty one and deploy the functions again, or put a copy of it back", path, err)
	}
}

func isPathError(err error) bool {
	_, ok := errors.AsType[*os.PathError](err)
	return ok
}
