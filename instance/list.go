package instance

import (
	"cmp"
	"slices"

	"thaw"
	"thaw/scale"
)

// Busy is how many instances of a version are at work or being made.
func (p *Pool) Busy(function string, number int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.plan.Busy(scale.Key{Function: function, Version: number})
}

// Load is what there is now, and the budget for memory in bytes, 0 for none.
func (p *Pool) Load() (load scale.Load, budget int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.plan.Load(), p.cfg.Memory
}

// Ending is how many instances are no longer listed, and not closed yet: what they
// shared with others of their snapshot is still in memory.
func (p *Pool) Ending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ending
}

// Find returns the instance called id, or nil.
func (p *Pool) Find(id string) *Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.members {
		if in := m.made.Instance; in != nil && in.ID == id {
			return in
		}
	}
	return nil
}

// List describes every instance, oldest first.
func (p *Pool) List() []thaw.Instance {
	list := p.describe()
	slices.SortFunc(list, func(a, b thaw.Instance) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return list
}

func (p *Pool) describe() []thaw.Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]thaw.Instance, 0, len(p.members))
	for _, m := range p.members {
		list = append(list, m.describe())
	}
	return list
}

func (m *member) describe() thaw.Instance {
	key, at := m.place.Key(), m.place
	d := thaw.Instance{
		Function: key.Function, Version: key.Version, State: thaw.InstanceIdle, Created: at.Begun(), Invocations: m.served,
		Leases: at.Leases(),
	}
	d.MemoryBytes, d.MemoryMeasured = at.Memory()
	switch {
	case at.State() == scale.Starting:
		d.State = thaw.InstanceStarting
	case at.Leases() > 0:
		d.State = thaw.InstanceBusy
	}
	if in := m.made.Instance; in != nil {
		d.ID, d.Start, d.Policy, d.PID, d.Created, d.RSSBytes = in.ID, in.Start, in.Policy, in.PID(), in.Created, in.RSS()
	}
	return d
}
