package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/bench/peers"
)

type peersFlags struct {
	n, readahead            int
	event, goFile           string
	dir, cache, runsc, criu string
	peers                   []string
}

func newPeersCommand(a *app) *cobra.Command {
	var f peersFlags
	cmd := &cobra.Command{
		Use:   "peers [NAME]",
		Short: "Measure how gVisor, CRIU and QEMU by itself restore the same function",
		Long: `Measure how gVisor, CRIU and QEMU by itself restore the same function, in turns with
thaw: from the start of the restore, a command or a request, to the function's first
reply, which must be the right one. Without NAME a small function is deployed and
removed afterwards; NAME must be of python3.

Before each start every file that it may read is dropped from the page cache, and
the measurement is refused unless nothing is left there (mincore). The disk's
readahead is set to --readahead KiB meanwhile and put back afterwards. The peers run
the same files as the daemon's guests, out of --dir, and nothing of them is left.

What the machine lacks is skipped, with the reason, unless --peers names it. A runsc
is built once, with Go through its module proxy, and kept in --cache, unless --runsc
names one. Runs as root on the daemon's machine. With -o json every sample is
printed; --go writes them in the Go benchmark format, for benchstat.`,
		Example: `  thaw bench peers -n 10
  thaw bench peers hello -d '{"name": "Ada"}' --peers qemu
  thaw bench peers --runsc /usr/bin/runsc --criu /opt/criu/bin/criu --go peers.txt`,
		Args:              atMostName,
		ValidArgsFunction: a.completeRefs(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.peers(cmd, args, f)
		},
	}
	flags := cmd.Flags()
	flags.IntVarP(&f.n, "samples", "n", 10, "how many restores by each")
	flags.StringVarP(&f.event, "data", "d", `{"name": "thaw"}`, "event that is measured, as `JSON`")
	flags.StringSliceVar(&f.peers, "peers", nil, "`peers` that must be measured, of "+strings.Join(peers.Names(), ", ")+" (default all that the machine can do)")
	flags.IntVar(&f.readahead, "readahead", 128, "the disk's readahead meanwhile in `KiB`, 0 leaves it")
	flags.StringVar(&f.dir, "dir", "/var/tmp", "`folder` for the snapshots of the peers, on the disk of the daemon's")
	flags.StringVar(&f.cache, "cache", "", "`folder` that keeps the runsc that is built (default thaw in the user's cache folder)")
	flags.StringVar(&f.runsc, "runsc", "", "`program` of gVisor to measure instead")
	flags.StringVar(&f.criu, "criu", "", "`program` of CRIU to measure (default the installed one)")
	flags.StringVar(&f.goFile, "go", "", "`file` for the samples in the Go benchmark format")
	completeWords(cmd, "peers", peers.Names()...)
	return cmd
}

// atMostName wants NAME or nothing.
func atMostName(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return arguments("NAME")(cmd, args)
}

func (f peersFlags) options(names []string) (o peers.Options, err error) {
	if err := f.check(names); err != nil {
		return o, err
	}
	o = peers.Options{N: f.n, Peers: f.peers, ReadaheadKiB: f.readahead, Dir: f.dir, Cache: f.cache, Runsc: f.runsc, Criu: f.criu}
	if len(names) > 0 {
		o.Function = names[0]
	}
	if o.Cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return o, thaw.Errorf(thaw.CodeInvalid, "find the cache folder: %w: name one with --cache", err)
		}
		o.Cache = filepath.Join(dir, "thaw")
	}
	o.Event, err = checkEvent("-d", []byte(f.event))
	return o, err
}

func (f peersFlags) check(names []string) error {
	for _, name := range names {
		if err := thaw.CheckName(name); err != nil {
			return err
		}
	}
	for _, p := range f.peers {
		if !slices.Contains(peers.Names(), p) {
			return thaw.Errorf(thaw.CodeInvalid, "unknown peer %q: choose of %s", p, strings.Join(peers.Names(), ", "))
		}
	}
	return benchFlags{n: f.n, clones: []int{1}, readahead: f.readahead, goFile: f.goFile}.check()
}

func (a *app) peers(cmd *cobra.Command, names []string, f peersFlags) error {
	o, err := f.options(names)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	o.Say = func(step string) { fmt.Fprintln(a.stderr, "  "+step) }
	meter := a.meter()
	report, err := peers.Run(cmd.Context(), c, o, meter.show)
	meter.close()
	if err != nil {
		return err
	}
	if f.goFile != "" {
		if err := writeAside(f.goFile, report.WriteGo); err != nil {
			return err
		}
	}
	if a.asValues() {
		return a.value(report.WithRatios())
	}
	return written(report.WriteText(a.stdout))
}
