package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"thaw"
	"thaw/image"
	"thaw/instance"
)

// Deploy makes the next version of the function called name out of code, a tar
// stream, and makes it the one that serves. Until then, and after any error, the
// one before it does. Earlier versions stay, up to a number. events is told of each step, from one goroutine.
func (d *Daemon) Deploy(ctx context.Context, name string, s thaw.Settings, code io.Reader, events func(thaw.DeployEvent)) (thaw.Version, error) {
	ctx, end, err := d.begin(ctx)
	if err != nil {
		return thaw.Version{}, err
	}
	defer end()
	r := thaw.PublishRequest{Function: name, Settings: s.WithDefaults(), Code: code}
	return d.newVersion(ctx, r, &progress{events: events}, func(thaw.Deployment) {})
}

// newVersion makes a version as r says. taken is told when its code has been read.
func (d *Daemon) newVersion(ctx context.Context, r thaw.PublishRequest, p *progress, taken func(thaw.Deployment)) (v thaw.Version, err error) {
	name := r.Function
	if err := errors.Join(thaw.CheckName(name), r.Settings.Validate()); err != nil {
		return v, err
	}
	if !d.deploys.tryLock(name) {
		return v, thaw.Errorf(thaw.CodeConflict, "function %s is being deployed already: wait for that to end", name)
	}
	unlock := func() { d.deploys.unlock(name) }
	defer func() { unlock() }()
	_, e := d.registry.Get(name)
	first := thaw.CodeOf(e) == thaw.CodeNotFound
	if r.New && !first {
		return v, thaw.Errorf(thaw.CodeConflict, "function %s exists already: update it, or choose another name", name)
	}
	w := d.underWay.begin(r, first)
	// Who sees that the deploy has ended can begin the next one.
	unlock = func() { d.deploys.unlock(name); w.end(err) }
	defer d.prune() // of versions that go, or of what failed
	if v, err = d.deploy(ctx, r, &progress{events: w.watch(p.events)}, func(v thaw.Version) { taken(w.taken(v)) }); err != nil && first {
		err = errors.Join(err, d.logs.remove(name)) // nobody could ask for them
	}
	return v, err
}

// deploy runs the steps, during which no image is pruned.
func (d *Daemon) deploy(ctx context.Context, r thaw.PublishRequest, p *progress, taken func(thaw.Version)) (thaw.Version, error) {
	d.imageUse.RLock()
	defer d.imageUse.RUnlock()
	if err := d.checkSecrets(r.Settings.Secrets); err != nil {
		return thaw.Version{}, err
	}
	v, err := d.build(ctx, r, p, taken)
	if err != nil {
		return v, err
	}
	if err := d.makeSnapshot(ctx, &v, p); err != nil {
		return v, err
	}
	return v, d.activate(v, p)
}

// build makes the images of a new version.
func (d *Daemon) build(ctx context.Context, r thaw.PublishRequest, p *progress, taken func(thaw.Version)) (v thaw.Version, err error) {
	done := p.step("image")
	v = thaw.Version{Function: r.Function, Settings: r.Settings, Created: time.Now().UTC()}
	numbered := func(v *thaw.Version) (err error) {
		if v.Number, err = d.registry.NextVersion(v.Function); err == nil {
			taken(*v)
		}
		return err
	}
	if r.Settings.Image != nil {
		err = d.buildContainer(ctx, &v, r, p, numbered)
	} else {
		err = d.buildCode(ctx, &v, r, p, numbered)
	}
	if err == nil {
		done(fmt.Sprintf("kernel, root and code disks are ready (code: %d KiB)", v.CodeBytes>>10))
	}
	return v, err
}

// buildCode makes v of files. numbered is called when they have been read.
func (d *Daemon) buildCode(ctx context.Context, v *thaw.Version, r thaw.PublishRequest, p *progress, numbered func(*thaw.Version) error) error {
	disk, err := d.code(ctx, r, p)
	if err != nil {
		return err
	}
	v.Images.Code, v.CodeBytes = disk.Key, disk.Bytes
	if err := numbered(v); err != nil {
		return err
	}
	base, err := d.images.Base(ctx, v.Settings, p.say)
	v.Images = base.Images(disk.Key)
	return err
}

