package daemon

import (
	"errors"

	"thaw"
	"thaw/publish"
)

// resumption is a publish to go on with.
type resumption struct {
	record publish.Record
	from   string
	reason string
}

// recoverPublishes decides about what an earlier daemon has left of publishes: it
// undoes some, and returns the others, their functions locked against other deploys.
func (d *Daemon) recoverPublishes() (resume []resumption, err error) {
	records, unreadable, err := d.registry.PublishRecords()
	if err != nil {
		return nil, err
	}
	for _, name := range unreadable {
		d.log.Warn("what was noted of a deploy cannot be read: it is undone", "function", name)
		err = errors.Join(err, d.registry.ForgetPublish(name))
	}
	for _, r := range records {
		decision := publish.Decide(r, d.look(r.Version))
		log := d.log.With("function", r.Publish.Function, "version", r.Publish.Number, "step", r.Publish.Step, "reason", decision.Reason)
		switch decision.Action {
		case publish.Undo:
			log.Warn("a deploy that was under way is undone")
			err = errors.Join(err, d.undo(r, thaw.Errorf(thaw.CodeUnavailable, "undone: %s", decision.Reason)))
		case publish.Resume:
			log.Warn("a deploy that was under way goes on", "from", decision.From)
			if decision.Drop {
				err = errors.Join(err, d.removeSnapshot(r.Version))
				r.Version.Snapshot = ""
			}
			d.deploys.tryLock(r.Publish.Function)
			resume = append(resume, resumption{r, decision.From, decision.Reason})
		}
	}
	return resume, err
}

// look finds out what is there of v.
func (d *Daemon) look(v thaw.Version) (found publish.Found) {
	if v.Number == 0 {
		return found
	}
	_, images := d.images.Files(v.Images)
	_, snapshot := d.snapshots.Manifest(v.Snapshot)
	_, serving := d.still(v)
	return publish.Found{Code: d.images.HasCode(v.Images.Code), Images: images == nil, Snapshot: v.Snapshot != "" && snapshot == nil, Serving: serving == nil}
}

// resume goes on with a publish, whose function is locked.
func (d *Daemon) resume(r resumption) {
	d.imageUse.RLock()
	defer func() {
		d.imageUse.RUnlock()
		d.prune()
		d.deploys.unlock(r.record.Publish.Function)
	}()
	p := &publication{daemon: d, record: r.record, events: d.logSteps(r.record.Publish.Function), noted: true}
	p.record.Publish.Resumed++
	p.report(p.finish(d.ctx, r.from))
}

// report tells the log what has come of a publish that nobody waits for.
func (p *publication) report(err error) {
	v := p.record.Version
	log := p.daemon.log.With("function", v.Function, "version", v.Number, "resumed", p.record.Publish.Resumed)
	switch {
	case err == nil && v.Snapshot == "":
		log.Warn("the deploy is done, without a snapshot", "problem", v.Problem)
	case err == nil:
		log.Info("the deploy is done, its version serves")
	case p.daemon.ctx.Err() != nil:
		log.Info("the deploy is left to the next daemon")
	default:
		log.Error("the deploy has failed, the version before it serves", "error", err)
	}
}

// sweep removes the snapshots that neither a version nor a publish to go on with
// refers to.
func (d *Daemon) sweep(resume []resumption) error {
	ids, err := d.snapshots.IDs()
	if err != nil {
		return err
	}
	versions, err := d.registry.All()
	if err != nil {
		return err
	}
	if len(versions) == 0 {
		return nil // perhaps the registry was lost, and a copy comes back
	}
	used := map[string]bool{}
	for _, v := range versions {
		used[v.Snapshot] = true
	}
	for _, r := range resume {
		used[r.record.Version.Snapshot] = true
	}
	for _, id := range ids {
		if used[id] {
			continue
		}
		if err := d.snapshots.Remove(id); err != nil {
			return err
		}
	}
	return nil
}
