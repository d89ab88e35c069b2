package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/bench"
	"thaw/bench/report"
	"thaw/client"
)

type benchFlags struct {
	n, readahead       int
	clones             []int
	different          bool
	policies           []string
	all                bool
	recorded, measured string
	goFile, html       string
}

func newBenchCommand(a *app) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench NAME...",
		Short: "Measure how functions start: cold by each policy, and warm",
		Long: `Measure how functions start: cold by each policy, with the VMM started on demand
as published and with a VMM that was waiting (+pool), and warm, in turns.

Before each cold start every file of the function is dropped from the page cache,
and the measurement is refused unless nothing is left there (mincore). cached is
vanilla with all of them in the page cache; cached+pool is the floor: no restore
from the disk can be faster. The working sets are recorded first, with the event of
--record, in place of those there were. The disk's readahead is set to --readahead
KiB meanwhile and put back afterwards. Runs as root on the daemon's machine. With
-o json every sample is printed; --go writes them in the Go benchmark format, for
benchstat; --html makes a page of them that needs nothing else: a summary in words,
pictures, tables, and what the papers measured beside it. What was measured until an
interrupt or an error is written, too, and says that it is partial.

--clones measures starts at the same time, for each number in turn, of the same
snapshot; with --different also of different ones: the functions named after the
first are then copies of it, deployed from the same code under other names, at
least as many as start at the same time. The daemon must allow that many VMs
(thaw serve --max-instances, --max-per-function).`,
		Example: `  thaw bench hello -n 10
  thaw bench hello --policies reap,thaw+pool --record '{"name": "Ada"}' -d '{"name": "Grace"}'
  thaw bench hello --all -n 30 --go hello.txt --html hello.html
  thaw bench hello --clones 1,4,16 --policies reap,thaw
  thaw bench hello hello-1 hello-2 hello-3 --clones 1,2,4 --different`,
		Args:              someNames,
		ValidArgsFunction: a.complete(true, functionRefs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.bench(cmd, args, f)
		},
	}
	flags := cmd.Flags()
	flags.IntVarP(&f.n, "samples", "n", 10, "how many samples of each kind")
	flags.StringVarP(&f.measured, "data", "d", "{}", "event that is measured, as `JSON`")
	flags.StringVar(&f.recorded, "record", "", "event that the working sets are recorded with, as `JSON` (default that of -d)")
	flags.StringSliceVar(&f.policies, "policies", nil, "`policies` to compare, each of them with +pool only with a VMM that was waiting (default vanilla,reap,faasnap,thaw,cached)")
	flags.BoolVar(&f.all, "all", false, "compare every policy there is")
	flags.IntSliceVar(&f.clones, "clones", []int{1}, "how many invocations start at the same time, as `numbers`")
	flags.BoolVar(&f.different, "different", false, "also start different snapshots at the same time: of the first function and of its copies, the others")
	flags.IntVar(&f.readahead, "readahead", 128, "the disk's readahead meanwhile in `KiB`, 0 leaves it")
	flags.StringVar(&f.goFile, "go", "", "`file` for the samples in the Go benchmark format")
	flags.StringVar(&f.html, "html", "", "`file` for a page of the results")
	cmd.MarkFlagsMutuallyExclusive("policies", "all")
	cmd.AddCommand(newReplayCommand(a), newFaultsCommand(a), newSuiteCommand(a), newPeersCommand(a))
	return cmd
}

// someNames wants at least one NAME.
func someNames(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return arguments("NAME")(cmd, args)
	}
	for i, name := range args {
		if _, err := thaw.ParseRef(name); err != nil {
			return err
		}
		if slices.Contains(args[:i], name) {
			return fmt.Errorf("function %s is named twice", name)
		}
	}
	return nil
}

