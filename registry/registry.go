// Package registry keeps functions, their versions and what points at them in
// one bbolt file.
//
// # Layout
//
// The file holds five top-level buckets. Numbers are 8 bytes, big endian, so
// that bbolt's key order is their order; values are JSON.
//
//	meta       "format" → "thaw registry", "schema" → "3"
//	counters   function name → the highest version number ever given out
//	functions  function name → thaw.Function: what serves, and the aliases
//	versions   function name → bucket of: version number → thaw.Version
//	publishes  function name → its latest publish, see package publish
//
// A counter outlives its function: a function that is removed and deployed
// again goes on counting, so that a number never names two different deploys.
// Every write is one transaction, which bbolt makes durable before it returns: a
// kill leaves what was before it or what is after it, and no pointer ever names a
// version that is not there.
//
// Schema 1 had no functions, and of the versions only the newest could be
// invoked. Open brings it forward, in one transaction: that version serves, and
// what was left of the others goes. Schema 2 had no publishes.
package registry

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/bbolt"

	"thaw"
)

// The buckets of the layout above; meta is boltfile's.
const (
	bucketCounters  = "counters"
	bucketFunctions = "functions"
	bucketVersions  = "versions"
	bucketPublishes = "publishes"
)

// DB is an open registry. Its methods may be called from many goroutines: reads
// see one consistent state, writes are serialised. Close it once.
type DB struct {
	bolt *bbolt.DB
}

// Close releases the file and its lock; it waits for running transactions.
func (db *DB) Close() error {
	if err := db.bolt.Close(); err != nil {
		return fmt.Errorf("close registry: %w", err)
	}
	return nil
}

// NextVersion reserves the next version number of the function called name,
// beginning with 1. The number is never given out again, whether or not a
// version is put under it. The name must satisfy [thaw.CheckName].
func (db *DB) NextVersion(name string) (int, error) {
	if err := thaw.CheckName(name); err != nil {
		return 0, err
	}
	var number int
	err := db.bolt.Update(func(tx *bbolt.Tx) error {
		counters := tx.Bucket([]byte(bucketCounters))
		number = int(counter(counters, name)) + 1
		return counters.Put([]byte(name), numberKey(number))
	})
	if err != nil {
		return 0, fmt.Errorf("reserve version of %s: %w", name, err)
	}
	return number, nil
}

// Put stores a new version under its own number and makes it the one that serves;
// replaced is the one that did, 0 of none. A number that is taken is a
// [thaw.CodeConflict] error: versions are immutable but for [DB.Update].
func (db *DB) Put(v thaw.Version) (replaced int, err error) {
	return db.put(v, func(*bbolt.Tx) error { return nil })
}

// put is Put with something else in the same transaction.
func (db *DB) put(v thaw.Version, also func(*bbolt.Tx) error) (replaced int, err error) {
	if err := thaw.CheckName(v.Function); err != nil {
		return 0, err
	}
	if v.Number < 1 {
		return 0, thaw.Errorf(thaw.CodeInvalid, "version number %d of %s is not valid: reserve one first", v.Number, v.Function)
	}
	err = db.bolt.Update(func(tx *bbolt.Tx) error {
		b, err := tx.Bucket([]byte(bucketVersions)).CreateBucketIfNotExists([]byte(v.Function))
		if err != nil {
			return err
		}
		if b.Get(numberKey(v.Number)) != nil {
			return thaw.Errorf(thaw.CodeConflict, "version %d of function %s exists already: a version never changes, deploy again to make the next one", v.Number, v.Function)
		}
		if err := raiseCounter(tx, v.Function, v.Number); err != nil {
			return err
		}
		if err := putVersion(b, v); err != nil {
			return err
		}
		f, err := getFunction(tx, v.Function)
		if thaw.CodeOf(err) == thaw.CodeNotFound {
			f, err = thaw.Function{Name: v.Function}, nil
		}
		if err != nil {
			return err
		}
		replaced = f.Serves
		return errors.Join(putFunction(tx, f.Move(v.Number)), also(tx))
	})
	return replaced, wrap("store version", v.Function, err)
}

