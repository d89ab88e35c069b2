package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"thaw"
	"thaw/agent"
	"thaw/instance"
	"thaw/internal/uuid"
	"thaw/snapshot"
	"thaw/vmm"
	"thaw/workingset"
)

// Invoke runs a function once, on an idle instance or on a new one. A function that
// is an HTTP server gets it as a request; see package webadapter.
func (d *Daemon) Invoke(ctx context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
	return d.handle(ctx, r, (*call).invoke)
}

// worker has an instance do what a call is for.
type worker func(c *call, ctx context.Context, in *instance.Instance) (agent.Result, error)

// handle has an idle instance or a new one do work for r.
func (d *Daemon) handle(ctx context.Context, r thaw.InvokeRequest, work worker) (thaw.Reply, error) {
	start := time.Now()
	ctx, end, err := d.begin(ctx)
	if err != nil {
		return thaw.Reply{}, err
	}
	defer end()
	if _, err := thaw.ParsePolicy(string(r.Policy)); err != nil {
		return thaw.Reply{}, err
	}
	if err := checkRecord(r); err != nil {
		return thaw.Reply{}, err
	}
	if len(r.Payload) > thaw.MaxPayload {
		return thaw.Reply{}, thaw.Errorf(thaw.CodeTooLarge, "request body is %d bytes: at most %d are allowed", len(r.Payload), thaw.MaxPayload)
	}
	v, err := d.resolve(r.Function, d.random())
	if err != nil {
		return thaw.Reply{}, err
	}
	r, why := withPolicy(r, v)
	ref, _ := thaw.ParseRef(r.Function) // as resolve has done
	record := thaw.Invocation{ID: cmp.Or(r.ID, uuid.New()), Function: v.Function, Version: v.Number, Qualifier: ref.Qualifier, Time: start.UTC(), Trace: r.Trace}
	call := &call{daemon: d, version: v, request: r, why: why, work: work, timeline: instance.NewTimeline(), began: start, record: record}
	if err := call.acquire(ctx); err != nil {
		return call.refused(err)
	}
	tail := d.logs.capture(record, r.LogTail)
	payload, keep, err := call.run(ctx)
	for call.unserved {
		d.pool.Release(call.lease, false)
		if err := call.acquire(ctx); err != nil {
			tail.end()
			return call.refused(err)
		}
		payload, keep, err = call.run(ctx)
	}
	call.end(err)
	reply := thaw.Reply{Payload: payload, LogTail: tail.end(), Invocation: call.record}
	call.finish(keep)
	return reply, err
}

// ended returns the record of an invocation that ends now, with err. The time in the
// record is of the wall clock alone, which may have been set since began.
func ended(record thaw.Invocation, began time.Time, err error) thaw.Invocation {
	record.DurationMS = float64(time.Since(began).Microseconds()) / 1e3
	if err != nil {
		record.Error, record.ErrorCode = err.Error(), thaw.CodeOf(err)
	}
	return record
}

// checkRecord refuses a recording that could not be made.
func checkRecord(r thaw.InvokeRequest) error {
	switch {
	case !r.Record:
	case r.Frozen:
		return thaw.Errorf(thaw.CodeInvalid, "a frozen invocation records nothing: ask for one of the two")
	case r.Policy != "" && r.Policy != thaw.PolicyAuto && learnedBy(r.Policy) == "":
		return thaw.Errorf(thaw.CodeInvalid, "policy %s records nothing: %s records the trace of first touches, %s what comes into the page cache",
			r.Policy, thaw.PolicyThaw, thaw.PolicyFaaSnap)
	}
	return nil
}

// withPolicy returns r with the policy of v, or the default, if it names none, and
// why it is that. To record is of no use by a policy that does not.
func withPolicy(r thaw.InvokeRequest, v thaw.Version) (_ thaw.InvokeRequest, why string) {
	switch {
	case r.Policy != "":
	case v.Policy == "" || r.Record && learnedBy(v.Policy) == "":
		r.Policy = thaw.DefaultPolicy
	default:
		r.Policy, why = v.Policy, "it is the version's policy"
	}
	return r, why
}

