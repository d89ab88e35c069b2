package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"thaw"
	"thaw/registry"
	"thaw/snapshot"
)

// shelf is a daemon with a registry and a store, and no VMs.
func shelf(t *testing.T) *Daemon {
	t.Helper()
	dir := t.TempDir()
	db, err := registry.Open(filepath.Join(dir, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	store, err := snapshot.NewStore(filepath.Join(dir, "snapshots"), filepath.Join(dir, "quarantine"))
	if err != nil {
		t.Fatal(err)
	}
	return &Daemon{registry: db, snapshots: store, ctx: t.Context(), log: slog.New(slog.DiscardHandler), namedBy: func(thaw.Ref) string { return "" }}
}

func onShelf() thaw.Machine { return thaw.Machine{VMM: "qemu", Kernel: "k1"} }

// snapshotOf publishes a snapshot that was made for function.
func (d *Daemon) snapshotOf(t *testing.T, function string, version int) thaw.Manifest {
	t.Helper()
	draft, err := d.snapshots.Draft(64 * thaw.PageSize)
	if err != nil {
		t.Fatal(err)
	}
	draft.Function, draft.Version = function, version
	m, err := draft.Publish(t.Context(), onShelf(), thaw.Images{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// serve makes m what the next version of function starts from.
func (d *Daemon) serve(t *testing.T, function string, m thaw.Manifest) {
	t.Helper()
	number, err := d.registry.NextVersion(function)
	if err == nil {
		_, err = d.registry.Put(thaw.Version{Function: function, Number: number, Settings: thaw.Settings{}.WithDefaults(), Snapshot: m.ID, Created: time.Now()})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotsInOrder(t *testing.T) {
	d := shelf(t)
	old, young := d.snapshotOf(t, "zebra", 1), d.snapshotOf(t, "ant", 7)
	d.serve(t, "zebra", old)
	d.serve(t, "ant", young)
	superseded := d.snapshotOf(t, "zebra", 1)
	for _, name := range []string{"first", "second"} {
		if err := d.snapshots.Quarantine(d.snapshotOf(t, name, 1).ID, errors.New("reason of the "+name)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // file times are that coarse
	}
	all, err := d.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range all {
		got = append(got, string(s.Status)+" "+s.Function)
	}
	want := []string{"serves ant", "serves zebra", "orphaned zebra", "quarantined second", "quarantined first"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if all[0].Version != 1 || all[2].ID != superseded.ID || all[4].Problem != "reason of the first" {
		t.Errorf("%+v", all)
	}
	s, err := d.DescribeSnapshot(t.Context(), young.ID)
	if err != nil || s.Status != thaw.SnapshotServes || s.Function != "ant" || s.Version != 1 {
		t.Errorf("%+v, %v: the registry knows which version it serves", s, err)
	}
	if _, err := d.DescribeSnapshot(t.Context(), "../x"); thaw.CodeOf(err) != thaw.CodeInvalid {
		t.Errorf("DescribeSnapshot of a path = %v", err)
	}
}

func TestRemoveSnapshot(t *testing.T) {
	d := shelf(t)
	m := d.snapshotOf(t, "hello", 1)
	refused := func(why, text string) {
		t.Helper()
		if err := d.RemoveSnapshot(t.Context(), m.ID); thaw.CodeOf(err) != thaw.CodeConflict || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want a conflict with %q", why, err, text)
		}
		if _, err := d.snapshots.Manifest(m.ID); err != nil {
			t.Fatalf("%s: it is gone: %v", why, err)
		}
	}
	d.deploys.tryLock("hello")
	refused("its function is being deployed", "wait for that to end")
	d.deploys.unlock("hello")
	d.rebuilds.tryLock("hello:1")
	refused("it is being made again", "wait for that to end")
	d.rebuilds.unlock("hello:1")
	d.rebuilds.tryLock("hello:2")
	defer d.rebuilds.unlock("hello:2")
	d.deploys.tryLock("other")
	defer d.deploys.unlock("other")

	d.serve(t, "hello", m)
	refused("it serves", "thaw rm hello")
	opened, err := d.snapshots.Open(t.Context(), m, onShelf())
	if err != nil {
		t.Fatal(err)
	}
	next := d.snapshotOf(t, "hello", 2)
	d.serve(t, "hello", next)
	refused("it does not serve, but could", "thaw rm hello:1")
	if removed, err := d.registry.Prune("hello", 1, func(int) bool { return false }); err != nil || len(removed) != 1 {
		t.Fatalf("Prune = %v, %v", removed, err)
	}
	refused("a VM was restored from it", "in use")
	if err := opened.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.RemoveSnapshot(t.Context(), m.ID); err != nil {
		t.Errorf("its version was removed: %v", err)
	}
	if err := d.RemoveSnapshot(t.Context(), m.ID); thaw.CodeOf(err) != thaw.CodeNotFound {
		t.Errorf("removed: %v", err)
	}
	if err := d.snapshots.Quarantine(next.ID, errors.New("reason")); err != nil {
		t.Fatal(err)
	}
	if err := d.registry.Delete("hello"); err != nil {
		t.Fatal(err)
	}
	d.deploys.tryLock("hello") // has nothing to do with what is in quarantine
	if err := d.RemoveSnapshot(t.Context(), next.ID); err != nil {
		t.Errorf("in quarantine: %v", err)
	}
	if all, err := d.Snapshots(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%v, %v are left", all, err)
	}
}

func TestVerifySnapshot(t *testing.T) {
	d := shelf(t)
	m := d.snapshotOf(t, "hello", 1)
	d.serve(t, "hello", m)
	v, err := d.VerifySnapshot(t.Context(), m.ID, func(thaw.FileCheck) {})
	if err != nil || !v.Good || len(v.Files) != 4 || v.Function != "hello" || v.Status != thaw.SnapshotServes || v.ID != m.ID {
		t.Errorf("%+v, %v", v, err)
	}
	if err := os.Remove(d.snapshots.Path(m, thaw.FileRegions)); err != nil {
		t.Fatal(err)
	}
	v, err = d.VerifySnapshot(t.Context(), m.ID, func(thaw.FileCheck) {})
	if err != nil || v.Good || v.Files[3].Status != thaw.CheckMissing {
		t.Errorf("%+v, %v", v, err)
	}
	if s, err := d.DescribeSnapshot(t.Context(), m.ID); err != nil || s.Status != thaw.SnapshotServes {
		t.Errorf("%+v, %v: verifying changes nothing", s, err)
	}
	t.Run("Stopping", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		d.ctx = ctx
		stop := func(thaw.FileCheck) {
			cancel(errStopping)
			time.Sleep(50 * time.Millisecond) // until a goroutine has passed it on
		}
		if _, err := d.VerifySnapshot(t.Context(), m.ID, stop); !errors.Is(err, errStopping) {
			t.Errorf("VerifySnapshot = %v while the daemon ends", err)
		}
		d.closing = true
		if _, err := d.VerifySnapshot(t.Context(), m.ID, func(thaw.FileCheck) {}); !errors.Is(err, errStopping) {
			t.Errorf("VerifySnapshot = %v when the daemon has ended", err)
		}
	})
}
