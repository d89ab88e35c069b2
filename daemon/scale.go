package daemon

import (
	"context"

	"thaw"
	"thaw/instance"
)

// newPool makes the pool within the limits of cfg.
func (d *Daemon) newPool(cfg Config) *instance.Pool {
	return instance.NewPool(instance.PoolConfig{
		Idle: cfg.IdleTimeout, Total: cfg.MaxInstances, PerFunction: cfg.MaxPerFunction, Memory: cfg.MemoryBudget,
		QueueDepth: cfg.QueueDepth, QueueTimeout: cfg.QueueTimeout,
		Guess: d.guess, Make: d.startAhead,
		OnError: func(function string, version int, err error) {
			d.log.Warn("an instance that no request waited for could not be started", "function", function, "version", version, "error", err)
		},
	})
}

// expect has VMMs started for the versions that serve, and their minimum of
// instances.
func (d *Daemon) expect() error {
	versions, err := d.registry.List()
	for _, v := range versions {
		d.vmms.Expect(v.MemoryBytes)
		if v.MinScale > 0 || v.KeepAlive == thaw.KeepAliveHistogram { // there may be thousands of others
			d.pool.Serve(v)
		}
	}
	return err
}

// overhead is what a VMM is taken to occupy besides its guest's memory, in bytes: QEMU
// that emulates has 23 MiB of its own after a first request.
const overhead = 32 << 20

// guess is what an instance of v may occupy, as long as none was measured: its
// working set, or before one was recorded all that is not zero in its snapshot, and
// its VMM. A guest that boots may touch all of its memory.
func (d *Daemon) guess(v thaw.Version) int64 {
	m, err := d.snapshots.Manifest(v.Snapshot)
	if err != nil {
		return overhead + v.MemoryBytes
	}
	if set, err := d.snapshots.WorkingSet(m, thaw.FileWorkingSet); err == nil {
		return overhead + int64(len(set.Touches))*thaw.PageSize
	}
	return overhead + m.NonZeroPages*thaw.PageSize
}

// startAhead makes an instance that no request asks for. It records nothing: who
// knows when it will be used.
func (d *Daemon) startAhead(ctx context.Context, function string, version int) (made instance.Made, err error) {
	v, err := d.registry.Resolve(thaw.RefTo(function, version), ownVersion)
	if err != nil {
		return made, err
	}
	way := instance.Way{Policy: thaw.PolicyVanilla, Reason: "started ahead of its first request"}
	if m, err := d.snapshots.Manifest(v.Snapshot); err == nil && d.snapshots.Has(m, thaw.FileLoadingSetThaw) {
		way.Policy = thaw.PolicyThaw
	}
	made.Timeline = instance.NewTimeline()
	made.Instance, err = d.start(ctx, v, way, made.Timeline)
	return made, err
}

// Load is what there is to share at the moment, and who waits for it.
func (d *Daemon) Load() thaw.Load {
	l, budget := d.pool.Load()
	return thaw.Load{Waiting: l.Waiting, MemoryBytes: l.Memory, MemoryBudget: budget, Evictions: l.Evicted, Ending: d.pool.Ending()}
}
