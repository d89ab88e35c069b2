package daemon

import (
	"context"
	"errors"
	"io/fs"

	"thaw"
	"thaw/plan"
	"thaw/workingset"
)

// Memory returns what the memory of the snapshot of the version that name,
// NAME[:QUALIFIER], names is made of, as policy sees it.
func (d *Daemon) Memory(_ context.Context, name string, policy thaw.Policy) (thaw.MemoryMap, error) {
	v, err := d.find(name)
	if err != nil {
		return thaw.MemoryMap{}, err
	}
	if v.Snapshot == "" {
		return thaw.MemoryMap{}, thaw.Errorf(thaw.CodeConflict, "version %d of function %s has no snapshot: %s", v.Number, v.Function, v.Problem)
	}
	m, err := d.snapshots.Manifest(v.Snapshot)
	if err != nil {
		return thaw.MemoryMap{}, err
	}
	if policy == "" || policy == thaw.PolicyAuto {
		policy = thaw.PolicyThaw
	}
	known, trace, err := d.known(m, policy)
	if err != nil {
		return thaw.MemoryMap{}, err
	}
	p, err := plan.New(policy, known, plan.DefaultLimits())
	if err != nil {
		return thaw.MemoryMap{}, err
	}
	memory := thaw.MemoryMap{Function: v.Function, Version: v.Number, Snapshot: m.ID, Policy: policy, Pages: m.MemoryBytes / thaw.PageSize, Trace: []thaw.FirstTouch{}}
	memory.Runs = plan.Classes(uint32(memory.Pages), known.NonZero, trace, p)
	if trace != nil {
		memory.Trace = firstTouches(trace)
	}
	return memory, nil
}

// known is what is known of m for policy, with the trace of first touches, if
// there is one. What is damaged is left out: the restore that needs it says so.
func (d *Daemon) known(m thaw.Manifest, policy thaw.Policy) (k plan.Known, trace *workingset.Set, err error) {
	k.MemoryBytes = m.MemoryBytes
	if k.NonZero, err = d.snapshots.NonZero(m); err != nil {
		return k, nil, err
	}
	if trace, err = d.set(m, thaw.FileWorkingSet); err != nil {
		return k, nil, err
	}
	need := plan.Needs(policy)
	if need.Working != "" {
		if k.Working, err = d.set(m, need.Working); err != nil {
			return k, nil, err
		}
	}
	if need.Loading != "" {
		k.Loading, err = d.loadingSet(m, need.Loading)
	}
	return k, trace, err
}

// set reads a working set, nil when there is none that can be used.
func (d *Daemon) set(m thaw.Manifest, name string) (*workingset.Set, error) {
	set, err := d.snapshots.WorkingSet(m, name)
	if unusable(err) {
		return nil, nil
	}
	return &set, err
}

func (d *Daemon) loadingSet(m thaw.Manifest, name string) (*workingset.LoadingSet, error) {
	l, err := d.snapshots.LoadingSet(m, name)
	if unusable(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return l.LoadingSet, l.Close()
}

func unusable(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, workingset.ErrCorrupt)
}

func firstTouches(set *workingset.Set) []thaw.FirstTouch {
	touches := make([]thaw.FirstTouch, 0, len(set.Touches))
	for _, t := range set.Touches {
		touches = append(touches, thaw.FirstTouch{Page: t.Page, AfterUS: t.After.Microseconds(), Written: t.Written})
	}
	return touches
}
