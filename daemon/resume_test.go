package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/publish"
)

// TestRecoverPublishes undoes what cannot be gone on with: its snapshot goes, its record
// says so, and the version that serves stays.
func TestRecoverPublishes(t *testing.T) {
	d := stocked(t, 1)
	left := thaw.Version{Function: "hello", Number: 2, Snapshot: d.snapshotOf(t, "hello", 2).ID}
	for _, r := range []publish.Record{
		{Publish: thaw.Publish{Function: "hello", Number: 2, State: thaw.PublishRunning, Step: thaw.StepVerify, Began: time.Now()}, Version: left},
		{Publish: thaw.Publish{Function: "fresh", State: thaw.PublishRunning, Step: thaw.StepBuild}, Version: thaw.Version{Function: "fresh"}},
	} {
		if err := d.registry.PutPublish(r); err != nil {
			t.Fatal(err)
		}
	}
	resume, err := d.recoverPublishes()
	if err != nil || len(resume) != 0 {
		t.Fatalf("%v, %+v", err, resume)
	}
	if err := d.sweep(resume); err != nil {
		t.Fatal(err)
	}
	ids, err := d.snapshots.IDs()
	if err != nil || len(ids) != 1 || ids[0] == left.Snapshot {
		t.Errorf("snapshots %v, %v; that of a deploy that is undone is %s", ids, err, left.Snapshot)
	}
	all, err := d.Publishes(t.Context())
	if err != nil || len(all) != 2 || all[0].State != thaw.PublishFailed || all[1].State != thaw.PublishFailed || all[1].Ended.IsZero() {
		t.Errorf("%v, %+v", err, all)
	}
	if x, ok := d.Deployment("hello"); !ok || !x.Failed() || x.First {
		t.Errorf("%v, %+v", ok, x)
	}
	if _, ok := d.Deployment("fresh"); ok {
		t.Error("a deploy whose code was never taken is told of")
	}
}

// TestSweepSparesResumed: the snapshot of a publish to go on with has no version yet.
func TestSweepSparesResumed(t *testing.T) {
	d := stocked(t, 1)
	v := thaw.Version{Function: "hello", Number: 2, Snapshot: d.snapshotOf(t, "hello", 2).ID}
	if err := d.sweep([]resumption{{record: publish.Record{Version: v}}}); err != nil {
		t.Fatal(err)
	}
	if ids, err := d.snapshots.IDs(); err != nil || len(ids) != 2 {
		t.Errorf("%v, %v", ids, err)
	}
}

func TestExplainFull(t *testing.T) {
	d := &Daemon{state: t.TempDir()}
	full := &os.PathError{Op: "write", Path: filepath.Join(d.state, "x"), Err: unix.ENOSPC}
	for _, c := range []struct {
		err  error
		want thaw.Code
	}{
		{nil, ""},
		{full, thaw.CodeUnavailable},
		{thaw.Errorf(thaw.CodeInstance, "start failed: %w", full), thaw.CodeUnavailable},
		{thaw.Errorf(thaw.CodeFunction, "it says: %w", full), thaw.CodeFunction},
		{errors.New("bug"), thaw.CodeInternal},
	} {
		if got := d.explainFull(c.err); thaw.CodeOf(got) != c.want {
			t.Errorf("%v became %v, want %q", c.err, got, c.want)
		}
	}
}