// code returns the code disk of a new version: one that is made now, or that of an
// earlier version.
func (d *Daemon) code(ctx context.Context, r thaw.PublishRequest, p *progress) (image.Disk, error) {
	if r.Code != nil {
		return d.images.Code(ctx, r.Code, r.Settings, p.say)
	}
	v, err := d.find(r.From)
	return image.Disk{Key: v.Images.Code, Bytes: v.CodeBytes}, err
}

// makeSnapshot takes v's snapshot and proves it by one restore. A snapshot that
// cannot be restored is put in quarantine, and v is served by booting.
func (d *Daemon) makeSnapshot(ctx context.Context, v *thaw.Version, p *progress) error {
	m, err := d.snapshot(ctx, *v, p)
	if err != nil {
		return err
	}
	v.Snapshot = m.ID
	done := p.step("verify")
	took, err := d.tryRestore(ctx, *v)
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), d.snapshots.Remove(m.ID))
	}
	if err != nil {
		v.Snapshot, v.Problem = "", fmt.Sprintf("its snapshot could not be restored: %v", err)
		d.log.Error("snapshot is put in quarantine", "function", v.Function, "version", v.Number, "snapshot", m.ID, "error", err)
		done("FAILED, every start will be a boot: " + err.Error())
		return d.snapshots.Quarantine(m.ID, err)
	}
	done(fmt.Sprintf("restored in %d ms, clock, entropy and identity are right", took.Milliseconds()))
	return nil
}

// snapshot takes one, of few at a time: a guest that boots is a core at work.
func (d *Daemon) snapshot(ctx context.Context, v thaw.Version, p *progress) (thaw.Manifest, error) {
	if len(d.booting) == cap(d.booting) {
		p.say("waiting for others that boot")
	}
	select {
	case d.booting <- struct{}{}:
		defer func() { <-d.booting }()
	case <-ctx.Done():
		return thaw.Manifest{}, context.Cause(ctx)
	}
	return d.starter.Snapshot(ctx, v, p.step)
}

func (d *Daemon) tryRestore(ctx context.Context, v thaw.Version) (time.Duration, error) {
	start := time.Now()
	in, err := d.starter.Restore(ctx, v, instance.Way{Policy: thaw.PolicyVanilla}, instance.NewTimeline())
	if err != nil {
		return 0, err
	}
	took := time.Since(start)
	in.Close()
	return took, nil
}

// activate makes v the version that serves, and removes those that are too many
// then.
func (d *Daemon) activate(v thaw.Version, p *progress) error {
	done := p.step("activate")
	replaced, err := d.registry.Put(v)
	if err != nil {
		return errors.Join(err, d.removeSnapshot(v))
	}
	d.retire(v.Function, replaced)
	d.pool.Serve(v)
	if err := d.pruneVersions(v.Function); err != nil { // v serves all the same
		d.log.Error("older versions could not be removed", "function", v.Function, "version", v.Number, "error", err)
	}
	done(fmt.Sprintf("version %d serves", v.Number))
	return nil
}

func (d *Daemon) removeSnapshot(v thaw.Version) error {
	if v.Snapshot == "" {
		return nil
	}
	d.lessons.forget(v.Snapshot)
	return d.snapshots.Remove(v.Snapshot)
}

// progress tells a deploy's steps and how long they took.
type progress struct {
	events func(thaw.DeployEvent)
	name   string
}

// step begins a step; what it returns ends it.
func (p *progress) step(name string) func(message string) {
	start := time.Now()
	p.name = name
	p.events(thaw.DeployEvent{Step: name})
	return func(message string) {
		p.events(thaw.DeployEvent{Step: name, Message: message, DurationMS: float64(time.Since(start).Microseconds()) / 1e3})
	}
}

// say reports something within the step under way.
func (p *progress) say(message string) { p.events(thaw.DeployEvent{Step: p.name, Message: message}) }