// call is one invocation on its way.
type call struct {
	daemon   *Daemon
	version  thaw.Version
	request  thaw.InvokeRequest
	why      string // it has its policy, "" if that was asked for
	work     worker
	lease    *instance.Lease
	timeline *instance.Timeline
	cached   bool // its snapshot was in the page cache, as far as anybody looked
	late     bool // its start had begun before it came
	unserved bool // by an instance that was there, whose runtime had ended since
	began    time.Time
	record   thaw.Invocation
}

// acquire gets a lease, which may take a start, and notes how.
func (c *call) acquire(ctx context.Context) (err error) {
	c.lease, err = c.daemon.pool.Acquire(ctx, c.version, c.request.Cold || c.request.Record, c.make)
	if err != nil {
		return err
	}
	if from, took := c.lease.Queued(); took > 0 {
		c.timeline.Past(thaw.PhaseQueue, from, took)
	}
	in := c.lease.Instance()
	c.record.Start = thaw.StartWarm
	if made, fresh := c.lease.Fresh(); fresh {
		c.record.Start, c.record.Reason, c.record.Prestarted = in.Start, in.Reason, in.Prestarted
		c.cached, c.late = made.Cached, made.Timeline.Began().Before(c.timeline.Began())
		c.timeline.Join(made.Timeline)
	}
	c.record.Instance, c.record.Policy = in.ID, in.Policy
	return nil
}

// make makes an instance by what the request asks for. It may be another one that
// gets it: see package scale.
func (c *call) make(ctx context.Context) (made instance.Made, err error) {
	way, cached := c.daemon.way(c.version, c.request)
	way.Reason = join(c.why, way.Reason)
	made = instance.Made{Timeline: instance.NewTimeline(), Cached: cached}
	made.Instance, err = c.daemon.start(ctx, c.version, way, made.Timeline)
	return made, err
}

// refused ends a call that got no lease. A start that failed is part of the
// function's history.
func (c *call) refused(err error) (thaw.Reply, error) {
	failed, started := errors.AsType[*instance.StartError](err)
	if started && failed.Timeline != nil {
		c.timeline.Join(failed.Timeline)
	} else if took := time.Since(c.timeline.Began()); took > queueNoted {
		c.timeline.Past(thaw.PhaseQueue, c.timeline.Began(), took)
	}
	c.end(err)
	if started {
		c.daemon.history.add(c.record)
	}
	c.daemon.observe(c.record)
	return thaw.Reply{Invocation: c.record}, err
}

// queueNoted is how long a refusal has to take to have been a wait.
const queueNoted = time.Millisecond

// end completes the record but for what is measured later.
func (c *call) end(err error) {
	c.record = ended(c.record, c.began, err)
	c.record.PhasesMS, c.record.Spans = c.timeline.Milliseconds(), c.timeline.Spans()
}

// run invokes the leased instance. keep says that it may serve again.
func (c *call) run(ctx context.Context) (reply []byte, keep bool, err error) {
	in := c.lease.Instance()
	usage := in.Meter(c.record.Start == thaw.StartWarm)
	var result agent.Result
	err = c.timeline.Phase(thaw.PhaseInvoke, func() error {
		result, err = c.work(c, ctx, in)
		return err
	})
	if err != nil { // the client's errors do the instance no harm
		return nil, errors.Is(err, agent.ErrClient) && !c.request.Discard, err
	}
	// A runtime may end after its reply, as some do when the function has panicked.
	if c.unserved = result.Unserved && c.record.Start == thaw.StartWarm; c.unserved {
		return nil, false, nil
	}
	c.record.FunctionError = result.FunctionError
	// First of all: what the guest touches after its reply is not for the set.
	c.learn(in, result.Finished)
	usage.Fill(&c.record)
	return result.Payload, !result.Finished && !c.request.Discard, nil
}

// invoke is the work of an invocation.
func (c *call) invoke(ctx context.Context, in *instance.Instance) (agent.Result, error) {
	return in.Invoke(ctx, agent.Invocation{
		RequestID: c.record.ID, Payload: c.request.Payload,
		TraceID: c.request.Trace.XRay(), ClientContext: cmp.Or(c.request.ClientContext, c.request.Trace.ClientContext()),
	})
}

