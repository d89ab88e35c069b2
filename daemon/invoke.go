package daemon

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"thaw"
	"thaw/agent"
	"thaw/instance"
	"thaw/snapshot"
)

// Invoke runs a function once, on an idle instance or on a new one.
func (d *Daemon) Invoke(ctx context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
	start := time.Now()
	ctx, end, err := d.begin(ctx)
	if err != nil {
		return thaw.Reply{}, err
	}
	defer end()
	if r.Policy, err = thaw.ParsePolicy(string(r.Policy)); err != nil {
		return thaw.Reply{}, err
	}
	if len(r.Payload) > thaw.MaxPayload {
		return thaw.Reply{}, thaw.Errorf(thaw.CodeTooLarge, "request body is %d bytes: at most %d are allowed", len(r.Payload), thaw.MaxPayload)
	}
	v, err := d.registry.Get(r.Function)
	if err != nil {
		return thaw.Reply{}, err
	}
	lease, err := d.pool.Acquire(v, r.Cold)
	if err != nil {
		return thaw.Reply{}, err
	}
	call := &call{daemon: d, version: v, lease: lease, timeline: instance.NewTimeline(), record: thaw.Invocation{
		ID: newRequestID(), Function: v.Function, Version: v.Number, Time: start.UTC(),
	}}
	payload, err := call.run(ctx, r)
	call.record.DurationMS = float64(time.Since(start).Microseconds()) / 1e3
	call.record.PhasesMS = call.timeline.Milliseconds()
	if err != nil {
		call.record.Error = err.Error()
		d.history.add(call.record)
		return thaw.Reply{}, err
	}
	d.history.add(call.record)
	return thaw.Reply{Payload: payload, Invocation: call.record}, nil
}

// newRequestID returns a UUID, version 4, as Lambda's request ids are.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// call is one invocation on its way.
type call struct {
	daemon   *Daemon
	version  thaw.Version
	lease    *instance.Lease
	timeline *instance.Timeline
	record   thaw.Invocation
}

// run gets an instance, invokes it and gives it back.
func (c *call) run(ctx context.Context, r thaw.InvokeRequest) (reply []byte, err error) {
	keep := false
	defer func() { c.daemon.pool.Release(c.lease, keep) }()
	in := c.lease.Instance()
	if in == nil {
		if in, err = c.daemon.start(ctx, c.version, instance.Way{Policy: r.Policy, OnDemand: r.OnDemand}, c.timeline); err != nil {
			return nil, err
		}
		c.daemon.pool.Fill(c.lease, in)
		c.record.Start, c.record.Reason, c.record.Prestarted = in.Start, in.Reason, in.Prestarted
	} else {
		c.record.Start = thaw.StartWarm
	}
	c.record.Instance, c.record.Policy = in.ID, in.Policy
	usage := in.Meter(c.record.Start == thaw.StartWarm)
	var result agent.Result
	err = c.timeline.Phase(thaw.PhaseInvoke, func() error {
		result, err = in.Invoke(ctx, c.record.ID, r.Payload)
		return err
	})
	if err != nil {
		return nil, err
	}
	// First of all: what the guest touches after its reply is not for the set.
	c.learn(in, result.Finished)
	usage.Fill(&c.record)
	c.record.FunctionError = result.FunctionError
	keep = !result.Finished && !r.Discard
	return result.Payload, nil
}

// learn ends a recording with the invocation that it was for and publishes it
// in the background, unless the runtime has ended with it: what a timeout or an
// exit touches is not what the next invocation needs.
func (c *call) learn(in *instance.Instance, finished bool) {
	m, set, ok := in.StopRecording()
	if !ok || finished {
		return
	}
	c.record.PagesRecorded = int64(len(set.Touches))
	d := c.daemon
	d.background.Go(func() {
		log := d.log.With("function", c.version.Function, "version", c.version.Number, "pages", len(set.Touches))
		published, err := d.snapshots.PublishWorkingSet(d.ctx, m, set)
		if err != nil {
			log.Error("working set could not be published", "error", err)
		} else if published {
			log.Info("working set recorded", "recording", set.Bound.String())
		}
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
	if err == nil {
		return in, ""
	}
	if now, e := d.registry.Get(v.Function); e == nil && now.Snapshot == v.Snapshot {
		d.giveUp(v, err)
	} // else it was taken away under the restore, with reason
	return nil, fmt.Sprintf("restore failed: %v", err)
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
