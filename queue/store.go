package queue

import (
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"thaw"
	"thaw/internal/boltfile"
)

const (
	bucketItems     = "items"
	bucketPayloads  = "payloads"
	bucketSchedules = "schedules"
)

// store is the file. Every write is one transaction, which bbolt makes durable
// before it returns.
type store struct {
	bolt *bbolt.DB
}

// contents is everything that a file holds but the payloads.
type contents struct {
	items     []thaw.QueueItem
	schedules []thaw.Schedule
	// damaged are the keys of the items that could not be read, with the reason,
	// lost the schedules.
	damaged, lost map[string]error
}

func openStore(path string) (*store, error) {
	bolt, err := boltfile.Open(path, boltfile.Kind{
		Name: "queue", Format: "thaw queue", Schema: 1,
		Buckets: []boltfile.Bucket{{Name: bucketItems, Since: 1}, {Name: bucketPayloads, Since: 1}, {Name: bucketSchedules, Since: 1}}, Inspect: touch,
		Loss: "to begin with an empty one, without what was accepted and the schedules",
	})
	if err != nil {
		return nil, err
	}
	return &store{bolt}, nil
}

// touch reads every page that holds keys: what bbolt cannot make sense of shows.
// Records are checked one by one later.
func touch(tx *bbolt.Tx, _ int) error {
	for _, name := range []string{bucketItems, bucketPayloads, bucketSchedules} {
		if err := tx.Bucket([]byte(name)).ForEach(func(_, _ []byte) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// load reads all but the payloads.
func (s *store) load() (contents, error) {
	c := contents{damaged: map[string]error{}, lost: map[string]error{}}
	err := s.bolt.View(func(tx *bbolt.Tx) error {
		return errors.Join(
			each(tx, bucketItems, decodeItem, &c.items, c.damaged),
			each(tx, bucketSchedules, decodeSchedule, &c.schedules, c.lost))
	})
	return c, wrap("read", err)
}

func each[T any](tx *bbolt.Tx, bucket string, decode func(string, []byte) (T, error), good *[]T, bad map[string]error) error {
	return tx.Bucket([]byte(bucket)).ForEach(func(k, record []byte) error {
		v, err := decode(string(k), record)
		if err != nil {
			bad[string(k)] = err
			return nil //nolint:nilerr // one bad record is not the end of the others
		}
		*good = append(*good, v)
		return nil
	})
}

// change is what one transaction does.
type change struct {
	put      []thaw.QueueItem
	payloads map[string][]byte // of new items
	remove   []string          // items, with their payloads
	schedule *thaw.Schedule    // to put
	forget   []string          // schedules to remove
}

func (s *store) apply(c change) error {
	return wrap("write to", s.bolt.Update(func(tx *bbolt.Tx) error {
		items, payloads, schedules := tx.Bucket([]byte(bucketItems)), tx.Bucket([]byte(bucketPayloads)), tx.Bucket([]byte(bucketSchedules))
		var errs []error
		for _, it := range c.put {
			errs = append(errs, putRecord(items, it.ID, it))
		}
		for id, payload := range c.payloads {
			errs = append(errs, payloads.Put([]byte(id), seal(payload)))
		}
		for _, id := range c.remove {
			errs = append(errs, items.Delete([]byte(id)), payloads.Delete([]byte(id)))
		}
		if c.schedule != nil {
			errs = append(errs, putRecord(schedules, c.schedule.ID, c.schedule))
		}
		for _, id := range c.forget {
			errs = append(errs, schedules.Delete([]byte(id)))
		}
		return errors.Join(errs...)
	}))
}

func putRecord(b *bbolt.Bucket, key string, v any) error {
	record, err := encode(v)
	if err != nil {
		return err
	}
	return b.Put([]byte(key), record)
}

// payload reads the payload of an item.
func (s *store) payload(id string) ([]byte, error) {
	var payload []byte
	err := s.bolt.View(func(tx *bbolt.Tx) error {
		body, err := open(tx.Bucket([]byte(bucketPayloads)).Get([]byte(id)))
		payload = append(payload, body...) // bbolt's own memory ends with the transaction
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the payload of %s: %w", id, err)
	}
	return payload, nil
}

func (s *store) close() error {
	if err := s.bolt.Close(); err != nil {
		return fmt.Errorf("close the queue: %w", err)
	}
	return nil
}

func wrap(verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s the queue: %w", verb, err)
}
