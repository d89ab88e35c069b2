package daemon

import (
	"context"
	"errors"
	"slices"

	"thaw"
	"thaw/image"
)

// Functions returns the version of each function that serves, by name.
func (d *Daemon) Functions(context.Context) ([]thaw.Version, error) { return d.registry.List() }

// Page returns of those what q asks for, and whether there are more.
func (d *Daemon) Page(_ context.Context, q thaw.FunctionQuery) ([]thaw.Version, bool, error) {
	return d.registry.Page(q)
}

// Find returns the version that name, NAME[:QUALIFIER], names.
func (d *Daemon) Find(_ context.Context, name string) (thaw.Version, error) { return d.find(name) }

// Describe returns everything about the version that name, NAME[:QUALIFIER],
// names. Without a qualifier the instances and the invocations are those of every
// version.
func (d *Daemon) Describe(_ context.Context, name string) (thaw.Description, error) {
	v, err := d.find(name)
	if err != nil {
		return thaw.Description{}, err
	}
	function, which, err := d.wanted(name)
	if err != nil {
		return thaw.Description{}, err
	}
	desc := thaw.Description{Version: v, Instances: []thaw.Instance{}, Invocations: []thaw.Invocation{}}
	for _, in := range d.pool.List() {
		if in.Function == function && which(in.Version) {
			desc.Instances = append(desc.Instances, in)
		}
	}
	for _, i := range d.history.of(function) {
		if which(i.Version) {
			desc.Invocations = append(desc.Invocations, i)
		}
	}
	if f, err := d.registry.Function(function); err == nil {
		desc.Serving = f.Serves
		desc.Aliases = slices.DeleteFunc(f.Aliases, func(a thaw.Alias) bool { return !slices.Contains(a.Versions(), v.Number) })
	}
	if files, err := d.images.Files(v.Images); err == nil {
		desc.Disks = []string{files.Root, files.Code}
	}
	if r, ok, err := d.registry.Publish(function); err == nil && ok {
		desc.Deploy = &r.Publish
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
// and instances, and finishes the invocations under way; or of NAME:VERSION that
// version, which nothing may point at or use.
func (d *Daemon) Remove(_ context.Context, name string) error {
	ref, err := thaw.ParseRef(name)
	if err != nil {
		return err
	}
	if ref.Qualifier != "" {
		return d.removeVersion(ref)
	}
	if !d.deploys.tryLock(name) {
		return thaw.Errorf(thaw.CodeConflict, "function %s is being deployed: wait for that to end", name)
	}
	defer d.deploys.unlock(name)
	versions, err := d.registry.Versions(name)
	if thaw.CodeOf(err) == thaw.CodeNotFound {
		if ok, e := d.forgetPublish(name); ok || e != nil {
			return e // all there was is that it could not be made
		}
	}
	if err != nil {
		return err
	}
	if err := d.registry.Delete(name); err != nil {
		return err
	}
	var errs []error
	last := 0
	for _, v := range versions {
		errs, last = append(errs, d.discard(v)), max(last, v.Number)
	}
	d.history.forget(name, last)
	d.prune()
	return errors.Join(append(errs, d.logs.remove(name, last))...)
}

// removed tells of each function that was removed the last version that it had then.
// Those up to it may still be at work. A function of that name that comes later goes on
// counting from there.
type removed map[string]int

func (r removed) add(function string, last int) { r[function] = max(r[function], last) }

// has says whether a version was removed with its function; of version 0, which none
// has, never.
func (r removed) has(function string, version int) bool {
	return version > 0 && version <= r[function]
}

// prune removes the images that no version needs, unless one may be about to,
// or another state folder has a say.
func (d *Daemon) prune() {
	if !d.ownImages || !d.imageUse.TryLock() {
		return
	}
	defer d.imageUse.Unlock()
	used := map[string]bool{}
	versions, err := d.registry.All()
	if err == nil {
		for _, v := range versions {
			for _, key := range image.Keys(v) {
				used[key] = true
			}
		}
		err = d.keepForPublishes(used)
	}
	if err == nil {
		_, err = d.images.Prune(func(key string) bool { return used[key] })
	}
	if err != nil {
		d.log.Error("unused images could not be removed", "error", err)
	}
}

// keepForPublishes marks the images that a publish under way needs.
func (d *Daemon) keepForPublishes(used map[string]bool) error {
	records, _, err := d.registry.PublishRecords()
	for _, r := range records {
		if r.Publish.State == thaw.PublishRunning {
			for _, key := range image.Keys(r.Version) {
				used[key] = true
			}
		}
	}
	return err
}

// Instances returns every running VM.
func (d *Daemon) Instances() []thaw.Instance { return d.pool.List() }

// EndIdle ends the idle instances of what name, NAME[:QUALIFIER], names: of every
// version without a qualifier.
func (d *Daemon) EndIdle(name string) error {
	function, which, err := d.wanted(name)
	if err != nil {
		return err
	}
	d.pool.EndIdle(function, which)
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

// Logs returns what q asks for of the log of what name, NAME[:QUALIFIER], names,
// newest last: of every version without a qualifier.
func (d *Daemon) Logs(name string, q thaw.LogQuery) ([]thaw.LogLine, error) {
	function, keep, err := d.wantedLines(name, q)
	if err != nil {
		return nil, err
	}
	return d.logs.tail(function, q.Limit, keep)
}

// FollowLogs gives emit what [Daemon.Logs] returns and then each line as it is
// written, until ctx ends, the function is removed, or emit fails, whose error it
// returns. An alias is what it was when that began.
func (d *Daemon) FollowLogs(ctx context.Context, name string, q thaw.LogQuery, emit func(thaw.LogLine) error) error {
	function, keep, err := d.wantedLines(name, q)
	if err != nil {
		return err
	}
	return d.logs.follow(ctx, function, q.Limit, keep, emit)
}

// wantedLines returns the function of name, NAME[:QUALIFIER], and which lines of its
// log that and q want.
func (d *Daemon) wantedLines(name string, q thaw.LogQuery) (function string, keep func(thaw.LogLine) bool, err error) {
	function, which, err := d.wanted(name)
	return function, func(line thaw.LogLine) bool { return which(line.Version) && q.Wants(line) }, err
}
