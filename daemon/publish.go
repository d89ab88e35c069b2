package daemon

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"thaw"
)

// Publish begins a deploy that goes on after it has returned, which it does when the
// code has been read, or is known to be no good. How the deploy goes on,
// [Daemon.Deployment] says. ctx bounds the wait only; Close waits for the deploy as
// for any request.
func (d *Daemon) Publish(ctx context.Context, r thaw.PublishRequest) (thaw.Deployment, error) {
	work, end, err := d.begin(context.WithoutCancel(ctx))
	if err != nil {
		return thaw.Deployment{}, err
	}
	taken, failed := make(chan thaw.Deployment, 1), make(chan error, 1)
	go func() {
		defer end()
		_, err := d.newVersion(work, r, &progress{events: func(thaw.DeployEvent) {}}, func(x thaw.Deployment) { taken <- x })
		if err != nil {
			d.log.Error("a deploy failed", "function", r.Function, "error", err)
		}
		failed <- err
	}()
	select {
	case x := <-taken:
		return x, nil
	case err := <-failed:
		return thaw.Deployment{}, err
	case <-ctx.Done():
		return thaw.Deployment{}, context.Cause(ctx)
	}
}

// Deployment returns the deploy of the function called name that is under way, or
// the last one if that failed, since the daemon started.
func (d *Daemon) Deployment(name string) (thaw.Deployment, bool) {
	d.underWay.mu.Lock()
	defer d.underWay.mu.Unlock()
	x := d.underWay.byName[name]
	if x == nil {
		return thaw.Deployment{}, false
	}
	return *x, true
}

// Deployments returns all of them, by name.
func (d *Daemon) Deployments() []thaw.Deployment {
	d.underWay.mu.Lock()
	defer d.underWay.mu.Unlock()
	all := make([]thaw.Deployment, 0, len(d.underWay.byName))
	for _, x := range d.underWay.byName {
		all = append(all, *x)
	}
	slices.SortFunc(all, func(a, b thaw.Deployment) int { return cmp.Compare(a.Function, b.Function) })
	return all
}

// deployments knows the deploys under way and those that failed last, one of a
// function. The zero value is ready.
type deployments struct {
	mu     sync.Mutex
	byName map[string]*thaw.Deployment
}

// begin notes a deploy. Nobody else may be deploying the function.
func (d *deployments) begin(r thaw.PublishRequest, first bool) work {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byName == nil {
		d.byName = map[string]*thaw.Deployment{}
	}
	now := time.Now().UTC()
	x := &thaw.Deployment{Version: thaw.Version{Function: r.Function, Settings: r.Settings, Created: now}, First: first, Began: now}
	d.byName[r.Function] = x
	return work{d, x}
}

// forget says whether there was one.
func (d *deployments) forget(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.byName[name]
	delete(d.byName, name)
	return ok
}

// work is a deploy on its way.
type work struct {
	all *deployments
	now *thaw.Deployment
}

func (w work) change(f func(*thaw.Deployment)) thaw.Deployment {
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	f(w.now)
	return *w.now
}

// watch notes each step and passes its event on.
func (w work) watch(events func(thaw.DeployEvent)) func(thaw.DeployEvent) {
	return func(e thaw.DeployEvent) {
		w.change(func(x *thaw.Deployment) { x.Step = e.Step })
		events(e)
	}
}

func (w work) taken(v thaw.Version) thaw.Deployment {
	return w.change(func(x *thaw.Deployment) { x.Version = v })
}

// end forgets a deploy that worked, and one whose code was never taken: its caller
// knows. By now the next deploy may be under way.
func (w work) end(err error) {
	w.change(func(x *thaw.Deployment) {
		if err != nil {
			x.Reason, x.ReasonCode = err.Error(), thaw.CodeOf(err)
		}
		if (err == nil || x.Number == 0) && w.all.byName[x.Function] == x {
			delete(w.all.byName, x.Function)
		}
	})
}

// Annotate sets the description of a version, the one thing about it that a person
// may change.
func (d *Daemon) Annotate(_ context.Context, name string, number int, description string) error {
	return d.registry.Update(name, number, func(v *thaw.Version) error {
		v.Description = description
		return v.Validate()
	})
}
