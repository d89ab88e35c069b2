package daemon

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"thaw"
	"thaw/snapshot"
)

// verifyPause is how long checking snapshots rests after each, in times of what that
// took: with thousands of them it goes on for long, beside invocations.
const verifyPause = 3

// verifySnapshots checks the snapshot of every version by checksum, one after the
// other, what serves first, and takes the bad ones out of use. Those of versions that nothing points
// at are made again when they are asked for.
func (d *Daemon) verifySnapshots() {
	versions, err := d.servingFirst()
	if err != nil {
		d.log.Error("snapshots could not be listed", "error", err)
		return
	}
	began, bad := time.Now(), 0
	for _, v := range versions {
		start := time.Now()
		if !d.verify(v) {
			bad++
		}
		d.pause(verifyPause * time.Since(start))
		if d.ctx.Err() != nil {
			return
		}
	}
	d.log.Info("the snapshots are checked", "versions", len(versions), "bad", bad, "took", time.Since(began).Round(time.Millisecond))
}

// verify checks the snapshot of v, if it is still that of v and has one, and reports
// whether nothing is wrong with it.
func (d *Daemon) verify(v thaw.Version) bool {
	if v.Snapshot == "" {
		return true
	}
	err := d.snapshots.Verify(d.ctx, v.Snapshot)
	if err == nil || d.ctx.Err() != nil {
		return true
	}
	if now, e := d.still(v); e != nil || now.Snapshot != v.Snapshot {
		return true // it was taken away meanwhile, with reason
	}
	d.giveUp(v, err)
	if errors.Is(err, snapshot.ErrCorrupt) || errors.Is(err, snapshot.ErrStale) {
		d.rebuildIfPointedAt(v)
	}
	return false
}

// pause waits, at most until the daemon ends.
func (d *Daemon) pause(wait time.Duration) {
	select {
	case <-time.After(wait):
	case <-d.ctx.Done():
	}
}

func (d *Daemon) servingFirst() ([]thaw.Version, error) {
	first, err := d.registry.List()
	if err != nil {
		return nil, err
	}
	serves := map[string]bool{}
	for _, v := range first {
		serves[keyOf(v)] = true
	}
	all, err := d.registry.All()
	others := slices.DeleteFunc(all, func(v thaw.Version) bool { return serves[keyOf(v)] })
	return append(first, others...), err
}

func (d *Daemon) rebuildIfPointedAt(v thaw.Version) {
	if f, err := d.registry.Function(v.Function); err == nil && f.PointsAt(v.Number) {
		d.rebuild(v)
	}
}

// rebuild makes a new snapshot of v in the background, unless one is being made,
// v has one, or the last try failed not long ago.
func (d *Daemon) rebuild(v thaw.Version) {
	key := keyOf(v)
	if d.retry.wait(key) || !d.rebuilds.tryLock(key) {
		return
	}
	d.background.Go(func() {
		defer d.rebuilds.unlock(key)
		err := d.remake(v)
		if d.ctx.Err() != nil {
			return
		}
		d.retry.note(key, err)
		if err != nil {
			d.log.Error("snapshot could not be made again", "function", v.Function, "version", v.Number, "error", err)
		}
	})
}

func (d *Daemon) remake(v thaw.Version) error {
	d.imageUse.RLock()
	defer d.imageUse.RUnlock()
	now, err := d.still(v)
	if err != nil || now.Snapshot != "" {
		return nil //nolint:nilerr // removed or repaired meanwhile
	}
	p := &publication{daemon: d, events: func(e thaw.DeployEvent) {
		if e.Message != "" {
			d.log.Info("making a snapshot again", "function", v.Function, "version", v.Number, "step", e.Step, "message", e.Message)
		}
	}}
	p.record.Version = now
	if err := p.remake(d.ctx); err != nil {
		return errors.Join(err, d.removeSnapshot(p.record.Version))
	}
	if now = p.record.Version; now.Snapshot == "" {
		return errors.New(now.Problem)
	}
	return d.use(now)
}

// remake makes another snapshot of a version that there is.
func (p *publication) remake(ctx context.Context) error {
	if err := p.takeSnapshot(ctx); err != nil {
		return err
	}
	if err := p.verify(ctx); err != nil {
		return err
	}
	return p.recordSet(ctx)
}

// use gives v its new snapshot, or takes that back if v has been removed.
func (d *Daemon) use(v thaw.Version) error {
	err := d.registry.Update(v.Function, v.Number, func(u *thaw.Version) error {
		u.Snapshot, u.Problem = v.Snapshot, ""
		return nil
	})
	if err == nil {
		return nil
	}
	if thaw.CodeOf(err) == thaw.CodeNotFound {
		err = nil
	}
	return errors.Join(err, d.snapshots.Remove(v.Snapshot))
}

// backoff spaces out tries that fail, one version from another. The zero value
// is ready; its methods may be called concurrently.
type backoff struct {
	mu    sync.Mutex
	tries map[string]try
}

type try struct {
	failures int
	next     time.Time
}

// The waiting time doubles from the first to the last.
const (
	firstRetry = 30 * time.Second
	lastRetry  = 2 * time.Hour
)

// wait reports whether it is too early to try again.
func (b *backoff) wait(key string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Before(b.tries[key].next)
}

// note remembers how a try ended.
func (b *backoff) note(key string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		delete(b.tries, key)
		return
	}
	if b.tries == nil {
		b.tries = map[string]try{}
	}
	t := b.tries[key]
	t.next = time.Now().Add(min(firstRetry<<min(t.failures, 16), lastRetry))
	t.failures++
	b.tries[key] = t
}

func (b *backoff) forget(key string) { b.note(key, nil) }