// finish keeps the record and gives the instance back. A cold start is measured
// behind the reply, beside whatever the instance serves next.
func (c *call) finish(keep bool) {
	d, in := c.daemon, c.lease.Instance()
	if c.record.Start != thaw.StartCold || c.record.Error != "" {
		c.missing(in)
		d.history.add(c.record)
		d.observe(c.record)
		d.pool.Release(c.lease, keep)
		return
	}
	complete := d.history.begin(c.record)
	done := d.pool.Look(c.lease)
	d.pool.Release(c.lease, keep)
	d.background.Go(func() {
		defer done()
		c.judge(in)
		complete(c.record)
		d.observe(c.record)
	})
}

// start makes an instance. A snapshot that cannot be used does not
// fail the request: the function boots, and the reason is in the record.
func (d *Daemon) start(ctx context.Context, v thaw.Version, way instance.Way, t *instance.Timeline) (*instance.Instance, error) {
	if way.Policy == thaw.PolicyBoot {
		return d.starter.Boot(ctx, v, t)
	}
	in, reason := d.restore(ctx, v, way, t)
	if in != nil {
		return in, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	d.log.Warn("booting instead of restoring", "function", v.Function, "version", v.Number, "reason", reason)
	d.rebuild(v)
	in, err := d.starter.Boot(ctx, v, t)
	if in != nil {
		in.Reason = reason
	}
	return in, err
}

// restore makes an instance out of v's snapshot, or says why it cannot.
func (d *Daemon) restore(ctx context.Context, v thaw.Version, way instance.Way, t *instance.Timeline) (*instance.Instance, string) {
	if v.Snapshot == "" {
		return nil, "the version has no snapshot: " + v.Problem
	}
	in, err := d.starter.Restore(ctx, v, way, t)
	if again(ctx, err) {
		d.log.Warn("restoring once more", "function", v.Function, "version", v.Number, "error", err)
		way.Reason = join(way.Reason, fmt.Sprintf("the first restore failed: %v", err))
		in, err = d.starter.Restore(ctx, v, way, t)
	}
	if err == nil {
		return in, ""
	}
	if now, e := d.still(v); e == nil && now.Snapshot == v.Snapshot {
		d.giveUp(v, err)
	} // else it was taken away under the restore, with reason
	return nil, fmt.Sprintf("restore failed: %v", err)
}

// again says whether a restore that failed because of err deserves another try:
// the function has not begun. A VMM that ended may have been bad luck, and without
// the set that was corrupt it goes another way.
func again(ctx context.Context, err error) bool {
	var exit *vmm.ExitError
	return ctx.Err() == nil && (errors.Is(err, workingset.ErrCorrupt) || errors.As(err, &exit))
}

// giveUp takes a snapshot that is corrupt or does not fit out of use. Any other
// reason may be gone next time.
func (d *Daemon) giveUp(v thaw.Version, reason error) {
	var err error
	switch {
	case errors.Is(reason, snapshot.ErrCorrupt):
		d.log.Warn("snapshot goes to quarantine", "function", v.Function, "version", v.Number, "snapshot", v.Snapshot, "reason", reason)
		err = d.snapshots.Quarantine(v.Snapshot, reason)
	case errors.Is(reason, snapshot.ErrStale):
		d.log.Warn("snapshot is removed", "function", v.Function, "version", v.Number, "snapshot", v.Snapshot, "reason", reason)
		err = d.snapshots.Remove(v.Snapshot)
	default:
		return
	}
	d.lessons.forget(v.Snapshot)
	err = errors.Join(err, d.registry.Update(v.Function, v.Number, func(u *thaw.Version) error {
		if u.Snapshot == v.Snapshot {
			u.Snapshot, u.Problem = "", reason.Error()
		}
		return nil
	}))
	if err != nil {
		d.log.Error("snapshot could not be taken out of use", "function", v.Function, "version", v.Number, "error", err)
	}
}
