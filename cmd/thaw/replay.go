package main

import (
	"errors"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/bench"
	"thaw/bench/report"
	"thaw/bench/standin"
)

type replayFlags struct {
	benchFlags
	factor float64
}

func newReplayCommand(a *app) *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay NAME...",
		Short: "Replay recorded page touches at native speed, without VMs",
		Long: `Replay the page touches of an invocation at the speed of this machine's processor,
under every policy, without a VM: for machines without KVM, where emulation hides
what a policy saves.

The function is invoked once with the event of -d, and its touches are recorded;
then the working sets are recorded with that of --record. A process takes the place
of the VMM: its memory is laid out, prefetched and served as a VM's is, and it
touches the pages in the recorded order, after the recorded time divided by
--factor, and verifies the content of each. The page cache is emptied before, as by
thaw bench. Runs as root on the daemon's machine.`,
		Example:           "  thaw bench replay hello -n 20\n  thaw bench replay hello resize --policies reap,faasnap,thaw -o json\n  thaw bench replay hello --html replay.html",
		Args:              someNames,
		ValidArgsFunction: a.complete(true, functionRefs),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.replay(cmd, args, f) },
	}
	flags := cmd.Flags()
	flags.IntVarP(&f.n, "samples", "n", 10, "how many replays by each policy")
	flags.StringVarP(&f.measured, "data", "d", "{}", "event whose touches are replayed, as `JSON`")
	flags.StringVar(&f.recorded, "record", "", "event that the working sets are recorded with, as `JSON` (default that of -d)")
	flags.StringSliceVar(&f.policies, "policies", nil, "`policies` to compare (default all)")
	flags.Float64Var(&f.factor, "factor", 17, "how much faster this processor is than the one that recorded: `1` under KVM, about 17 under emulation")
	flags.IntVar(&f.readahead, "readahead", 128, "the disk's readahead meanwhile in `KiB`, 0 leaves it")
	flags.StringVar(&f.html, "html", "", "`file` for a page of the results")
	return cmd
}

func (f replayFlags) options(names []string) (o bench.ReplayOptions, err error) {
	f.clones, f.all = []int{1}, f.policies == nil
	same, err := f.benchFlags.options(names)
	if err != nil {
		return o, err
	}
	if f.factor < 1 || f.factor > 1000 {
		return o, thaw.Errorf(thaw.CodeInvalid, "--factor %g is out of range: choose 1 to 1000", f.factor)
	}
	self, err := os.Executable()
	if err != nil {
		return o, thaw.Errorf(thaw.CodeUnavailable, "find this program: %w", err)
	}
	o = bench.ReplayOptions{
		Subjects: same.Subjects, N: same.N, Kinds: bench.Restoring(same.Kinds), Factor: f.factor, ReadaheadKiB: f.readahead,
		Command: func() *exec.Cmd { return exec.Command(self, standInName) },
	}
	if len(o.Kinds) == 0 {
		return o, thaw.Errorf(thaw.CodeInvalid, "--policies names none that restores")
	}
	return o, nil
}

func (a *app) replay(cmd *cobra.Command, names []string, f replayFlags) error {
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
	replayed, err := bench.Replay(cmd.Context(), c, o, meter.show)
	meter.close()
	if !replayed.Measured() {
		return err
	}
	if f.html != "" {
		if e := writePage(f.html, report.Data{Replay: &replayed}); e != nil {
			return errors.Join(err, e)
		}
	}
	if a.asValues() {
		return errors.Join(err, a.value(replayed))
	}
	return errors.Join(err, written(replayed.WriteText(a.stdout)))
}

const standInName = "stand-in"

// newStandInCommand is what replay runs; people have no use for it.
func newStandInCommand() *cobra.Command {
	return &cobra.Command{
		Use: standInName, Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return standin.Serve() },
	}
}
