package daemon

import (
	"cmp"
	"context"
	"slices"
	"time"

	"thaw"
)

// Snapshots returns every snapshot there is, those of versions first, by function;
// what is in quarantine comes last, newest first.
func (d *Daemon) Snapshots(context.Context) ([]thaw.Snapshot, error) {
	all, err := d.snapshots.List()
	if err != nil {
		return nil, err
	}
	serving, err := d.serving()
	if err != nil {
		return nil, err
	}
	for i := range all {
		assign(&all[i], serving)
	}
	slices.SortFunc(all, inOrder)
	return all, nil
}

// DescribeSnapshot returns everything about the snapshot called id.
func (d *Daemon) DescribeSnapshot(_ context.Context, id string) (thaw.Snapshot, error) {
	s, err := d.snapshots.Find(id)
	if err != nil {
		return s, err
	}
	serving, err := d.serving()
	if err != nil {
		return s, err
	}
	assign(&s, serving)
	return s, nil
}

// serving returns every version, by its snapshot.
func (d *Daemon) serving() (map[string]thaw.Version, error) {
	versions, err := d.registry.All()
	if err != nil {
		return nil, err
	}
	by := map[string]thaw.Version{}
	for _, v := range versions {
		by[v.Snapshot] = v
	}
	return by, nil
}

// assign says what s is there for.
func assign(s *thaw.Snapshot, serving map[string]thaw.Version) {
	if s.Status == thaw.SnapshotQuarantined {
		return
	}
	s.Status = thaw.SnapshotOrphaned
	if v, ok := serving[s.ID]; ok {
		s.Status, s.Function, s.Version = thaw.SnapshotServes, v.Function, v.Number
	}
}

func inOrder(a, b thaw.Snapshot) int {
	order := []thaw.SnapshotStatus{thaw.SnapshotServes, thaw.SnapshotOrphaned, thaw.SnapshotQuarantined}
	return cmp.Or(
		cmp.Compare(slices.Index(order, a.Status), slices.Index(order, b.Status)),
		b.Quarantined.Compare(a.Quarantined),
		cmp.Compare(a.Function, b.Function), cmp.Compare(a.ID, b.ID))
}

// VerifySnapshot compares every file of the snapshot called id with its checksum
// and changes nothing. events is told of each file, and how far the one is that is
// being read.
func (d *Daemon) VerifySnapshot(ctx context.Context, id string, events func(thaw.FileCheck)) (thaw.Verification, error) {
	ctx, end, err := d.begin(ctx)
	if err != nil {
		return thaw.Verification{}, err
	}
	defer end()
	start := time.Now()
	s, err := d.DescribeSnapshot(ctx, id)
	if err != nil {
		return thaw.Verification{}, err
	}
	v := thaw.Verification{ID: id, Status: s.Status, Function: s.Function, Version: s.Version}
	if v.Files, err = d.snapshots.Check(ctx, id, events); err != nil {
		return v, err
	}
	v.Good = !slices.ContainsFunc(v.Files, func(f thaw.FileCheck) bool { return f.Status != thaw.CheckOK })
	v.DurationMS = float64(time.Since(start).Microseconds()) / 1e3
	return v, nil
}

// RemoveSnapshot deletes the snapshot called id, which nothing may need: one that
// is orphaned or in quarantine.
func (d *Daemon) RemoveSnapshot(_ context.Context, id string) error {
	s, err := d.snapshots.Find(id)
	if err != nil {
		return err
	}
	// A snapshot that is being made serves, or is gone, before its deploy has ended:
	// one that is seen here and has no deploy under way will never begin to serve.
	if s.Status != thaw.SnapshotQuarantined && (d.deploys.isHeld(s.Function) || d.rebuilds.isHeld(thaw.RefTo(s.Function, s.Version).String())) {
		return thaw.Errorf(thaw.CodeConflict, "snapshot %s may be about to serve, a snapshot of function %s is being made: wait for that to end", id, s.Function)
	}
	if err := d.snapshots.Discard(id, func() error { return d.checkUnneeded(id) }); err != nil {
		return err
	}
	d.lessons.forget(id)
	return nil
}

// checkUnneeded refuses the snapshot called id if a version needs it.
func (d *Daemon) checkUnneeded(id string) error {
	serving, err := d.serving()
	if err != nil {
		return err
	}
	if v, ok := serving[id]; ok {
		return thaw.Errorf(thaw.CodeConflict, "snapshot %s is what version %d of function %s starts from: it goes with the version (thaw rm %s:%d) or with the function (thaw rm %s)", id, v.Number, v.Function, v.Function, v.Number, v.Function)
	}
	return nil
}

// isHeld says whether key's lock is taken.
func (k *keyedMutex) isHeld(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held[key]
}
