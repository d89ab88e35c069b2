// Package faults measures what one page fault costs, by what is behind the page,
// and what it costs to bring pages in many at a time. There is no VM: a process of
// its own ([standin.Serve]) touches the pages and times each touch. Nothing is
// assumed of the kernel: what a fault brought in is read from the process's page map
// and what it was counted as from getrusage(2), and a sample that is not what it is
// called is refused.
package faults

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"runtime/debug"

	"thaw/bench"
	"thaw/bench/standin"
)

// Options choose what is measured.
type Options struct {
	// N is how many rounds: in each, every class and way has its turn.
	N int
	// Pages are touched of each class of 4 KiB pages in each round, of a region that
	// is [Stride] times as large; of 2 MiB pages, as many as there are in that.
	Pages int
	// Folder is for a scratch file without a name, on a disk.
	Folder string
	// Version of thaw, to be reported.
	Version string
	// Command makes the command of a stand-in.
	Command func() *exec.Cmd
}

// Stride is how many pages apart the touches of 4 KiB pages are: as far as the
// kernel maps the neighbours of a page of a file with it (fault_around_bytes, 64 KiB
// unless changed), so that no touch is spared by another. Anonymous memory is
// touched the same way: every touch then finds the page tables equally empty.
const Stride = 16

// Report is a run. Times are in microseconds.
type Report struct {
	Environment Environment `json:"environment"`
	Rounds      int         `json:"rounds"`
	// Touches and HugeTouches are per class and round, of 4 KiB and of 2 MiB pages. Those
	// of PageCacheReadahead are 2 MiB apart, too, as far as one fault may map.
	Touches     int     `json:"touches"`
	HugeTouches int     `json:"huge_touches"`
	Classes     []Class `json:"classes"`
	Ways        []Way   `json:"ways"`
	Orders      []Order `json:"orders"`
	// Published are the figures of others, for comparison.
	Published []Published `json:"published"`
}

// Class is what was measured of one class of page faults.
type Class struct {
	Kind
	// Unavailable is why this machine does not have the class, "" if it has.
	Unavailable string `json:"unavailable,omitempty"`
	// Again is how many samples were taken again, because what else went on raised
	// faults of another class in them.
	Again int `json:"again,omitempty"`
	// US are the times of all touches, each with a reading of the clock.
	US bench.Spread `json:"us"`
	// Counts are sums over the touches.
	Counts
	// RoundsUS are the raw samples, by round.
	RoundsUS [][]float64 `json:"rounds_us"`
}

// Counts are what the kernel and the page-fault server counted.
type Counts struct {
	Touches int64 `json:"touches"`
	// Minor and Major are the kernel's: a major one waited for the disk, or for a
	// userfaultfd.
	Minor int64 `json:"minor"`
	Major int64 `json:"major"`
	// Trapped were served by the page-fault server.
	Trapped int64 `json:"trapped"`
	// Mapped and Own are by how many 4 KiB pages the page map grew: mapped at all, and
	// private copies of the process.
	Mapped int64 `json:"mapped"`
	Own    int64 `json:"own"`
}

func (c *Counts) add(more Counts) {
	c.Touches += more.Touches
	c.Minor += more.Minor
	c.Major += more.Major
	c.Trapped += more.Trapped
	c.Mapped += more.Mapped
	c.Own += more.Own
}

// Run measures, as root. What it needs on the disk and the process that touches are
// gone when it returns, and also if it never does.
func Run(ctx context.Context, o Options, progress bench.Progress) (report Report, err error) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // this process serves faults, too: see round
	r := run{options: o, report: &report, progress: progress}
	if report.Environment, err = environment(o); err != nil {
		return report, err
	}
	if r.scratch, err = newScratch(o.Folder, o.Pages*Stride); err != nil {
		return report, fmt.Errorf("make a scratch file: %w", err)
	}
	defer r.scratch.Close()
	if r.process, err = standin.Start(o.Command(), 0); err != nil {
		return report, err
	}
	defer r.process.Close()
	defer context.AfterFunc(ctx, r.process.Kill)()
	report.Rounds, report.Touches, report.HugeTouches = o.N, o.Pages, r.scratch.hugePages()
	report.Published = published()
	if err := r.all(ctx); err != nil {
		return report, err
	}
	report.conclude()
	return report, nil
}

// run is a run under way.
type run struct {
	options  Options
	report   *Report
	progress bench.Progress
	scratch  *scratch
	process  *standin.Process
	done     int
}

// all probes everything once, which also warms it up, then measures.
func (r *run) all(ctx context.Context) error {
	for _, k := range kinds() {
		r.report.Classes = append(r.report.Classes, Class{Kind: k})
	}
	for _, m := range methods() {
		r.report.Ways = append(r.report.Ways, Way{Method: m})
	}
	for round := range r.options.N + 1 { // the first is the probe
		if err := r.round(ctx, round); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	return nil
}

func (r *run) round(ctx context.Context, round int) error {
	for i := range r.report.Classes {
		c := &r.report.Classes[i]
		if err := r.turn(ctx, c.Kind.String(), round, c.take(r)); err != nil {
			return err
		}
	}
	for i := range r.report.Ways {
		w := &r.report.Ways[i]
		if err := r.turn(ctx, w.Method.String(), round, w.take(r)); err != nil {
			return err
		}
	}
	return nil
}

// turn takes one sample, without a garbage collection in between.
func (r *run) turn(ctx context.Context, what string, round int, take func(context.Context, int) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.progress(r.done, (r.options.N+1)*(len(r.report.Classes)+len(r.report.Ways)), what)
	runtime.GC()
	r.done++
	if err := take(ctx, round); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// attempts is how often a sample is taken before a class counts as another.
const attempts = 4

// sample takes one again that other faults got into.
func (c *Class) sample(ctx context.Context, r *run, round int) (us []float64, counts Counts, err error) {
	for n := 1; ; n++ {
		us, counts, err = r.sample(ctx, c.Kind, round)
		if n == attempts || !errors.Is(err, errAnotherClass) {
			return us, counts, err
		}
		c.Again++
	}
}

// take returns what takes a sample of the class and keeps it.
func (c *Class) take(r *run) func(context.Context, int) error {
	return func(ctx context.Context, round int) error {
		if c.Unavailable != "" {
			return nil
		}
		times, counts, err := c.sample(ctx, r, round)
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			c.Unavailable = err.Error()
			return nil
		case err != nil || round == 0:
			return err
		}
		c.RoundsUS = append(c.RoundsUS, times)
		c.add(counts)
		return nil
	}
}