func (f benchFlags) options(names []string) (o bench.Options, err error) {
	if err := f.check(); err != nil {
		return o, err
	}
	o = bench.Options{N: f.n, Clones: f.clones, ReadaheadKiB: f.readahead}
	if o.Kinds, err = f.kinds(); err != nil {
		return o, err
	}
	recorded, measured, err := f.inputs()
	if err != nil {
		return o, err
	}
	if f.different {
		o.Subjects = []bench.Subject{{Function: names[0], Copies: names[1:], Recorded: recorded, Inputs: []bench.Input{measured}}}
		return o, f.checkCopies(names)
	}
	for _, name := range names {
		o.Subjects = append(o.Subjects, bench.Subject{Function: name, Recorded: recorded, Inputs: []bench.Input{measured}})
	}
	return o, nil
}

// inputs are the event that is recorded and the one that is measured.
func (f benchFlags) inputs() (recorded, measured bench.Input, err error) {
	if measured.Event, err = checkEvent("-d", []byte(f.measured)); err != nil || f.recorded == "" {
		return measured, measured, err
	}
	recorded.Name = "recorded"
	recorded.Event, err = checkEvent("--record", []byte(f.recorded))
	return recorded, measured, err
}

func (f benchFlags) checkCopies(names []string) error {
	if most := slices.Max(f.clones); len(names) < most || most < 2 {
		return thaw.Errorf(thaw.CodeInvalid, "--different starts up to %d functions at the same time, and %d are named: choose --clones of 2 or more, and name the function and that many copies less one", most, len(names))
	}
	return nil
}

func (f benchFlags) check() error {
	switch {
	case f.n < 1 || f.n > 10_000:
		return thaw.Errorf(thaw.CodeInvalid, "-n %d is out of range: choose 1 to 10000", f.n)
	case f.readahead < 0:
		return thaw.Errorf(thaw.CodeInvalid, "--readahead %d is negative", f.readahead)
	case len(f.clones) == 0:
		return thaw.Errorf(thaw.CodeInvalid, "--clones names no number")
	}
	for i, n := range f.clones {
		if n < 1 || n > maxClones {
			return thaw.Errorf(thaw.CodeInvalid, "--clones %d is out of range: choose 1 to %d", n, maxClones)
		}
		if slices.Contains(f.clones[:i], n) {
			return thaw.Errorf(thaw.CodeInvalid, "--clones names %d twice", n)
		}
	}
	if err := checkOutput(f.goFile); err != nil {
		return err
	}
	return checkOutput(f.html)
}

// maxClones is more than any machine of today starts at the same time.
const maxClones = 256

// kinds are what is compared. Policies that are named are taken with the pool
// and without, unless their names say that.
func (f benchFlags) kinds() ([]bench.Kind, error) {
	policies := bench.Common()
	switch {
	case f.all:
		policies = bench.All()
	case f.policies != nil:
		policies = nil
	}
	for _, name := range f.policies {
		k, err := bench.ParseKind(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		policies = append(policies, k)
	}
	if len(policies) == 0 {
		return nil, thaw.Errorf(thaw.CodeInvalid, "--policies names none")
	}
	return bench.Kinds(policies), nil
}

func (a *app) bench(cmd *cobra.Command, names []string, f benchFlags) error {
	o, err := f.options(names)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	meter := a.meter()
	measured, err := bench.Run(cmd.Context(), c, o, meter.show)
	meter.close()
	if !measured.Measured() {
		return err
	}
	return errors.Join(err, a.writeReport(cmd.Context(), c, measured, f))
}

// writeReport writes what was measured, be it partial.
func (a *app) writeReport(ctx context.Context, c *client.Client, measured bench.Report, f benchFlags) error {
	if f.goFile != "" {
		if err := writeAside(f.goFile, measured.WriteGo); err != nil {
			return err
		}
	}
	if f.html != "" {
		page := report.Data{Bench: &measured, Memory: a.memoryMaps(ctx, c, measured)}
		if err := writePage(f.html, page); err != nil {
			return err
		}
	}
	if a.asValues() {
		return a.value(measured.WithFindings())
	}
	return written(measured.WriteText(a.stdout))
}
