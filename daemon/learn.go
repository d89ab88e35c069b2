package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"thaw"
	"thaw/auto"
	"thaw/instance"
	"thaw/pagecache"
	"thaw/plan"
	"thaw/restore"
	"thaw/snapshot"
	"thaw/workingset"
)

const (
	// badRecall is the moving recall of a set's prefetches under which the set is
	// recorded again.
	badRecall = 0.9
	// recallWeight is that of the newest start in the moving recall: one bad start
	// after many good ones is enough.
	recallWeight = 0.5
)

// learned is what the daemon knows of a snapshot from its starts.
type learned struct {
	history auto.History
	recall  map[string]float64 // moving, by the name of the set
	again   map[string]bool    // sets to be recorded again
}

// lessons keeps what was learned of each snapshot. The zero value is ready; its
// methods may be called concurrently.
type lessons struct {
	mu   sync.Mutex
	byID map[string]*learned
}

// of returns what is known of snapshot id. The caller holds mu.
func (l *lessons) of(id string) *learned {
	if l.byID == nil {
		l.byID = map[string]*learned{}
	}
	if l.byID[id] == nil {
		l.byID[id] = &learned{recall: map[string]float64{}, again: map[string]bool{}}
	}
	return l.byID[id]
}

func (l *lessons) forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.byID, id)
}

// choose picks a policy for a start out of snapshot id.
func (l *lessons) choose(id string, cached bool) (thaw.Policy, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of(id).history.Choose(cached)
}

func (l *lessons) note(id string, policy thaw.Policy, cached bool, ms float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of(id).history.Note(policy, cached, ms)
}

// judge takes in the recall of a start and says whether the set called name is to
// be recorded again.
func (l *lessons) judge(id, name string, recall float64) (moving float64, bad bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.of(id)
	before, ok := known.recall[name]
	if !ok {
		before = recall
	}
	known.recall[name] = (1-recallWeight)*before + recallWeight*recall
	known.again[name] = known.recall[name] < badRecall
	return known.recall[name], known.again[name]
}

// takeAgain says, once, that the set called name is to be recorded again.
func (l *lessons) takeAgain(id, name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.of(id)
	again := known.again[name]
	delete(known.again, name)
	if again {
		delete(known.recall, name)
	}
	return again
}

// way is how to restore v for r.
func (d *Daemon) way(v thaw.Version, r thaw.InvokeRequest) (way instance.Way, cached bool) {
	way = instance.Way{Policy: r.Policy, OnDemand: r.OnDemand, Record: r.Record}
	if way.Policy == thaw.PolicyAuto && r.Record {
		way.Policy = thaw.PolicyThaw
	}
	if way.Policy == thaw.PolicyAuto {
		cached = d.inPageCache(v)
		way.Policy, way.Reason = d.lessons.choose(v.Snapshot, cached)
	}
	// The published policies record once.
	if way.Policy == thaw.PolicyThaw && !r.Frozen && !r.Record && d.lessons.takeAgain(v.Snapshot, thaw.FileWorkingSet) {
		way.Record = true
		way.Reason = join(way.Reason, "the working set is recorded again: too many pages were missing from it")
	}
	return way, cached
}

func join(reasons ...string) (text string) {
	for _, r := range reasons {
		if text != "" && r != "" {
			text += "; "
		}
		text += r
	}
	return text
}

// learnedBy is the name of the set that a recording for policy makes, "" if it
// makes none.
func learnedBy(policy thaw.Policy) string {
	switch plan.Learns(policy) {
	case plan.RecordTrace:
		return thaw.FileWorkingSet
	case plan.RecordHostPages:
		return thaw.FileHostPages
	}
	return ""
}

// inPageCache says whether half of v's snapshot is in the page cache.
func (d *Daemon) inPageCache(v thaw.Version) bool {
	m, err := d.snapshots.Manifest(v.Snapshot)
	if err != nil {
		return false // found out again by the restore
	}
	f, err := os.Open(d.snapshots.Path(m, thaw.FileMemory))
	if err != nil {
		return false
	}
	defer f.Close()
	resident, err := pagecache.Resident(f)
	return err == nil && int64(resident)*2 > m.NonZeroPages
}

// learn ends a recording with the invocation that it was for and publishes it
// in the background, unless the runtime has ended with it: what a timeout or an
// exit touches is not what the next invocation needs.
func (c *call) learn(in *instance.Instance, finished bool) {
	m, set, ok := in.StopRecording()
	if !ok || finished || c.request.Frozen {
		return
	}
	if c.record.FunctionError != "" && c.daemon.snapshots.Has(m, plan.SetName(set.Source)) {
		return // a failure may go ways of its own
	}
	c.record.PagesRecorded = int64(len(set.Touches))
	if c.request.Record { // who asked for it waits for it
		c.daemon.learning.lock(m.ID)
		c.daemon.publish(c.version, m, set, true)
		return
	}
	// Of recordings made side by side one is kept.
	if c.daemon.learning.tryLock(m.ID) {
		c.daemon.background.Go(func() { c.daemon.publish(c.version, m, set, false) })
	}
}

