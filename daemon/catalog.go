package daemon

import (
	"context"
	"errors"

	"thaw"
	"thaw/image"
)

// Functions returns the newest version of each function, by name.
func (d *Daemon) Functions(context.Context) ([]thaw.Version, error) { return d.registry.List() }

// Describe returns everything about the function called name.
func (d *Daemon) Describe(_ context.Context, name string) (thaw.Description, error) {
	v, err := d.registry.Get(name)
	if err != nil {
		return thaw.Description{}, err
	}
	desc := thaw.Description{Version: v, Instances: []thaw.Instance{}, Invocations: d.history.of(name)}
	for _, in := range d.pool.List() {
		if in.Function == name {
			desc.Instances = append(desc.Instances, in)
		}
	}
	if files, err := d.images.Files(v.Images); err == nil {
		desc.Disks = []string{files.Root, files.Code}
	}
	if v.Snapshot == "" {
		return desc, nil
	}
	if info, err := d.snapshots.Info(v.Snapshot); err == nil {
		desc.SnapshotInfo = &info
	} else {
		desc.Problem = err.Error() // shown, and found out again by the next start
	}
	return desc, nil
}

// Remove deletes the function called name with its versions, snapshots, logs
// and instances. An invocation under way is finished.
func (d *Daemon) Remove(_ context.Context, name string) error {
	if !d.deploys.tryLock(name) {
		return thaw.Errorf(thaw.CodeConflict, "function %s is being deployed: wait for that to end", name)
	}
	defer d.deploys.unlock(name)
	versions, err := d.registry.Versions(name)
	if err != nil {
		return err
	}
	if err := d.registry.Delete(name); err != nil {
		return err
	}
	var errs []error
	for _, v := range versions {
		d.pool.Retire(name, v.Number)
		errs = append(errs, d.removeSnapshot(v))
	}
	d.history.forget(name)
	d.retry.forget(name)
	d.prune()
	return errors.Join(append(errs, d.logs.remove(name))...)
}

// prune removes the images that no function needs, unless one may be about to,
// or another state folder has a say.
func (d *Daemon) prune() {
	if !d.ownImages || !d.imageUse.TryLock() {
		return
	}
	defer d.imageUse.Unlock()
	versions, err := d.registry.List()
	if err == nil {
		used := map[string]bool{}
		for _, v := range versions {
			for _, key := range image.Keys(v) {
				used[key] = true
			}
		}
		_, err = d.images.Prune(func(key string) bool { return used[key] })
	}
	if err != nil {
		d.log.Error("unused images could not be removed", "error", err)
	}
}

// Instances returns every running VM.
func (d *Daemon) Instances() []thaw.Instance { return d.pool.List() }

// EndIdle ends the idle instances of the function called name.
func (d *Daemon) EndIdle(name string) error {
	if _, err := d.registry.Get(name); err != nil {
		return err
	}
	d.pool.EndIdle(name)
	return nil
}

// Interrupt makes the guest kernel of an instance panic and print where it was:
// the way to look into a guest that hangs. The instance ends.
func (d *Daemon) Interrupt(ctx context.Context, id string) error {
	in := d.pool.Find(id)
	if in == nil {
		return thaw.Errorf(thaw.CodeNotFound, "no instance %q is running", id)
	}
	return in.InjectNMI(ctx)
}

// Invocation returns the record of a recent invocation.
func (d *Daemon) Invocation(id string) (thaw.Invocation, error) { return d.history.get(id) }

// Logs returns up to limit of the newest lines of the function called name,
// newest last.
func (d *Daemon) Logs(name string, limit int) ([]thaw.LogLine, error) {
	if _, err := d.registry.Get(name); err != nil {
		return nil, err
	}
	return d.logs.tail(name, limit)
}
