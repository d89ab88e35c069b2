package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/bench"
	"thaw/bench/faults"
	"thaw/bench/report"
	"thaw/bench/suite"
	"thaw/client"
	"thaw/functions"
)

type suiteFlags struct {
	benchFlags
	short, sizes, keep, own         bool
	memory                          []string
	replays                         int
	factor                          float64
	out, images, state, accelerator string
}

func newSuiteCommand(a *app) *cobra.Command {
	var f suiteFlags
	cmd := &cobra.Command{
		Use:   "suite [WORKLOAD...]",
		Short: "Measure the workloads of the papers: one command, one report",
		Long: `Measure the workloads of the papers, all unless some are named.

Each is deployed as bench-WORKLOAD, in place of any function of that name, and
removed afterwards. Its working sets are recorded with input A and it is measured
with input B, and each reply is compared with the right one: by the policies of the
papers, with everything cached, and warm, in turns. Then the touches of B are
replayed at native speed (see thaw bench replay), and what page faults cost is
measured (thaw bench faults). A workload that fails is in the
report, the others go on, and the exit code says so in the end.

bench-report.html, .json, .txt and .bench (for benchstat) are written to --out after each
round, so that an interrupt loses nothing; what is not finished says that it is
partial. --short takes 5 workloads and few samples. --own starts a daemon for it,
with a state folder that is thrown away.`,
		Example: `  thaw bench suite --own --short
  thaw bench suite helloworld --clones 1,4,16 --different --policies vanilla,reap,thaw
  thaw bench suite --sizes --policies vanilla,reap,faasnap,thaw
  thaw bench suite pyaes --memory 256MiB,512MiB,1GiB`,
		ValidArgsFunction: completeWorkloads,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.suite(cmd.Context(), args, f) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.short, "short", false, "take "+strings.Join(suite.Short(), ", ")+" and 3 samples")
	flags.IntVarP(&f.n, "samples", "n", 0, "how many samples of each kind (default 10, 3 with --short)")
	flags.IntVar(&f.replays, "replays", -1, "how many replays by each policy, 0 for none (default as -n)")
	flags.Float64Var(&f.factor, "factor", 0, "what the recorded time between touches is divided by in a replay (default 1 under KVM, 17 under emulation)")
	flags.StringSliceVar(&f.policies, "policies", nil, "`policies` to compare, with +pool or without; warm is added (default "+kindNames(suite.Kinds())+")")
	flags.IntSliceVar(&f.clones, "clones", []int{1}, "how many invocations start at the same time, as `numbers`")
	flags.BoolVar(&f.different, "different", false, "also start different snapshots at the same time: deploys as many copies")
	flags.StringSliceVar(&f.memory, "memory", nil, "`sizes` of guest memory (default each workload's own)")
	flags.BoolVar(&f.sizes, "sizes", false, "measure inputs of a quarter to four times the recorded size, of the workloads that have them")
	flags.IntVar(&f.readahead, "readahead", 128, "the disk's readahead meanwhile in `KiB`, 0 leaves it")
	flags.BoolVar(&f.keep, "keep", false, "leave the functions deployed")
	flags.StringVar(&f.out, "out", "bench-report", "`folder` for the reports")
	flags.BoolVar(&f.own, "own", false, "start a daemon for it")
	flags.StringVar(&f.images, "images", "", "`folder` that keeps what the guests of --own boot from (default: thrown away)")
	flags.StringVar(&f.state, "scratch", "", "`folder` on the disk to measure, for the state of --own (default: that of temporary files)")
	flags.StringVar(&f.accelerator, "accel", "auto", "what runs the guests of --own: auto, kvm or tcg")
	completeWords(cmd, "accel", accelerators()...)
	cmd.MarkFlagsMutuallyExclusive("own", "keep")
	return cmd
}

func kindNames(kinds []bench.Kind) string {
	var names []string
	for _, k := range kinds {
		names = append(names, string(k))
	}
	return strings.Join(names, ",")
}

