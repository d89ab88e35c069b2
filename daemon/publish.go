package daemon

import (
	"context"

	"thaw"
	"thaw/publish"
)

// Publish begins a deploy that goes on after it has returned, which it does when the
// code has been read, or is known to be no good. How the deploy goes on,
// [Daemon.Deployment] and [Daemon.Publishes] say. ctx bounds the wait only; a daemon
// that ends meanwhile leaves the rest to the next one.
func (d *Daemon) Publish(ctx context.Context, r thaw.PublishRequest) (thaw.Deployment, error) {
	ctx, end, err := d.begin(ctx)
	if err != nil {
		return thaw.Deployment{}, err
	}
	defer end()
	p, done, err := d.newPublication(r, d.logSteps(r.Function))
	if err != nil {
		return thaw.Deployment{}, err
	}
	p.record.Publish.Detached = true
	taken, ended := make(chan thaw.Deployment, 1), make(chan error, 1)
	p.taken = func() { taken <- d.deployment(p.record) }
	d.background.Go(func() {
		defer done()
		err := p.finish(d.ctx, thaw.StepBuild)
		ended <- err
		p.report(err)
	})
	select {
	case x := <-taken:
		return x, nil
	case err := <-ended:
		return thaw.Deployment{}, err
	case <-ctx.Done():
		return thaw.Deployment{}, context.Cause(ctx)
	}
}

// deployment is what r tells of the deploy of a version.
func (d *Daemon) deployment(r publish.Record) thaw.Deployment {
	_, err := d.registry.Get(r.Publish.Function)
	return thaw.Deployment{
		Version: r.Version, First: thaw.CodeOf(err) == thaw.CodeNotFound,
		Step: r.Publish.Step, Began: r.Publish.Began, Reason: r.Publish.Error, ReasonCode: r.Publish.Code,
	}
}

// unfinished says that r is under way, or has failed after its code was taken: of one
// before that its caller was told.
func unfinished(r publish.Record) bool {
	return r.Publish.State == thaw.PublishRunning || r.Publish.State == thaw.PublishFailed && r.Publish.Number > 0
}

// Deployment returns the deploy of the function called name that is under way, or
// the last one if that failed.
func (d *Daemon) Deployment(name string) (thaw.Deployment, bool) {
	r, ok, err := d.registry.Publish(name)
	if err != nil || !ok || !unfinished(r) {
		return thaw.Deployment{}, false
	}
	return d.deployment(r), true
}

// Deployments returns all of them, by name.
func (d *Daemon) Deployments() []thaw.Deployment {
	all := []thaw.Deployment{}
	records, _, err := d.registry.PublishRecords()
	if err != nil {
		d.log.Error("deploys could not be listed", "error", err)
	}
	for _, r := range records {
		if unfinished(r) {
			all = append(all, d.deployment(r))
		}
	}
	return all
}

// Publishes returns the latest deploy of each function, by name, also of those that
// failed before there was a function.
func (d *Daemon) Publishes(context.Context) ([]thaw.Publish, error) {
	records, _, err := d.registry.PublishRecords()
	all := make([]thaw.Publish, 0, len(records))
	for _, r := range records {
		all = append(all, r.Publish)
	}
	return all, err
}

// forgetPublish forgets the deploy of a function, and says whether there was one.
func (d *Daemon) forgetPublish(name string) (ok bool, err error) {
	if _, ok, err = d.registry.Publish(name); err != nil || !ok {
		return false, err
	}
	return true, d.registry.ForgetPublish(name)
}

// Annotate sets the description of a version, the one thing about it that a person
// may change.
func (d *Daemon) Annotate(_ context.Context, name string, number int, description string) error {
	return d.registry.Update(name, number, func(v *thaw.Version) error {
		v.Description = description
		return v.Validate()
	})
}
