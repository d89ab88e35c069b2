package registry

import (
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"thaw"
	"thaw/internal/boltfile"
)

// Open opens the registry at path, making it and its folder when there is none.
// One process at a time can hold it. Errors are fit for a user:
// [thaw.CodeUnavailable] when another process has it open or a newer thaw wrote
// it, [thaw.CodeInternal] when the file is damaged or foreign. One of an older
// schema is brought forward, for good.
func Open(path string) (*DB, error) {
	bolt, err := boltfile.Open(path, boltfile.Kind{
		Name: "registry", Format: "thaw registry", Schema: 3,
		Buckets: []boltfile.Bucket{
			{Name: bucketCounters, Since: 1}, {Name: bucketFunctions, Since: 2}, {Name: bucketVersions, Since: 1}, {Name: bucketPublishes, Since: 3},
		},
		Inspect: inspect, Migrate: migrate,
		Loss: "to begin with an empty one and deploy the functions again",
	})
	if err != nil {
		return nil, err
	}
	return &DB{bolt: bolt}, nil
}

// migrate brings older schemas forward. Of schema 1 it keeps the newest version of
// each function, which serves: of the others schema 1 kept neither snapshots nor
// images. Schema 2 only lacks a bucket, which is there by now.
func migrate(tx *bbolt.Tx, from int) error {
	if from >= 2 {
		return nil
	}
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

// inspect reads every version, and what points at them, which schema 1 did not have.
func inspect(tx *bbolt.Tx, schema int) error {
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
