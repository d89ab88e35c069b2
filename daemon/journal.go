package daemon

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/publish"
	"thaw/vmm"
)

// publication is a version on its way to serving. One goroutine at a time takes its
// steps.
type publication struct {
	daemon *Daemon
	record publish.Record
	events func(thaw.DeployEvent)
	began  time.Time // of the step
	// request is what was asked for, nil when it is resumed or made again; taken is
	// called when its code has been read.
	request *thaw.PublishRequest
	taken   func()
	// noted says that it is in the journal. A snapshot that is made again is not: its
	// version is there, and a kill leaves nothing that belongs to nobody.
	noted bool
}

// step takes one step: it is noted, told, done, and told again.
func (p *publication) step(ctx context.Context, name string, do func() (message string, err error)) error {
	if err := p.enter(name); err != nil {
		return p.daemon.explainFull(err)
	}
	message, err := do()
	if err != nil && ctx.Err() == nil {
		err = p.daemon.explainFull(err)
	}
	if err != nil {
		return err
	}
	took := ms(time.Since(p.began))
	p.note(thaw.PublishStep{Step: name, Message: message, DurationMS: took})
	p.events(thaw.DeployEvent{Step: name, Message: message, DurationMS: took})
	return nil
}

// note keeps that a step has ended, once.
func (p *publication) note(s thaw.PublishStep) {
	steps := p.record.Publish.Steps
	for i, other := range steps {
		if !publish.After(s.Step, other.Step) || s.Step == other.Step {
			steps = steps[:i:i]
			break
		}
	}
	p.record.Publish.Steps = append(steps, s)
}

// enter begins a step, unless that has begun: who is told of it finds it in the
// journal, also after a kill.
func (p *publication) enter(name string) error {
	if !p.began.IsZero() && p.record.Publish.Step == name {
		return nil
	}
	p.record.Publish.Step, p.began = name, time.Now()
	if p.noted {
		if err := p.daemon.registry.PutPublish(p.record); err != nil {
			return err
		}
	}
	p.events(thaw.DeployEvent{Step: name})
	return nil
}

// say reports something within the step under way.
func (p *publication) say(message string) {
	p.events(thaw.DeployEvent{Step: p.record.Publish.Step, Message: message})
}

// end ends the publish: after an error nothing of it is left. One that nobody waits
// for and that the daemon's own end has cut off stays as it is, for the next daemon.
func (p *publication) end(err error) error {
	d, r := p.daemon, &p.record
	if err == nil {
		return nil
	}
	if d.ctx.Err() != nil && (r.Publish.Detached || r.Publish.Resumed > 0) && r.Publish.Number > 0 {
		return err
	}
	return errors.Join(err, d.undo(*r, err))
}

// undo removes what a publish has made, and notes why it failed.
func (d *Daemon) undo(r publish.Record, reason error) error {
	r.Publish.State, r.Publish.Ended = thaw.PublishFailed, time.Now().UTC()
	r.Publish.Error, r.Publish.Code = reason.Error(), thaw.CodeOf(reason)
	errs := []error{d.removeSnapshot(r.Version)}
	r.Version.Snapshot = ""
	if _, err := d.registry.Get(r.Publish.Function); thaw.CodeOf(err) == thaw.CodeNotFound {
		errs = append(errs, d.logs.remove(r.Publish.Function, 0)) // nobody could ask for them
	}
	d.noteEnd(r)
	return errors.Join(errs...)
}

func (d *Daemon) removeSnapshot(v thaw.Version) error {
	if v.Snapshot == "" {
		return nil
	}
	d.lessons.forget(v.Snapshot)
	return d.snapshots.Remove(v.Snapshot)
}

// noteEnd writes down that a publish has failed, be it later: the disk may be full.
func (d *Daemon) noteEnd(r publish.Record) {
	if d.registry.EndPublish(r) == nil {
		return
	}
	d.background.Go(func() {
		for err := errors.New("not yet"); err != nil; err = d.registry.EndPublish(r) {
			select {
			case <-time.After(noteAgain):
			case <-d.ctx.Done():
				if err := d.registry.EndPublish(r); err != nil {
					d.log.Error("the end of a deploy could not be noted, the next daemon will go on with it", "function", r.Publish.Function, "error", err)
				}
				return
			}
		}
	})
}

// noteAgain is how long noteEnd waits before it tries again.
const noteAgain = time.Second

// fullBelow is the free space of the state folder below which whatever failed is put
// down to that: a VMM that finds no room has no words for it.
const fullBelow = 1 << 20

// explainFull says what to do about an error that a full disk has caused.
func (d *Daemon) explainFull(err error) error {
	switch code := thaw.CodeOf(err); {
	case code != thaw.CodeInternal && code != thaw.CodeInstance:
		return err // it says by itself what is wrong
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), diedOfFull(err), d.free() < fullBelow:
		return thaw.Errorf(thaw.CodeUnavailable, "the disk of the state folder %s is full: free some space and try again: %w", d.state, err)
	}
	return err
}

// free is the free space of the state folder in bytes.
func (d *Daemon) free() int64 {
	var fs unix.Statfs_t
	if err := unix.Statfs(d.state, &fs); err != nil {
		return fullBelow // who knows
	}
	return int64(fs.Bavail) * fs.Bsize
}

// diedOfFull says that a VMM was killed because there was no room for a page of a
// mapped file (SIGBUS, mmap(2)).
func diedOfFull(err error) bool {
	exit, ok := errors.AsType[*vmm.ExitError](err)
	if !ok || exit.State == nil {
		return false
	}
	status, ok := exit.State.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGBUS
}

// logSteps tells the log of the steps of a publish that nobody watches.
func (d *Daemon) logSteps(function string) func(thaw.DeployEvent) {
	return func(e thaw.DeployEvent) {
		if e.DurationMS > 0 {
			d.log.Info("a step of a deploy is done", "function", function, "step", e.Step, "ms", fmt.Sprintf("%.1f", e.DurationMS), "message", e.Message)
		}
	}
}
