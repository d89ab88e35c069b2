package registry

import (
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"thaw"
	"thaw/publish"
)

// maxHomeless bounds the records of publishes whose function does not exist: those
// that failed before there was one.
const maxHomeless = 64

// PutPublish notes how a publish stands, in place of what was noted of an earlier one
// of its function.
func (db *DB) PutPublish(r publish.Record) error {
	err := db.bolt.Update(func(tx *bbolt.Tx) error {
		if err := putPublish(tx, r); err != nil {
			return err
		}
		return dropHomeless(tx)
	})
	return wrap("note the publish of", r.Publish.Function, err)
}

// EndPublish is PutPublish of one that has failed, unless another one of its function
// has begun meanwhile.
func (db *DB) EndPublish(r publish.Record) error {
	err := db.bolt.Update(func(tx *bbolt.Tx) error {
		name := r.Publish.Function
		raw := tx.Bucket([]byte(bucketPublishes)).Get([]byte(name))
		if now, err := publish.Decode(name, raw); raw != nil && err == nil && !now.Publish.Began.Equal(r.Publish.Began) {
			return nil
		}
		return errors.Join(putPublish(tx, r), dropHomeless(tx))
	})
	return wrap("note the end of the publish of", r.Publish.Function, err)
}

// Activate does what [DB.Put] does, and notes that the publish is done, in one
// transaction.
func (db *DB) Activate(r publish.Record) (replaced int, err error) {
	return db.put(r.Version, func(tx *bbolt.Tx) error { return putPublish(tx, r) })
}

// PublishRecords returns the latest publish of each function, by name, and the names of
// those whose records cannot be read.
func (db *DB) PublishRecords() (all []publish.Record, unreadable []string, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketPublishes)).ForEach(func(name, raw []byte) error {
			if r, err := publish.Decode(string(name), raw); err == nil {
				all = append(all, r)
			} else {
				unreadable = append(unreadable, string(name))
			}
			return nil
		})
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list publishes: %w", err)
	}
	return all, unreadable, nil
}

// Publish returns the latest publish of the function called name, false if none is
// known.
func (db *DB) Publish(name string) (r publish.Record, ok bool, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		raw := tx.Bucket([]byte(bucketPublishes)).Get([]byte(name))
		if raw == nil {
			return nil
		}
		ok = true
		r, err = publish.Decode(name, raw)
		return err
	})
	return r, ok && err == nil, wrap("read the publish of", name, err)
}

// ForgetPublish removes what is noted of the publish of the function called name.
func (db *DB) ForgetPublish(name string) error {
	return wrap("forget the publish of", name, db.bolt.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketPublishes)).Delete([]byte(name))
	}))
}

func putPublish(tx *bbolt.Tx, r publish.Record) error {
	if err := thaw.CheckName(r.Publish.Function); err != nil {
		return err
	}
	raw, err := publish.Encode(r)
	if err != nil {
		return err
	}
	return tx.Bucket([]byte(bucketPublishes)).Put([]byte(r.Publish.Function), raw)
}

// dropHomeless forgets the oldest publishes of functions that do not exist, if they
// are too many.
func dropHomeless(tx *bbolt.Tx) error {
	publishes, functions := tx.Bucket([]byte(bucketPublishes)), tx.Bucket([]byte(bucketFunctions))
	var homeless []thaw.Publish
	err := publishes.ForEach(func(name, raw []byte) error {
		r, err := publish.Decode(string(name), raw)
		if functions.Get(name) == nil && (err != nil || r.Publish.State != thaw.PublishRunning) {
			homeless = append(homeless, thaw.Publish{Function: string(name), Began: r.Publish.Began})
		}
		return nil //nolint:nilerr // what cannot be read is the oldest
	})
	slices.SortFunc(homeless, func(a, b thaw.Publish) int { return b.Began.Compare(a.Began) })
	for _, p := range homeless[min(len(homeless), maxHomeless):] {
		err = errors.Join(err, publishes.Delete([]byte(p.Function)))
	}
	return err
}
