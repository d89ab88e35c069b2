package daemon

import (
	"errors"

	"thaw"
	"thaw/snapshot"
)

// verifySnapshots checks every snapshot by checksum, one after the other, and
// takes the bad ones out of use.
func (d *Daemon) verifySnapshots() {
	versions, err := d.registry.List()
	if err != nil {
		d.log.Error("snapshots could not be listed", "error", err)
		return
	}
	for _, v := range versions {
		if d.ctx.Err() != nil {
			return
		}
		if v.Snapshot == "" {
			continue
		}
		err := d.snapshots.Verify(v.Snapshot)
		if err == nil {
			continue
		}
		d.log.Error("snapshot is bad", "function", v.Function, "version", v.Number, "snapshot", v.Snapshot, "error", err)
		d.giveUp(v, err)
		if errors.Is(err, snapshot.ErrCorrupt) || errors.Is(err, snapshot.ErrStale) {
			d.rebuild(v)
		}
	}
}

// rebuild makes a new snapshot of v in the background, unless one is being made
// or v has one.
func (d *Daemon) rebuild(v thaw.Version) {
	key := v.Function
	if !d.rebuilds.tryLock(key) {
		return
	}
	d.background.Go(func() {
		defer d.rebuilds.unlock(key)
		if err := d.remake(v); err != nil && d.ctx.Err() == nil {
			d.log.Error("snapshot could not be made again", "function", v.Function, "version", v.Number, "error", err)
		}
	})
}

func (d *Daemon) remake(v thaw.Version) error {
	now, err := d.registry.Get(v.Function)
	if err != nil || now.Number != v.Number || now.Snapshot != "" {
		return err // gone, superseded or repaired
	}
	p := &progress{events: func(e thaw.DeployEvent) {
		if e.Message != "" {
			d.log.Info("making a snapshot again", "function", v.Function, "step", e.Step, "message", e.Message)
		}
	}}
	if err := d.makeSnapshot(d.ctx, &now, p); err != nil || now.Snapshot == "" {
		return err
	}
	err = d.registry.Update(v.Function, v.Number, func(u *thaw.Version) error {
		u.Snapshot, u.Problem = now.Snapshot, ""
		return nil
	})
	if err != nil {
		return errors.Join(err, d.snapshots.Remove(now.Snapshot))
	}
	return nil
}
