// Package suite measures the papers' workloads: it deploys them, has package bench
// measure and replay them, and puts what was found into one result.
package suite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"thaw"
	"thaw/bench"
	"thaw/bench/faults"
	"thaw/client"
	"thaw/functions"
)

// Options choose what is measured.
type Options struct {
	Workloads []functions.Workload
	// Code has a folder for each workload, such as [functions.Files].
	Code fs.FS
	// Bench is how it is measured; its subjects are made of the workloads.
	Bench bench.Options
	// Replay is how it is replayed: not at all if its N is 0.
	Replay bench.ReplayOptions
	// Faults is how the costs of page faults are measured: not at all if its N is 0.
	Faults faults.Options
	// Different measures starts of different snapshots as well, of which each
	// workload is deployed as many times as start at the same time.
	Different bool
	// Sizes measures the inputs of FaaSnap's experiment on input sizes, recorded with
	// the third, of the workloads that have them.
	Sizes bool
	// MemoryMiB are the sizes of guest memory; none is each workload's own.
	MemoryMiB []int64
	// Keep leaves the functions deployed.
	Keep bool
	// Save is given what there is after each round, and whenever a part is done; nil
	// is not told.
	Save func(Result) error
}

// Progress is told what happens.
type Progress struct {
	// Deploying is told of a function that is deployed next, and its events.
	Deploying func(function string, done, total int)
	Event     func(thaw.DeployEvent)
	Measuring bench.Progress
	Replaying bench.Progress
	Faults    bench.Progress
}

// Short are the workloads that stand for all: nothing, a parser, pages of packages
// with little and with much work, and pure computing.
func Short() []string {
	return []string{"helloworld", "image_rotate", "json_serdes", "lr_serving", "pyaes"}
}

// Kinds are what the papers compare, and thaw as it is shipped.
func Kinds() []bench.Kind {
	return []bench.Kind{
		bench.Of(thaw.PolicyVanilla, false), bench.Of(thaw.PolicyReap, false), bench.Of(thaw.PolicyFaaSnap, false),
		bench.Of(thaw.PolicyThaw, false), bench.Of(thaw.PolicyThaw, true), bench.KindCached, bench.KindFloor, bench.KindWarm,
	}
}

// Choose returns the workloads called names, all without any. An unknown name is a
// [thaw.CodeInvalid] error that lists what there is.
func Choose(all []functions.Workload, names []string) (chosen []functions.Workload, err error) {
	if len(names) == 0 {
		return all, nil
	}
	var known []string
	for _, w := range all {
		known = append(known, w.Name)
	}
	for _, name := range names {
		i := slices.Index(known, name)
		if i < 0 {
			return nil, thaw.Errorf(thaw.CodeInvalid, "unknown workload %q: choose of %q", name, known)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// Run deploys, measures, replays and removes, as root and on the daemon's machine.
// One workload that fails does not keep it from the others: [Result.Problems] has
// it. What was measured until an error is returned with it.
func Run(ctx context.Context, c *client.Client, o Options, p Progress) (r Result, err error) {
	if o.Save == nil {
		o.Save = func(Result) error { return nil }
	}
	s := &run{client: c, options: o, progress: p}
	defer func() {
		r = s.result
		err = errors.Join(err, o.Save(r))
	}()
	if !o.Keep {
		defer func() { err = errors.Join(err, s.remove(ctx)) }()
	}
	targets := o.targets()
	if len(targets) == 0 {
		return r, thaw.Errorf(thaw.CodeInvalid, "no workload that was chosen has inputs of several sizes")
	}
	if err := s.deploy(ctx, targets); err != nil {
		return r, err
	}
	if err := s.measure(ctx); err != nil {
		return r, err
	}
	if err := s.replay(ctx); err != nil {
		return r, err
	}
	if err := s.draw(ctx); err != nil {
		return r, err
	}
	return r, s.faults(ctx)
}

// run is a suite under way.
type run struct {
	client   *client.Client
	options  Options
	progress Progress
	result   Result
	deployed []string // functions
	subjects []bench.Subject
	failed   []bench.Function
}

// removeTime bounds how long functions are removed after an interrupt.
const removeTime = 30 * time.Second

// remove removes what was deployed.
func (s *run) remove(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
	defer cancel()
	for _, name := range s.deployed {
		if e := s.client.Remove(ctx, name); e != nil && thaw.CodeOf(e) != thaw.CodeNotFound && !errors.Is(e, client.ErrUnreachable) {
			err = errors.Join(err, fmt.Errorf("remove %s: %w", name, e))
		}
	}
	return err
}

// measure measures what could be deployed.
func (s *run) measure(ctx context.Context) error {
	if len(s.subjects) == 0 {
		return nil
	}
	o := s.options.Bench
	o.Subjects, o.KeepGoing = s.subjects, true
	o.Checkpoint = func(r bench.Report) error {
		r.Partial = "it was still running"
		return s.save(r)
	}
	report, err := bench.Run(ctx, s.client, o, s.progress.Measuring)
	return errors.Join(err, s.save(report))
}

// save saves a report, and what could not even be deployed.
func (s *run) save(r bench.Report) error {
	r.Functions = append(slices.Clone(r.Functions), s.failed...)
	s.result.Report = r
	return s.options.Save(s.result)
}

// draw gets the maps of memory of what was measured, one snapshot each.
func (s *run) draw(ctx context.Context) error {
	for i, subject := range s.subjects {
		if s.result.Report.Functions[i].Problem != "" {
			continue
		}
		for _, p := range []thaw.Policy{thaw.PolicyReap, thaw.PolicyFaaSnap, thaw.PolicyThaw} {
			m, err := s.client.Memory(ctx, subject.Function, p)
			if err != nil {
				return fmt.Errorf("get the memory map of %s: %w", subject.Function, err)
			}
			m.Function, m.Trace = s.result.Report.Functions[i].Name, nil // the sets' sizes are enough
			s.result.Memory = append(s.result.Memory, m)
		}
	}
	return nil
}

// faults measures what page faults cost on this machine.
func (s *run) faults(ctx context.Context) error {
	if s.options.Faults.N == 0 {
		return nil
	}
	report, err := faults.Run(ctx, s.options.Faults, s.progress.Faults)
	if err == nil {
		s.result.Faults = &report
	}
	return err
}

// replay replays the first input of what could be measured.
func (s *run) replay(ctx context.Context) error {
	o := s.options.Replay
	o.KeepGoing = true
	for i, subject := range s.subjects {
		if s.result.Report.Functions[i].Problem == "" {
			o.Subjects = append(o.Subjects, subject)
		}
	}
	if o.N == 0 || len(o.Subjects) == 0 {
		return nil
	}
	report, err := bench.Replay(ctx, s.client, o, s.progress.Replaying)
	s.result.Replay = &report
	return err
}