// options checks everything before a VM starts.
func (f suiteFlags) options(names []string) (o suite.Options, err error) {
	if f.n == 0 {
		if f.n = 10; f.short {
			f.n = 3
		}
	}
	if err := f.check(); err != nil {
		return o, err
	}
	if f.short && len(names) == 0 {
		names = suite.Short()
	}
	o = suite.Options{Code: functions.Files(), Different: f.different, Sizes: f.sizes, Keep: f.keep}
	all, err := functions.Load(o.Code)
	if err != nil {
		return o, err
	}
	if o.Workloads, err = suite.Choose(all, names); err != nil {
		return o, err
	}
	if o.MemoryMiB, err = f.memorySizes(); err != nil {
		return o, err
	}
	o.Bench = bench.Options{N: f.n, Clones: f.clones, ReadaheadKiB: f.readahead}
	if o.Bench.Kinds, err = f.kinds(); err != nil {
		return o, err
	}
	if o.Replay, err = f.replay(o.Bench.Kinds); err != nil {
		return o, err
	}
	o.Faults, err = faultsFlags{n: suiteRounds, pages: suitePages, dir: f.state}.options(f.state)
	return o, err
}

// What page faults cost is measured in fewer rounds than by thaw bench faults: the
// classes are far apart, and every sample is in the report.
const suiteRounds, suitePages = 5, 256

func (f suiteFlags) check() error {
	switch {
	case f.replays < -1 || f.replays > 10_000:
		return thaw.Errorf(thaw.CodeInvalid, "--replays %d is out of range: choose 0 to 10000", f.replays)
	case f.factor != 0 && (f.factor < 1 || f.factor > 1000):
		return thaw.Errorf(thaw.CodeInvalid, "--factor %g is out of range: choose 1 to 1000", f.factor)
	case f.different && slices.Max(append(f.clones, 0)) < 2:
		return thaw.Errorf(thaw.CodeInvalid, "--different is about starts at the same time: choose --clones of 2 or more")
	case !slices.Contains(accelerators(), f.accelerator):
		return thaw.Errorf(thaw.CodeInvalid, "unknown accelerator %q: choose %s", f.accelerator, strings.Join(accelerators(), ", "))
	}
	return f.benchFlags.check()
}

// kinds are taken as they are named: which of them to take with a pool is a choice
// here, as there are many workloads.
func (f suiteFlags) kinds() ([]bench.Kind, error) {
	if f.policies == nil {
		return suite.Kinds(), nil
	}
	var kinds []bench.Kind
	for _, name := range f.policies {
		k, err := bench.ParseKind(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		if !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	return append(kinds, bench.KindWarm), nil
}

func (f suiteFlags) memorySizes() (mib []int64, err error) {
	for _, text := range f.memory {
		var b bytesFlag
		if err := b.Set(text); err != nil {
			return nil, thaw.Errorf(thaw.CodeInvalid, "--memory %s: %w", text, err)
		}
		s := thaw.Settings{MemoryBytes: int64(b)}.WithDefaults()
		if err := s.Validate(); err != nil {
			return nil, err
		}
		if n := int64(b) >> 20; !slices.Contains(mib, n) {
			mib = append(mib, n)
		}
	}
	return mib, nil
}

func (f suiteFlags) replay(kinds []bench.Kind) (o bench.ReplayOptions, err error) {
	self, err := os.Executable()
	if err != nil {
		return o, thaw.Errorf(thaw.CodeUnavailable, "find this program: %w", err)
	}
	o = bench.ReplayOptions{
		N: f.replays, Kinds: bench.Restoring(kinds), Factor: f.factor, ReadaheadKiB: f.readahead,
		Command: func() *exec.Cmd { return exec.Command(self, standInName) },
	}
	if o.N < 0 {
		o.N = f.n
	}
	return o, nil
}

func (a *app) suite(ctx context.Context, names []string, f suiteFlags) (err error) {
	o, err := f.options(names)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.out, 0o755); err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "--out: %w", err)
	}
	if err := checkOutput(reportFile(f.out, "json")); err != nil {
		return err
	}
	c, stop, err := a.suiteDaemon(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if o.Replay.Factor == 0 {
		if o.Replay.Factor, err = factorOf(ctx, c); err != nil {
			return err
		}
	}
	o.Save = func(r suite.Result) error { return writeSuite(f.out, r) }
	progress, end := a.suiteProgress()
	result, err := suite.Run(ctx, c, o, progress)
	end()
	return errors.Join(err, a.suiteDone(result, f.out))
}

