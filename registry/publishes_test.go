package registry

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"thaw"
	"thaw/publish"
)

// running is the record of a publish of version number, begun second seconds in.
func running(name string, number, second int) publish.Record {
	return publish.Record{
		Format:  publish.Format,
		Publish: thaw.Publish{Function: name, Number: number, State: thaw.PublishRunning, Step: thaw.StepRecord, Began: time.Unix(int64(second), 0).UTC()},
		Version: version(name, number),
	}
}

// TestActivate: the version and the end of its publish are one write, which a number
// that is taken undoes as a whole.
func TestActivate(t *testing.T) {
	db, path := openTemp(t)
	r := running("hello", 1, 1)
	if err := db.PutPublish(r); err != nil {
		t.Fatal(err)
	}
	done := r
	done.Publish.State, done.Publish.Step = thaw.PublishDone, thaw.StepActivate
	if _, err := db.Activate(done); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := db.Publish("hello"); err != nil || !ok || cmp.Diff(done, got) != "" {
		t.Errorf("%v, %v, %s", ok, err, cmp.Diff(done, got))
	}
	second := running("hello", 1, 2)
	if err := db.PutPublish(second); err != nil {
		t.Fatal(err)
	}
	_, err := db.Activate(publish.Record{Format: publish.Format, Publish: done.Publish, Version: r.Version})
	wantCode(t, err, thaw.CodeConflict)
	db.Close()
	db = mustOpen(t, path)
	if got, ok, err := db.Publish("hello"); err != nil || !ok || cmp.Diff(second, got) != "" {
		t.Errorf("after a conflict: %v, %v, %s", ok, err, cmp.Diff(second, got))
	}
	if err := db.Delete("hello"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := db.Publish("hello"); ok || err != nil {
		t.Errorf("a removed function has a publish: %v", err)
	}
}

// TestEndPublish: an end that comes late is not put in place of what began meanwhile.
func TestEndPublish(t *testing.T) {
	db, _ := openTemp(t)
	first, second := running("hello", 1, 1), running("hello", 2, 2)
	for _, r := range []publish.Record{first, second} {
		if err := db.PutPublish(r); err != nil {
			t.Fatal(err)
		}
	}
	first.Publish.State = thaw.PublishFailed
	if err := db.EndPublish(first); err != nil {
		t.Fatal(err)
	}
	if got, _, err := db.Publish("hello"); err != nil || got.Publish.Number != 2 || got.Publish.State != thaw.PublishRunning {
		t.Errorf("%v: %+v", err, got)
	}
}

// TestPublishesAreBounded: of functions that there are not, the oldest go, but for those
// that are under way; what cannot be read is told apart.
func TestPublishesAreBounded(t *testing.T) {
	db, _ := openTemp(t)
	if err := db.PutPublish(running("first", 1, 0)); err != nil {
		t.Fatal(err)
	}
	for i := range maxHomeless + 3 {
		r := running(fmt.Sprintf("f%03d", i), 1, i+1)
		r.Publish.State = thaw.PublishFailed
		if err := db.EndPublish(r); err != nil {
			t.Fatal(err)
		}
	}
	all, unreadable, err := db.PublishRecords()
	if err != nil || len(all) != maxHomeless+1 || all[0].Publish.Function != "f003" || len(unreadable) != 0 {
		t.Errorf("%d records from %s, %q, %v", len(all), all[0].Publish.Function, unreadable, err)
	}
	if err := db.bolt.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketPublishes)).Put([]byte("torn"), []byte(`{"format":`))
	}); err != nil {
		t.Fatal(err)
	}
	if _, unreadable, err = db.PublishRecords(); err != nil || cmp.Diff([]string{"torn"}, unreadable) != "" {
		t.Errorf("%q, %v", unreadable, err)
	}
	if err := db.ForgetPublish("torn"); err != nil {
		t.Fatal(err)
	}
}