// Get returns the version of the function called name that serves, or a
// [thaw.CodeNotFound] error.
func (db *DB) Get(name string) (thaw.Version, error) {
	return db.Resolve(thaw.Ref{Function: name}, 0)
}

// Resolve returns the version that ref names, or a [thaw.CodeNotFound] error. Of an
// alias with weights u decides which, see [thaw.Alias.Pick].
func (db *DB) Resolve(ref thaw.Ref, u float64) (v thaw.Version, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		f, err := getFunction(tx, ref.Function)
		if err != nil {
			return err
		}
		b, err := functionBucket(tx, ref.Function)
		if err != nil {
			return err
		}
		number, err := numberOf(f, b, ref, u)
		if err != nil {
			return err
		}
		v, err = getVersion(b, ref.Function, number)
		return err
	})
	return v, wrap("read function", ref.Function, err)
}

// numberOf is the version of f that ref names. The version need not exist.
func numberOf(f thaw.Function, versions *bbolt.Bucket, ref thaw.Ref, u float64) (int, error) {
	switch {
	case ref.Qualifier == "":
		return f.Serves, nil
	case ref.Qualifier == thaw.Latest:
		k, _ := versions.Cursor().Last()
		if len(k) != 8 {
			return 0, fmt.Errorf("function %s has no versions", f.Name)
		}
		return int(binary.BigEndian.Uint64(k)), nil
	case ref.Number() > 0:
		return ref.Number(), nil
	}
	a, ok := f.Alias(ref.Qualifier)
	if !ok {
		return 0, thaw.Errorf(thaw.CodeNotFound, "function %s has no alias %q: `thaw alias ls %s` lists those it has", f.Name, ref.Qualifier, f.Name)
	}
	return a.Pick(u), nil
}

// Versions returns every version of the function called name, oldest first, or
// a [thaw.CodeNotFound] error.
func (db *DB) Versions(name string) ([]thaw.Version, error) {
	var all []thaw.Version
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		b, err := functionBucket(tx, name)
		if err != nil {
			return err
		}
		all, err = versionsIn(b, name)
		return err
	})
	return all, wrap("read versions of", name, err)
}

// List returns the version of each function that serves, by name.
func (db *DB) List() ([]thaw.Version, error) {
	all, _, err := db.Page(thaw.FunctionQuery{})
	return all, err
}

// Page returns of those what q asks for, and whether there are more. It reads no
// others.
func (db *DB) Page(q thaw.FunctionQuery) (some []thaw.Version, more bool, err error) {
	some = []thaw.Version{}
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte(bucketFunctions)).Cursor()
		for name, raw := c.Seek([]byte(max(q.Prefix, q.After))); name != nil && strings.HasPrefix(string(name), q.Prefix); name, raw = c.Next() {
			if q.After != "" && string(name) == q.After {
				continue
			}
			if more = q.Limit > 0 && len(some) == q.Limit; more {
				return nil
			}
			v, err := serving(tx, name, raw)
			if err != nil {
				return err
			}
			some = append(some, v)
		}
		return nil
	})
	return some, more, wrapList(err)
}

// serving returns the version of a stored function that serves.
func serving(tx *bbolt.Tx, name, raw []byte) (thaw.Version, error) {
	f, err := decodeFunction(string(name), raw)
	if err != nil {
		return thaw.Version{}, err
	}
	b, err := functionBucket(tx, f.Name)
	if err != nil {
		return thaw.Version{}, err
	}
	return getVersion(b, f.Name, f.Serves)
}

// All returns every version of every function, by name, oldest first.
func (db *DB) All() ([]thaw.Version, error) {
	all := []thaw.Version{}
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		versions := tx.Bucket([]byte(bucketVersions))
		return versions.ForEachBucket(func(name []byte) error {
			some, err := versionsIn(versions.Bucket(name), string(name))
			all = append(all, some...)
			return err
		})
	})
	return all, wrapList(err)
}

func wrapList(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("list functions: %w", err)
}

