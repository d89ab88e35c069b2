// Package boltfile opens bbolt files that may be damaged, foreign or in use, and
// says which.
package boltfile

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

// The bucket that says what a file is.
const (
	bucketMeta = "meta"
	keyFormat  = "format"
	keySchema  = "schema"
)

// lockTimeout is how long Open waits for another process to let go of the file.
const lockTimeout = time.Second

// errNewer is a file that a later thaw wrote, or brought forward.
var errNewer = errors.New("a newer thaw has written it")

// Kind is a kind of file. Its meta bucket holds "format" → Format and "schema" →
// Schema in decimal.
type Kind struct {
	// Name is what people call it, such as registry.
	Name string
	// Format tells its files from others, Schema from those of other versions:
	// schemas count from 1.
	Format string
	Schema int
	// Buckets are its top-level buckets beside meta.
	Buckets []Bucket
	// Inspect refuses content that cannot be used. The file is of schema, at most
	// Schema, and has the buckets of that.
	Inspect func(tx *bbolt.Tx, schema int) error
	// Migrate brings a file forward whose schema is from, less than Schema. All
	// buckets are there. It may be nil while Schema is 1.
	Migrate func(tx *bbolt.Tx, from int) error
	// Loss says what to do once the file has been moved away.
	Loss string
}

// Bucket is a top-level bucket of files of schema Since and later.
type Bucket struct {
	Name  string
	Since int
}

// Open opens the file at path, making it and its folder when there is none.
// One process at a time can hold it. Errors are fit for a user:
// [thaw.CodeUnavailable] when another process has it open or a newer thaw wrote
// it, [thaw.CodeInternal] when the file is damaged or foreign. One of an older
// schema is brought forward, for good, in one transaction.
func Open(path string, k Kind) (*bbolt.DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make folder of %s: %w", k.Name, err)
	}
	if err := k.inspect(path); err != nil {
		return nil, k.explain(path, err)
	}
	var db *bbolt.DB
	err := recovered(func() (err error) {
		db, err = k.open(path)
		return err
	})
	if err != nil {
		return nil, k.explain(path, err)
	}
	return db, nil
}

func (k Kind) open(path string) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout})
	if err != nil {
		return nil, err
	}
	if err := db.Update(k.prepare); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// prepare makes the buckets of a new file and brings an older one forward. A file
// without buckets is new: inspect has refused every other one.
func (k Kind) prepare(tx *bbolt.Tx) error {
	from := k.Schema
	if !isNew(tx) {
		var err error
		if from, err = k.schemaOf(tx); err != nil {
			return err
		}
	}
	for _, b := range append([]Bucket{{Name: bucketMeta}}, k.Buckets...) {
		if _, err := tx.CreateBucketIfNotExists([]byte(b.Name)); err != nil {
			return fmt.Errorf("make bucket %s: %w", b.Name, err)
		}
	}
	if from < k.Schema {
		if err := k.Migrate(tx, from); err != nil {
			return fmt.Errorf("bring the %s forward from schema %d: %w", k.Name, from, err)
		}
	}
	meta := tx.Bucket([]byte(bucketMeta))
	return errors.Join(
		meta.Put([]byte(keyFormat), []byte(k.Format)),
		meta.Put([]byte(keySchema), []byte(strconv.Itoa(k.Schema))))
}

// isNew says that the file was made, but not yet prepared.
func isNew(tx *bbolt.Tx) bool {
	first, _ := tx.Cursor().First()
	return first == nil
}

// inspect reads the file through a read-only handle before it is opened for
// writing. bbolt trusts its file: pages beyond the end of a truncated one
// would fault the process when it loads its free list, and a foreign one would
// be written to.
func (k Kind) inspect(path string) error {
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
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, ReadOnly: true})
		if err != nil {
			return err
		}
		defer db.Close()
		return db.View(func(tx *bbolt.Tx) error { return k.inspectAll(tx, info.Size()) })
	})
}

func (k Kind) inspectAll(tx *bbolt.Tx, fileSize int64) error {
	if tx.Size() > fileSize {
		return fmt.Errorf("the file is cut short: %d of %d bytes are there", fileSize, tx.Size())
	}
	if isNew(tx) {
		return nil
	}
	schema, err := k.schemaOf(tx)
	if err != nil {
		return err
	}
	for _, b := range k.Buckets {
		if b.Since <= schema && tx.Bucket([]byte(b.Name)) == nil {
			return fmt.Errorf("bucket %s is missing", b.Name)
		}
	}
	return k.Inspect(tx, schema)
}

// schemaOf returns the schema of a file that this build can read.
func (k Kind) schemaOf(tx *bbolt.Tx) (schema int, err error) {
	meta := tx.Bucket([]byte(bucketMeta))
	if meta == nil || string(meta.Get([]byte(keyFormat))) != k.Format {
		return 0, fmt.Errorf("it is not a %s of thaw", k.Name) // some other program wrote it
	}
	got := string(meta.Get([]byte(keySchema)))
	schema, err = strconv.Atoi(got)
	if err != nil || schema < 1 {
		return 0, fmt.Errorf("its schema is %.20q", got)
	}
	if schema > k.Schema {
		return 0, fmt.Errorf("%w: its schema is %d and this build of thaw reads up to %d", errNewer, schema, k.Schema)
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
func (k Kind) explain(path string, err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return thaw.Errorf(thaw.CodeUnavailable, "%s %s is in use by another process: stop the other thaw, or give this one another state directory", k.Name, path)
	case errors.Is(err, errNewer):
		return thaw.Errorf(thaw.CodeUnavailable, "%s %s cannot be used (%w): start the thaw that wrote it, or give this one another state directory", k.Name, path, err)
	case errors.Is(err, os.ErrPermission):
		return thaw.Errorf(thaw.CodeUnavailable, "open %s: %w: run thaw as the user who owns it", k.Name, err)
	case isPathError(err):
		return thaw.Errorf(thaw.CodeUnavailable, "open %s: %w", k.Name, err)
	default:
		return thaw.Errorf(thaw.CodeInternal, "%s %s cannot be used (%w): move the file away %s, or put a copy of it back", k.Name, path, err, k.Loss)
	}
}

func isPathError(err error) bool {
	_, ok := errors.AsType[*os.PathError](err)
	return ok
}
