package daemon

import (
	"context"
	"errors"
	"math"
	"slices"

	"thaw"
)

// ownVersion as the number that is drawn gives an alias's own version, whatever
// its weights.
const ownVersion = math.MaxFloat64

// find returns the version that name, NAME[:QUALIFIER], names.
func (d *Daemon) find(name string) (thaw.Version, error) { return d.resolve(name, ownVersion) }

func (d *Daemon) resolve(name string, u float64) (thaw.Version, error) {
	ref, err := thaw.ParseRef(name)
	if err != nil {
		return thaw.Version{}, err
	}
	return d.registry.Resolve(ref, u)
}

// wanted returns the function of name, NAME[:QUALIFIER], and which versions that
// wants: all without a qualifier, of an alias those with weights as well.
func (d *Daemon) wanted(name string) (function string, which func(number int) bool, err error) {
	v, err := d.find(name)
	if err != nil {
		return "", nil, err
	}
	ref, _ := thaw.ParseRef(name) // as find has done
	if ref.Qualifier == "" {
		return v.Function, func(int) bool { return true }, nil
	}
	numbers := []int{v.Number}
	f, err := d.registry.Function(v.Function)
	if a, ok := f.Alias(ref.Qualifier); ok {
		numbers = a.Versions()
	}
	return v.Function, func(n int) bool { return slices.Contains(numbers, n) }, err
}

// still returns v as it is now, or a [thaw.CodeNotFound] error when it has been
// removed.
func (d *Daemon) still(v thaw.Version) (thaw.Version, error) {
	return d.registry.Resolve(thaw.RefTo(v.Function, v.Number), ownVersion)
}

// keyOf tells versions apart.
func keyOf(v thaw.Version) string { return thaw.RefTo(v.Function, v.Number).String() }

// Versions returns the versions of the function called name, newest first.
func (d *Daemon) Versions(_ context.Context, name string) ([]thaw.VersionInfo, error) {
	f, err := d.registry.Function(name)
	if err != nil {
		return nil, err
	}
	all, err := d.registry.Versions(name)
	if err != nil {
		return nil, err
	}
	infos := make([]thaw.VersionInfo, 0, len(all))
	for _, v := range slices.Backward(all) {
		infos = append(infos, d.inform(f, v))
	}
	return infos, nil
}

func (d *Daemon) inform(f thaw.Function, v thaw.Version) thaw.VersionInfo {
	info := thaw.VersionInfo{Version: v, Serves: f.Serves == v.Number, Aliases: f.AliasesOf(v.Number), SnapshotState: thaw.SnapshotNone}
	if s, err := d.snapshots.Info(v.Snapshot); err == nil {
		info.SnapshotState, info.DiskBytes = thaw.SnapshotReady, s.DiskBytes
	} else if v.Snapshot != "" {
		info.Problem = err.Error() // found out again by the next start
	}
	if info.SnapshotState == thaw.SnapshotNone && d.rebuilds.isHeld(keyOf(v)) {
		info.SnapshotState = thaw.SnapshotRebuilding
	}
	return info
}

// Rollback makes version number of the function called name the one that serves,
// or with 0 the one that did before. Its instances are used if there are any, and
// its snapshot if that is good; otherwise it is made again while the function
// boots.
func (d *Daemon) Rollback(_ context.Context, name string, number int) (thaw.Version, error) {
	v, replaced, err := d.registry.Rollback(name, number)
	if err != nil {
		return v, err
	}
	d.log.Info("another version serves", "function", name, "version", v.Number, "before", replaced)
	d.vmms.Expect(v.MemoryBytes)
	d.pool.Serve(v)
	d.retire(name, replaced)
	if v.Snapshot == "" {
		d.rebuild(v)
	}
	return v, nil
}

// Aliases returns the aliases of the function called name, by name.
func (d *Daemon) Aliases(_ context.Context, name string) ([]thaw.Alias, error) {
	f, err := d.registry.Function(name)
	return f.Aliases, err
}

// SetAlias makes an alias of the function called name, or moves it.
func (d *Daemon) SetAlias(_ context.Context, name string, a thaw.Alias) error {
	replaced, err := d.registry.SetAlias(name, a)
	if err != nil {
		return err
	}
	d.retire(name, replaced.Versions()...)
	return nil
}

// RemoveAlias removes an alias of the function called name, which nothing may name;
// its versions stay.
func (d *Daemon) RemoveAlias(_ context.Context, name, alias string) error {
	if err := d.unnamed(thaw.Ref{Function: name, Qualifier: alias}); err != nil {
		return err
	}
	removed, err := d.registry.RemoveAlias(name, alias)
	if err != nil {
		return err
	}
	d.retire(name, removed.Versions()...)
	return nil
}

// retire ends the instances of those versions that nothing points at any more.
func (d *Daemon) retire(name string, numbers ...int) {
	f, err := d.registry.Function(name)
	if err != nil {
		return // removed, and its instances with it
	}
	for _, n := range numbers {
		if !f.PointsAt(n) {
			d.pool.Retire(name, n)
		}
	}
}

// removeVersion deletes one version, which nothing may point at or use.
func (d *Daemon) removeVersion(ref thaw.Ref) error {
	number := ref.Number()
	if number == 0 {
		return thaw.Errorf(thaw.CodeInvalid, "%s is not a version's number: `thaw versions %s` lists them, `thaw alias rm` removes an alias", ref.Qualifier, ref.Function)
	}
	v, err := d.registry.DeleteVersion(ref.Function, number, func() error {
		if err := d.unnamed(ref); err != nil {
			return err
		}
		if n := d.pool.Busy(ref.Function, number); n > 0 {
			return thaw.Errorf(thaw.CodeConflict, "version %d of function %s is in use by invocations (%d): wait until they have ended, `thaw ps` lists their VMs", number, ref.Function, n)
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer d.prune()
	return d.discard(v)
}

// unnamed refuses a version or an alias that something names from outside.
func (d *Daemon) unnamed(ref thaw.Ref) error {
	if by := d.namedBy(ref); by != "" {
		return thaw.Errorf(thaw.CodeConflict, "%s names %s: set or remove that first (thaw schedule), `thaw rm %s` removes all", by, ref, ref.Function)
	}
	return nil
}

// pruneVersions removes the versions of function that are too many, but for those
// that something names, and gives back what they occupy.
func (d *Daemon) pruneVersions(function string) error {
	removed, err := d.registry.Prune(function, d.keep, func(number int) bool { return d.namedBy(thaw.RefTo(function, number)) != "" })
	errs := []error{err}
	for _, v := range removed {
		d.log.Info("a version is removed", "function", v.Function, "version", v.Number, "kept", d.keep)
		errs = append(errs, d.discard(v))
	}
	return errors.Join(errs...)
}

// discard gives back what v, which is not in the registry any more, occupies, but
// for its images, which others may share.
func (d *Daemon) discard(v thaw.Version) error {
	d.pool.Remove(v.Function, v.Number)
	d.retry.forget(keyOf(v))
	return d.removeSnapshot(v)
}
