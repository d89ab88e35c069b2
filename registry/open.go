package registry

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"thaw"
)

// lockTimeout is how long Open waits for another process to let go of the file.
const lockTimeout = time.Second

var (
	// errForeign is a bbolt file that some other program wrote.
	errForeign = errors.New("it is not a registry of thaw")
	// errNewer is a file that a later thaw wrote, or brought forward.
	errNewer = errors.New("a newer thaw has written it")
)

// Open opens the registry at path, making it and its folder when there is none.
// One process at a time can hold it. Errors are fit for a user:
// [thaw.CodeUnavailable] when another process has it open or a newer thaw wrote
// it, [thaw.CodeInternal] when the file is damaged or foreign. One of an older
// schema is brought forward, for good.
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

// prepare makes the buckets of a new file and brings an older one forward. A file
// without a schema is new: inspect has refused every other one.
func prepare(tx *bbolt.Tx) error {
	for _, name := range buckets() {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return fmt.Errorf("make bucket %s: %w", name, err)
		}
	}
	meta := tx.Bucket([]byte(bucketMeta))
	if string(meta.Get([]byte(keySchema))) == "1" {
		if err := migrate1(tx); err != nil {
			return fmt.Errorf("bring the registry forward from schema 1: %w", err)
		}
	}
	return errors.Join(
		meta.Put([]byte(keyFormat), []byte(formatName)),
		meta.Put([]byte(keySchema), []byte(strconv.Itoa(schemaVersion))))
}

func buckets() []string {
	return []string{bucketMeta, bucketCounters, bucketFunctions, bucketVersions}
}

// migrate1 keeps the newest version of each function, which serves: of the others
// schema 1 kept neither snapshots nor images.
func migrate1(tx *bbolt.Tx) error {
	versions := tx.Bucket([]byte(bucketVersions))
	var names []string // what is iterated over must not change
	err := versions.ForEachBucket(func(name []byte) error {
		names = append(names, string(name))
		return nil
	})
	for _, name := range names {
		err = errors.Join(err, keepNewest(tx, versions.Bucket([]byte(name)), name))
	}
	return err
}

func keepNewest(tx *bbolt.Tx, b *bbolt.Bucket, name string) error {
	all, err := versionsIn(b, name)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fmt.Errorf("function %s has no versions", name)
	}
	newest := all[len(all)-1]
	for _, v := range all[:len(all)-1] {
		if err := b.Delete(numberKey(v.Number)); err != nil {
			return err
		}
	}
	return putFunction(tx, thaw.Function{Name: name, Serves: newest.Number})
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
	schema, err := inspectSchema(tx)
	if err != nil {
		return err
	}
	for _, name := range buckets() {
		if tx.Bucket([]byte(name)) == nil && (schema > 1 || name != bucketFunctions) {
			return fmt.Errorf("bucket %s is missing", name)
		}
	}
	if err := inspectVersions(tx); err != nil || schema == 1 {
		return err
	}
	return inspectFunctions(tx)
}

func inspectVersions(tx *bbolt.Tx) error {
	versions := tx.Bucket([]byte(bucketVersions))
	return versions.ForEachBucket(func(name []byte) error {
		_, err := versionsIn(versions.Bucket(name), string(name))
		return err
	})
}

// inspectFunctions wants a function for each bucket of versions, which it points
// into.
func inspectFunctions(tx *bbolt.Tx) error {
	functions, versions := tx.Bucket([]byte(bucketFunctions)), tx.Bucket([]byte(bucketVersions))
	err := versions.ForEachBucket(func(name []byte) error {
		if functions.Get(name) == nil {
			return fmt.Errorf("nothing says which version of function %s serves", name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return functions.ForEach(func(name, raw []byte) error {
		f, err := decodeFunction(string(name), raw)
		if err != nil {
			return err
		}
		return inspectPointers(f, versions.Bucket(name))
	})
}

// inspectSchema returns the schema of a file that this build can read.
func inspectSchema(tx *bbolt.Tx) (schema int, err error) {
	meta := tx.Bucket([]byte(bucketMeta))
	if meta == nil || string(meta.Get([]byte(keyFormat))) != formatName {
		return 0, errForeign
	}
	got := string(meta.Get([]byte(keySchema)))
	schema, err = strconv.Atoi(got)
	if err != nil || schema < 1 {
		return 0, fmt.Errorf("its schema is %.20q", got)
	}
	if schema > schemaVersion {
		return 0, fmt.Errorf("%w: its schema is %d and this build of thaw reads up to %d", errNewer, schema, schemaVersion)
	}
	return schema, nil
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
	case errors.Is(err, errNewer):
		return thaw.Errorf(thaw.CodeUnavailable, "registry %s cannot be used (%w): start the thaw that wrote it, or give this one another state directory", path, err)
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