// Delete removes a function with all its versions and aliases, and what is noted of
// its publish; its counter stays.
// A name that is not there is a [thaw.CodeNotFound] error.
func (db *DB) Delete(name string) error {
	return wrap("delete function", name, db.bolt.Update(func(tx *bbolt.Tx) error {
		if _, err := functionBucket(tx, name); err != nil {
			return err
		}
		if err := errors.Join(tx.Bucket([]byte(bucketFunctions)).Delete([]byte(name)), tx.Bucket([]byte(bucketPublishes)).Delete([]byte(name))); err != nil {
			return err
		}
		return tx.Bucket([]byte(bucketVersions)).DeleteBucket([]byte(name))
	}))
}

// Update changes one version inside a transaction: change is given the stored
// version and may alter all but its function and number. When change returns an
// error nothing is stored and that error comes back. change must not call the
// registry.
func (db *DB) Update(name string, number int, change func(*thaw.Version) error) error {
	return wrap("update version of", name, db.bolt.Update(func(tx *bbolt.Tx) error {
		b, err := functionBucket(tx, name)
		if err != nil {
			return err
		}
		v, err := getVersion(b, name, number)
		if err != nil {
			return err
		}
		if err := change(&v); err != nil {
			return err
		}
		v.Function, v.Number = name, number
		return putVersion(b, v)
	}))
}

func functionBucket(tx *bbolt.Tx, name string) (*bbolt.Bucket, error) {
	b := tx.Bucket([]byte(bucketVersions)).Bucket([]byte(name))
	if b == nil {
		return nil, noFunction(name)
	}
	return b, nil
}

func noFunction(name string) error {
	return thaw.Errorf(thaw.CodeNotFound, "function %q does not exist: `thaw ls` lists those that do", name)
}

func getVersion(b *bbolt.Bucket, name string, number int) (thaw.Version, error) {
	raw := b.Get(numberKey(number))
	if raw == nil {
		return thaw.Version{}, thaw.Errorf(thaw.CodeNotFound, "function %s has no version %d: `thaw versions %s` lists those it has", name, number, name)
	}
	return decodeVersion(name, numberKey(number), raw)
}

func versionsIn(b *bbolt.Bucket, name string) (all []thaw.Version, err error) {
	err = b.ForEach(func(k, raw []byte) error {
		v, err := decodeVersion(name, k, raw)
		all = append(all, v)
		return err
	})
	return all, err
}

func putVersion(b *bbolt.Bucket, v thaw.Version) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode version %d: %w", v.Number, err)
	}
	return b.Put(numberKey(v.Number), raw)
}

// decodeVersion reads a stored version and refuses one filed under a name or a
// number that is not its own.
func decodeVersion(name string, key, raw []byte) (thaw.Version, error) {
	var v thaw.Version
	if len(key) != 8 {
		return v, fmt.Errorf("version key of %s is %d bytes long, not 8", name, len(key))
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return thaw.Version{}, fmt.Errorf("decode version %d of %s: %w", binary.BigEndian.Uint64(key), name, err)
	}
	if v.Function != name || uint64(v.Number) != binary.BigEndian.Uint64(key) {
		return thaw.Version{}, fmt.Errorf("version %d of %s is filed as %d of %s", v.Number, v.Function, binary.BigEndian.Uint64(key), name)
	}
	return v, nil
}

func raiseCounter(tx *bbolt.Tx, name string, number int) error {
	counters := tx.Bucket([]byte(bucketCounters))
	if counter(counters, name) >= uint64(number) {
		return nil
	}
	return counters.Put([]byte(name), numberKey(number))
}

func counter(counters *bbolt.Bucket, name string) uint64 {
	raw := counters.Get([]byte(name))
	if len(raw) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(raw)
}

func numberKey(number int) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(number))
}

// wrap adds what was being done to an error that is not already fit for a user.
func wrap(verb, name string, err error) error {
	if err == nil || thaw.CodeOf(err) != thaw.CodeInternal {
		return err
	}
	return fmt.Errorf("%s %s: %w", verb, name, err)
}
