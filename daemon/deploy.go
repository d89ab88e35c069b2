package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"thaw"
	"thaw/image"
	"thaw/publish"
)

// Deploy makes the next version of the function called name out of code, a tar
// stream, and makes it the one that serves. Until then, and after any error, the
// one before it does. Earlier versions stay, up to a number. events is told of each
// step, from one goroutine. The end of ctx abandons it.
func (d *Daemon) Deploy(ctx context.Context, name string, s thaw.Settings, code io.Reader, events func(thaw.DeployEvent)) (thaw.Version, error) {
	ctx, end, err := d.begin(ctx)
	if err != nil {
		return thaw.Version{}, err
	}
	defer end()
	r := thaw.PublishRequest{Function: name, Settings: s.WithDefaults(), Code: code}
	p, done, err := d.newPublication(r, events)
	if err != nil {
		return thaw.Version{}, err
	}
	defer done()
	if err := p.finish(ctx, thaw.StepBuild); err != nil {
		return thaw.Version{}, err
	}
	return p.record.Version, nil
}

// newPublication begins what r asks for. The caller calls done when it has ended: until
// then no other deploy of the function begins, and no image is pruned.
func (d *Daemon) newPublication(r thaw.PublishRequest, events func(thaw.DeployEvent)) (_ *publication, done func(), err error) {
	if err := errors.Join(thaw.CheckName(r.Function), r.Settings.Validate()); err != nil {
		return nil, nil, err
	}
	if err := d.checkSecrets(r.Settings.Secrets); err != nil {
		return nil, nil, err
	}
	if err := d.lockDeploy(r.Function); err != nil {
		return nil, nil, err
	}
	if _, err := d.registry.Get(r.Function); err == nil && r.New {
		d.deploys.unlock(r.Function)
		return nil, nil, thaw.Errorf(thaw.CodeConflict, "function %s exists already: update it, or choose another name", r.Function)
	}
	d.imageUse.RLock()
	now := time.Now().UTC()
	p := &publication{daemon: d, events: events, noted: true, request: &r, taken: func() {}}
	p.record.Publish = thaw.Publish{Function: r.Function, State: thaw.PublishRunning, Began: now}
	p.record.Version = thaw.Version{Function: r.Function, Settings: r.Settings, Created: now}
	return p, func() {
		d.imageUse.RUnlock()
		d.prune() // of versions that go, or of what failed
		d.deploys.unlock(r.Function)
	}, nil
}

// lockDeploy takes the lock of a function's deploys. Who has seen the end of one can
// begin the next: then it waits for what is cleared away after that.
func (d *Daemon) lockDeploy(name string) error {
	for !d.deploys.tryLock(name) {
		if r, ok, err := d.registry.Publish(name); err == nil && ok && r.Publish.State == thaw.PublishRunning {
			return thaw.Errorf(thaw.CodeConflict, "function %s is being deployed already: wait for that to end, `thaw deploys` shows how far it is", name)
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// finish takes the steps from one on, and cleans up when one fails.
func (p *publication) finish(ctx context.Context, from string) error { return p.end(p.run(ctx, from)) }

// run takes the steps from one on.
func (p *publication) run(ctx context.Context, from string) error {
	for _, part := range []struct {
		step string // the last of it
		take func(context.Context) error
	}{
		{thaw.StepBuild, p.build},
		{thaw.StepSnapshot, p.takeSnapshot},
		{thaw.StepVerify, p.verify},
		{thaw.StepRecord, p.recordSet},
		{thaw.StepActivate, p.activate},
	} {
		if !publish.After(part.step, from) {
			continue
		}
		if err := part.take(ctx); err != nil {
			return err
		}
	}
	return nil
}

// build makes the images of the version.
func (p *publication) build(ctx context.Context) error {
	v := &p.record.Version
	return p.step(ctx, thaw.StepBuild, func() (_ string, err error) {
		switch {
		case p.request == nil:
			err = p.buildRest(ctx)
		case v.Image != nil:
			err = p.buildContainer(ctx)
		default:
			err = p.buildCode(ctx)
		}
		return fmt.Sprintf("kernel, root and code disks are ready (code: %d KiB)", v.CodeBytes>>10), err
	})
}

// number gives the version its number, once its code has been read. From then on the
// publish needs nobody but the daemon, and the journal says so.
func (p *publication) number() error {
	d, v := p.daemon, &p.record.Version
	number, err := d.registry.NextVersion(v.Function)
	if err != nil {
		return err
	}
	v.Number, p.record.Publish.Number = number, number
	if err := d.registry.PutPublish(p.record); err != nil {
		return err
	}
	p.taken()
	return nil
}

// buildCode makes the images of a version that is made of files.
func (p *publication) buildCode(ctx context.Context) error {
	v := &p.record.Version
	disk, err := p.code(ctx)
	if err != nil {
		return err
	}
	v.Images.Code, v.CodeBytes = disk.Key, disk.Bytes
	if err := p.number(); err != nil {
		return err
	}
	return p.buildRest(ctx)
}

// buildRest makes what the code disk is not enough for.
func (p *publication) buildRest(ctx context.Context) (err error) {
	v := &p.record.Version
	var base image.Base
	if v.Container != nil {
		base, err = p.daemon.images.SameRoot(ctx, v.Images.Root, p.say)
	} else {
		base, err = p.daemon.images.Base(ctx, v.Settings, p.say)
	}
	if err == nil {
		v.Images = base.Images(v.Images.Code)
	}
	return err
}

// code returns the code disk of a new version: one that is made now, or that of an
// earlier version.
func (p *publication) code(ctx context.Context) (image.Disk, error) {
	d, r := p.daemon, p.request
	if r.Code != nil {
		return d.images.Code(ctx, r.Code, r.Settings, p.say)
	}
	v, err := d.find(r.From)
	return image.Disk{Key: v.Images.Code, Bytes: v.CodeBytes}, err
}

// activate makes the version the one that serves, and removes those that are too many
// then.
func (p *publication) activate(ctx context.Context) error {
	d, v := p.daemon, &p.record.Version
	return p.step(ctx, thaw.StepActivate, func() (string, error) {
		p.record.Publish.State, p.record.Publish.Ended = thaw.PublishDone, time.Now().UTC()
		replaced, err := d.registry.Activate(p.record)
		if err != nil {
			return "", err
		}
		d.pool.Serve(*v)
		d.retire(v.Function, replaced)
		if err := d.pruneVersions(v.Function); err != nil { // v serves all the same
			d.log.Error("older versions could not be removed", "function", v.Function, "version", v.Number, "error", err)
		}
		return fmt.Sprintf("version %d serves", v.Number), nil
	})
}
