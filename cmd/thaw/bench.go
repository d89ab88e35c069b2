package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"thaw"
	"thaw/bench"
)

type benchFlags struct {
	n, readahead int
	data, goFile string
}

func newBenchCommand(a *app) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench NAME",
		Short: "Measure how a function starts: cold by each policy, and warm",
		Long: `Measure how a function starts: cold by vanilla and reap, with the VMM started on
demand as published, the same with a VMM that was waiting, and warm, in turns.

Before each cold start every file of the function is dropped from the page cache,
and the measurement is refused unless nothing is left there (mincore). The disk's
readahead is set to --readahead KiB meanwhile and put back afterwards. Runs as
root on the daemon's machine. With -o json every sample is printed; --go writes
them in the Go benchmark format, for benchstat.`,
		Example: `  thaw bench hello -n 10
  thaw bench hello -n 30 -d '{"name": "Ada"}' --go hello.txt`,
		Args:              arguments("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.bench(cmd, args[0], f)
		},
	}
	flags := cmd.Flags()
	flags.IntVarP(&f.n, "samples", "n", 10, "how many samples of each kind")
	flags.StringVarP(&f.data, "data", "d", "{}", "event as `JSON`")
	flags.IntVar(&f.readahead, "readahead", 128, "the disk's readahead meanwhile in `KiB`, 0 leaves it")
	flags.StringVar(&f.goFile, "go", "", "`file` for the samples in the Go benchmark format")
	return cmd
}

func (f benchFlags) options(name string) (bench.Options, error) {
	o := bench.Options{
		Function: name, N: f.n, ReadaheadKiB: f.readahead,
		Kinds: []bench.Kind{bench.KindVanilla, bench.KindReap, bench.KindVanillaPool, bench.KindReapPool, bench.KindWarm},
	}
	if f.n < 1 || f.n > 10_000 {
		return o, thaw.Errorf(thaw.CodeInvalid, "-n %d is out of range: choose 1 to 10000", f.n)
	}
	if f.readahead < 0 {
		return o, thaw.Errorf(thaw.CodeInvalid, "--readahead %d is negative", f.readahead)
	}
	if err := checkFolder(f.goFile); err != nil {
		return o, err
	}
	var err error
	o.Payload, err = checkEvent("-d", []byte(f.data))
	return o, err
}

// checkFolder refuses an output file that could not be written, before hours of
// measuring.
func checkFolder(file string) error {
	if file == "" {
		return nil
	}
	if info, err := os.Stat(filepath.Dir(file)); err != nil || !info.IsDir() {
		return thaw.Errorf(thaw.CodeInvalid, "cannot write %s: its folder does not exist", file)
	}
	return nil
}

func (a *app) bench(cmd *cobra.Command, name string, f benchFlags) error {
	o, err := f.options(name)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	meter := a.meter()
	report, err := bench.Run(cmd.Context(), c, o, meter.show)
	meter.close()
	if err != nil {
		return err
	}
	if f.goFile != "" {
		if err := writeSamples(report, f.goFile); err != nil {
			return err
		}
	}
	if a.format == formatJSON {
		return writeJSON(a.stdout, struct {
			bench.Report
			Findings bench.Findings `json:"findings"`
		}{report, report.Findings()})
	}
	return written(report.WriteText(a.stdout))
}

func writeSamples(r bench.Report, name string) error {
	f, err := renameio.NewPendingFile(name, renameio.WithPermissions(0o644))
	if err != nil {
		return written(err)
	}
	defer f.Cleanup()
	if err := r.WriteGo(f); err != nil {
		return written(err)
	}
	return written(f.CloseAtomicallyReplace())
}

// meter shows how far a long command is.
type meter struct {
	out  *app
	live bool
	last int
}

func (a *app) meter() *meter { return &meter{out: a, live: isTerminal(a.stderr), last: -1} }

// show draws one line on a terminal; elsewhere it writes a line per tenth.
func (m *meter) show(done, total int, what string) {
	line := fmt.Sprintf("  %d of %d samples, now %s", done, total, what)
	if m.live {
		fmt.Fprint(m.out.stderr, "\r\x1b[K"+line)
		return
	}
	if tenth := done * 10 / max(total, 1); tenth != m.last {
		m.last = tenth
		fmt.Fprintln(m.out.stderr, line)
	}
}

func (m *meter) close() {
	if m.live {
		fmt.Fprint(m.out.stderr, "\r\x1b[K")
	}
}