// publish merges a recording with the one before, or replaces that, and lays it
// out. The caller has locked the snapshot's learning, which ends here.
func (d *Daemon) publish(v thaw.Version, m thaw.Manifest, set workingset.Set, replace bool) {
	defer d.learning.unlock(m.ID)
	log := d.log.With("function", v.Function, "version", v.Number, "recording", set.Source.String(), "pages", len(set.Touches))
	pages, err := d.publishSet(m, set, replace)
	if _, gone := d.still(v); err != nil && thaw.CodeOf(gone) == thaw.CodeNotFound {
		return // removed meanwhile, and its snapshot with it
	}
	if err != nil {
		log.Error("recording could not be published", "error", err)
		return
	}
	log.Info("recorded", "ended", set.Bound.String(), "merged_pages", pages)
}

func (d *Daemon) publishSet(m thaw.Manifest, set workingset.Set, replace bool) (pages int, err error) {
	if set.Memory, set.MemoryPages, err = snapshot.Sum(m); err != nil {
		return 0, err
	}
	name := plan.SetName(set.Source)
	if replace {
		return len(set.Touches), d.arrange(m, name, set)
	}
	older, err := d.snapshots.WorkingSet(m, name)
	if err == nil {
		set = workingset.Merge(older, set)
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, workingset.ErrCorrupt) {
		return 0, err
	}
	return len(set.Touches), d.arrange(m, name, set)
}

// arrange publishes the loading sets made of set, and then set: who sees that may
// count on them.
func (d *Daemon) arrange(m thaw.Manifest, name string, set workingset.Set) error {
	nonZero, err := d.snapshots.NonZero(m)
	if err != nil {
		return err
	}
	var encoded bytes.Buffer
	if err := workingset.Encode(&encoded, set); err != nil {
		return err
	}
	for _, a := range plan.Arrange(set, nonZero) {
		a.Memory, a.MemoryPages, a.WorkingSet = set.Memory, set.MemoryPages, workingset.Checksum(encoded.Bytes())
		if err := d.snapshots.PublishLoadingSet(d.ctx, m, a.Name, a.LoadingSet); err != nil {
			return err
		}
	}
	return d.snapshots.PublishWorkingSet(m, name, encoded.Bytes())
}

// judge measures a cold start after its reply, completes its record and draws
// conclusions.
func (c *call) judge(in *instance.Instance) {
	c.missing(in)
	m, ok := in.Manifest()
	if !ok {
		return
	}
	nonZero, err := c.daemon.snapshots.NonZero(m)
	if err != nil {
		return // the next restore finds out
	}
	measured, err := in.Measure(nonZero)
	// What a later invocation touches is not for this record.
	if err != nil || in.Served() != 1 {
		return
	}
	c.record.Layout, c.record.Quality, c.record.Memory = &measured.Layout, &measured.Quality, &measured.Use
	if measured.Layout.Recording == "" {
		c.conclude(measured)
	}
}

// missing has the record say why not all was brought in ahead. A set that was found
// corrupt on the way is taken out of use: the next start that needs it records it anew.
func (c *call) missing(in *instance.Instance) {
	set, reason := in.TakePrefetchErr()
	if reason == nil {
		return
	}
	log := c.daemon.log.With("function", c.version.Function, "version", c.version.Number, "set", set.Name())
	log.Warn("not all pages were brought in ahead", "reason", reason)
	c.record.Reason = join(c.record.Reason, fmt.Sprintf("not all pages were brought in ahead: %v", reason))
	if !errors.Is(reason, workingset.ErrCorrupt) {
		return
	}
	log.Warn("the set goes to quarantine")
	if err := c.daemon.snapshots.QuarantineSet(set, reason); err != nil {
		log.Error("it could not be moved there", "error", err)
	}
}

// conclude notes how long the start took, and whether its set is still good.
func (c *call) conclude(measured restore.Measured) {
	d, id := c.daemon, c.version.Snapshot
	if c.request.Frozen || c.record.FunctionError != "" {
		return
	}
	if !c.late { // else it is not the whole of the start
		d.lessons.note(id, c.record.Policy, c.cached, c.record.DurationMS-c.record.PhasesMS[thaw.PhaseQueue])
	}
	if name := learnedBy(c.record.Policy); name != "" && measured.Exact {
		if moving, bad := d.lessons.judge(id, name, measured.Quality.Recall()); bad {
			d.log.Info("the working set will be recorded again", "function", c.version.Function, "set", name, "recall", moving)
		}
	}
}