// The limits of a daemon of one's own: the machine's memory is what there is.
const ownInstances = 2*maxClones + 64

// suiteDaemon is the daemon that --addr names, or one of its own.
func (a *app) suiteDaemon(ctx context.Context, f suiteFlags) (*client.Client, func() error, error) {
	if f.own {
		return a.ownDaemon(ctx, f.state, "--images", f.images, "--accel", f.accelerator,
			"--max-instances", fmt.Sprint(ownInstances), "--max-per-function", fmt.Sprint(2*maxClones))
	}
	c, err := a.client()
	if err != nil {
		return nil, nil, err
	}
	return c, func() error { c.Close(); return nil }, nil
}

// emulated is how much slower a guest runs under TCG than its host does, measured
// with Python.
const emulated = 17

func factorOf(ctx context.Context, c *client.Client) (float64, error) {
	info, err := c.Info(ctx)
	if strings.HasPrefix(info.Accelerator, "KVM") {
		return 1, err
	}
	return emulated, err
}

// suiteProgress shows what happens, a meter for each part.
func (a *app) suiteProgress() (p suite.Progress, end func()) {
	measuring, replaying, faulting := a.meter(), a.meter(), a.meter()
	return suite.Progress{
		Deploying: func(function string, done, total int) {
			fmt.Fprintf(a.stderr, "deploying %s, %d of %d\n", function, done+1, total)
		},
		Event:     func(thaw.DeployEvent) {},
		Measuring: measuring.show,
		Replaying: replaying.show,
		Faults:    faulting.show,
	}, faulting.close
}

func reportFile(dir, extension string) string {
	return filepath.Join(dir, "bench-report."+extension)
}

// writeSuite writes a result in every format.
func writeSuite(dir string, r suite.Result) error {
	for _, f := range []struct {
		extension string
		write     func(io.Writer) error
	}{{"json", r.WriteJSON}, {"txt", r.WriteText}, {"bench", r.WriteGo}, {"html", func(w io.Writer) error { return report.Write(w, pageOf(r)) }}} {
		if err := writeAside(reportFile(dir, f.extension), f.write); err != nil {
			return written(err)
		}
	}
	return nil
}

// pageOf is what a page of r is made of.
func pageOf(r suite.Result) report.Data {
	d := report.Data{Bench: &r.Report, Replay: r.Replay, Memory: r.Memory}
	if r.Faults != nil {
		d.Faults = faultCosts(*r.Faults)
	}
	return d
}

// faultCosts are the first reads of 4 KiB pages, with what FaaSnap's authors found.
func faultCosts(r faults.Report) (costs []report.Fault) {
	for _, class := range []struct {
		backing faults.Backing
		theirs  string
	}{{faults.Anonymous, "anonymous"}, {faults.PageCache, ""}, {faults.PageCacheAround, "page cache"}, {faults.Userfaultfd, "userfaultfd"}, {faults.Disk, "disk"}} {
		c, ok := r.Class(faults.Kind{Backing: class.backing, Touch: faults.Read, PageBytes: thaw.PageSize})
		if ok && c.US.Median > 0 {
			costs = append(costs, report.Fault{
				Class: string(class.backing), Median: c.US.Median, Q1: c.US.Q1, Q3: c.US.Q3, TheirPaper: report.TheirFaults()[class.theirs],
			})
		}
	}
	return costs
}

// suiteDone tells what was found. One workload that failed is a failure.
func (a *app) suiteDone(r suite.Result, out string) error {
	if !r.Report.Measured() && len(r.Problems()) == 0 {
		return nil // there is an error
	}
	fmt.Fprintf(a.stderr, "\nthe reports are in %s\n", out)
	if err := a.writeResult(r); err != nil {
		return err
	}
	if problems := r.Problems(); len(problems) > 0 {
		return thaw.Errorf(thaw.CodeFunction, "not measured to the end: %s", strings.Join(problems, "; "))
	}
	return nil
}

func (a *app) writeResult(r suite.Result) error {
	if a.asValues() {
		return written(r.WriteJSON(a.stdout))
	}
	return written(r.WriteText(a.stdout))
}
