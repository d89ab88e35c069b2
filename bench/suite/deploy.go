package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"thaw"
	"thaw/bench"
	"thaw/client"
	"thaw/functions"
	"thaw/image"
)

// Prefix begins the names of the functions that a suite deploys. Those that were
// deployed before under such a name are replaced.
const Prefix = "bench-"

// target is a workload with a size of memory.
type target struct {
	functions.Workload
	name   string // in the report
	copies int
}

// targets are what is to be deployed and measured.
func (o Options) targets() (all []target) {
	copies := 0
	if o.Different {
		copies = slices.Max(o.Bench.Clones) - 1
	}
	for _, w := range o.Workloads {
		if o.Sizes && len(w.Sizes) == 0 {
			continue
		}
		if len(o.MemoryMiB) == 0 {
			all = append(all, target{Workload: w, name: w.Name, copies: copies})
		}
		for _, mib := range o.MemoryMiB {
			sized := w
			sized.MemoryBytes = mib << 20
			all = append(all, target{Workload: sized, name: fmt.Sprintf("%s-%dMiB", w.Name, mib), copies: copies})
		}
	}
	return all
}

// recordedSize is which of its inputs of several sizes FaaSnap records with.
const recordedSize = 2

// subject is what is measured of t.
func (t target) subject(sizes bool) bench.Subject {
	s := bench.Subject{Function: Prefix + t.name, Name: t.name}
	for i := range t.copies {
		s.Copies = append(s.Copies, fmt.Sprintf("%s%s-%d", Prefix, t.name, i+1))
	}
	if !sizes {
		s.Recorded, s.Inputs = input("a", t.A), []bench.Input{input("b", t.B)}
		return s
	}
	for i, in := range t.Sizes {
		if i == recordedSize {
			s.Recorded = input("size3", in)
			continue
		}
		s.Inputs = append(s.Inputs, input(fmt.Sprintf("size%d", i+1), in))
	}
	return s
}

func input(name string, in functions.Input) bench.Input {
	return bench.Input{Name: name, Event: in.Event, Check: in.Check}
}

// deploy deploys all targets with their copies. What fails is a problem of that
// target's.
func (s *run) deploy(ctx context.Context, targets []target) error {
	total := 0
	for _, t := range targets {
		total += 1 + t.copies
	}
	for _, t := range targets {
		subject := t.subject(s.options.Sizes)
		err := s.deployAll(ctx, t, append([]string{subject.Function}, subject.Copies...), total)
		switch {
		case err == nil:
			s.subjects = append(s.subjects, subject)
		case ctx.Err() != nil || errors.Is(err, client.ErrUnreachable):
			return fmt.Errorf("deploy %s: %w", t.name, err)
		default:
			s.failed = append(s.failed, bench.Function{Name: t.name, MemoryMiB: t.MemoryBytes >> 20, Problem: fmt.Sprintf("deploy: %v", err)})
		}
	}
	s.result.Report.Functions = s.failed
	return nil
}

// deployAll deploys the code of t under each of names.
func (s *run) deployAll(ctx context.Context, t target, names []string, total int) error {
	code, err := fs.Sub(s.options.Code, t.Name)
	if err != nil {
		return err
	}
	for _, name := range names {
		s.progress.Deploying(name, len(s.deployed), total)
		s.deployed = append(s.deployed, name)
		if err := s.deployOne(ctx, t, name, code); err != nil {
			return err
		}
	}
	return nil
}

func (s *run) deployOne(ctx context.Context, t target, name string, code fs.FS) error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(image.PackFS(code, w)) }() // always returns nil
	defer r.Close()
	d := Deploy{Workload: t.name, Function: name, StepsMS: map[string]float64{}}
	_, err := s.client.Deploy(ctx, name, t.Settings(), r, func(e thaw.DeployEvent) {
		d.StepsMS[e.Step] += e.DurationMS
		s.progress.Event(e)
	})
	if err == nil {
		s.result.Deploys = append(s.result.Deploys, d)
	}
	return err
}
