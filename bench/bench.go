// Package bench measures how invocations start. Samples are raw and complete:
// what is compared is interleaved in one run, and a cold start counts as cold
// only when the page cache was seen to be empty.
package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"thaw"
	"thaw/client"
)

// Options choose what is measured: every subject with each of its inputs, by each
// kind, with each number of clones, in turns.
type Options struct {
	Subjects []Subject
	// N is how many samples of each are taken.
	N int
	// Kinds are what takes turns, in this order.
	Kinds []Kind
	// Clones are how many invocations start at the same time. Of a subject with
	// copies, those of different snapshots are measured as well.
	Clones []int
	// ReadaheadKiB is the disk's readahead while measuring; 0 leaves it.
	// Linux's default is 128; a large one reads a snapshot whole at the first
	// fault and hides what a policy does.
	ReadaheadKiB int
	// KeepGoing has a function that fails end with a problem in the report, and a
	// start that is not what it should be with a refusal. Otherwise each ends the
	// run.
	KeepGoing bool
	// Checkpoint is given what was measured so far after each round; nil is not told.
	Checkpoint func(Report) error
}

// Subject is a function, NAME[:QUALIFIER], with the event that its working sets are
// recorded with, and those that are measured, one at least.
type Subject struct {
	Function string
	// Name is what the report calls it; "" is Function.
	Name string
	// Copies are functions of the same code and memory, of which each has a snapshot
	// of its own: as many as start at the same time, less one.
	Copies   []string
	Recorded Input
	Inputs   []Input
}

// Input is an event.
type Input struct {
	// Name tells the inputs of a subject apart; "" will do for a single one.
	Name  string
	Event []byte
	// Check refuses a wrong reply; nil takes any.
	Check func(reply []byte) error
}

// Progress is told of what is done next, after done of total samples.
type Progress func(done, total int, what string)

// Run measures, as root and on the daemon's machine. The disk's readahead is put
// back before Run returns, also when ctx ends it. What was measured until an error
// is returned with it.
func Run(ctx context.Context, c *client.Client, o Options, progress Progress) (Report, error) {
	subjects, err := pin(ctx, c, o.Subjects)
	if err != nil {
		return Report{}, err
	}
	o.Subjects = subjects
	b := newBench(c, o, progress)
	err = b.run(ctx)
	if err != nil {
		b.report.Partial = err.Error()
	}
	return b.report, err
}

// bench is a run under way.
type bench struct {
	client      *client.Client
	options     Options
	progress    Progress
	report      Report
	subjects    []*subject
	done, total int
}

// subject is one that is being measured.
type subject struct {
	Subject
	// descriptions are of the function and of its copies, once they have their sets.
	descriptions []thaw.Description
	report       *Function
	cells        []Coordinates
	refused      int // in a row
}

func newBench(c *client.Client, o Options, progress Progress) *bench {
	b := &bench{client: c, options: o, progress: progress}
	b.report.Clones = slices.Max(append(o.Clones, 1))
	b.report.Functions = make([]Function, len(o.Subjects))
	for i, s := range o.Subjects {
		f := &b.report.Functions[i]
		if f.Name = s.Name; f.Name == "" {
			f.Name = s.Function
		}
		b.subjects = append(b.subjects, &subject{Subject: s, report: f})
		b.total += len(o.cells(s, 0)) * len(o.Kinds) * o.N
	}
	return b
}

func (b *bench) run(ctx context.Context) (err error) {
	putBack, env, err := b.environment(ctx)
	if err != nil {
		return err
	}
	b.report.Environment = env
	noise := listen()
	defer func() {
		b.report.Environment.LoadAfter, b.report.Environment.Noise = Load(), noise.heard()
		err = errors.Join(err, putBack())
	}()
	for _, s := range b.subjects {
		if err := b.attempt(ctx, s, func() error { return b.prepare(ctx, s) }); err != nil {
			return err
		}
	}
	for round := range b.options.N {
		if err := b.round(ctx, round+1); err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
	}
	return nil
}

// environment describes the machine by the first function that can be measured.
func (b *bench) environment(ctx context.Context) (putBack func() error, e Environment, err error) {
	for _, s := range b.subjects {
		d, failed := Describe(ctx, b.client, s.Function)
		if failed == nil {
			return Environ(ctx, b.client, d, b.options.ReadaheadKiB)
		}
		if err = errors.Join(err, failed); !b.options.KeepGoing {
			break
		}
	}
	return nil, e, err
}

// attempt does something for s, unless that has failed before, and decides what an
// error means for the others.
func (b *bench) attempt(ctx context.Context, s *subject, do func() error) error {
	if s.report.Problem != "" {
		return nil
	}
	err := do()
	if err == nil {
		return nil
	}
	if !b.options.KeepGoing || ctx.Err() != nil || errors.Is(err, client.ErrUnreachable) {
		return fmt.Errorf("%s: %w", s.report.Name, err)
	}
	s.report.Problem = err.Error()
	return b.endIdle(ctx, s)
}

// endIdle ends what waits of s. A function that is not there has nothing.
func (b *bench) endIdle(ctx context.Context, s *subject) error {
	for _, name := range s.all() {
		if err := b.client.EndIdle(ctx, name); err != nil && thaw.CodeOf(err) != thaw.CodeNotFound {
			return err
		}
	}
	return nil
}

// tell tells of progress.
func (b *bench) tell(s Subject, what string) { b.progress(b.done, b.total, s.Function+" "+what) }

// round takes one sample of each kind in each cell of each function.
func (b *bench) round(ctx context.Context, round int) error {
	for _, s := range b.subjects {
		for _, cell := range s.cells {
			for _, k := range b.options.Kinds {
				at := cell
				at.Kind = k
				b.tell(s.Subject, describeTurn(at))
				if err := b.attempt(ctx, s, func() error { return b.turn(ctx, s, at, round) }); err != nil {
					return err
				}
				b.done++
			}
		}
	}
	if b.options.Checkpoint == nil {
		return nil
	}
	return b.options.Checkpoint(b.report)
}

func describeTurn(at Coordinates) string {
	if cell := at.Cell().String(); cell != "" {
		return string(at.Kind) + ", " + cell
	}
	return string(at.Kind)
}

// refusals is how many in a row are not bad luck any more.
const refusals = 3

// turn takes one sample of each clone.
func (b *bench) turn(ctx context.Context, s *subject, at Coordinates, round int) error {
	samples, err := b.sample(ctx, s, at)
	if err != nil {
		err = fmt.Errorf("%s: %w", describeTurn(at), err)
	}
	if b.options.KeepGoing && thaw.CodeOf(err) == thaw.CodeConflict && s.refused < refusals {
		s.refused++
		s.report.Refusals = append(s.report.Refusals, Refusal{Coordinates: at, Round: round, Why: err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	s.refused = 0
	for clone := range samples {
		samples[clone].Round, samples[clone].Clone = round, clone
	}
	s.report.Samples = append(s.report.Samples, samples...)
	return nil
}
