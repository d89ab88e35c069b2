package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/bench/report"
	"thaw/scale/simulate"
)

type simulateFlags struct {
	memory     []string
	apps, days int
	seed       uint64
	html, svg  string
}

// The bounds of a synthetic trace, which has to be in memory.
const (
	maxApps = 100_000
	maxDays = 31
)

func newSimulateCommand(a *app) *cobra.Command {
	var f simulateFlags
	cmd := &cobra.Command{
		Use:   "simulate [FILE...]",
		Short: "Tell what keep-alive policies would cost on a trace of invocations",
		Long: `Tell what keep-alive policies would cost on a trace of invocations: cold starts on
one side, memory that waits for nothing on the other. It decides by the code that
the daemon decides by (docs/scaling.md).

Each FILE is a day of the Azure Functions trace of 2019, in order:
invocations_per_function_md.anon.d01.csv and so on, which are to be had at
https://github.com/Azure/AzurePublicDataset. Without any, a synthetic trace is made by
distributions that were published of it, and is said to be one. No daemon is needed.`,
		Example: `  thaw simulate
  thaw simulate invocations_per_function_md.anon.d*.csv --memory app_memory_percentiles.anon.d01.csv
  thaw simulate --apps 5000 --days 7 --seed 3 --html policies.html`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.simulate(cmd, args, f) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.memory, "memory", nil, "`files` of what applications occupied (app_memory_percentiles…); without, all the same")
	flags.IntVar(&f.apps, "apps", 1000, "applications of a synthetic trace")
	flags.IntVar(&f.days, "days", 7, "days of a synthetic trace")
	flags.Uint64Var(&f.seed, "seed", 1, "what a synthetic trace is drawn by: the same gives the same")
	flags.StringVar(&f.html, "html", "", "`file` for a page of the results")
	flags.StringVar(&f.svg, "svg", "", "`file` for the picture alone")
	return cmd
}

func (f simulateFlags) check(cmd *cobra.Command, files []string) error {
	for _, name := range []string{"apps", "days", "seed"} {
		if len(files) > 0 && cmd.Flags().Changed(name) {
			return thaw.Errorf(thaw.CodeInvalid, "--%s is for a synthetic trace, and %s is one that was measured: give one of the two", name, files[0])
		}
	}
	if len(files) == 0 && len(f.memory) > 0 {
		return thaw.Errorf(thaw.CodeInvalid, "--memory belongs to files of invocations: name these, too")
	}
	if f.apps < 1 || f.apps > maxApps || f.days < 1 || f.days > maxDays {
		return thaw.Errorf(thaw.CodeInvalid, "--apps must be 1 to %d, and --days 1 to %d", maxApps, maxDays)
	}
	for _, name := range []string{f.html, f.svg} {
		if err := checkOutput(name); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) simulate(cmd *cobra.Command, files []string, f simulateFlags) error {
	if err := f.check(cmd, files); err != nil {
		return err
	}
	t, err := f.trace(files)
	if err != nil {
		return err
	}
	results := simulate.Run(t, simulate.Policies())
	if f.html != "" {
		if err := writeAside(f.html, func(w io.Writer) error { return report.WriteSimulation(w, t, results) }); err != nil {
			return err
		}
	}
	if f.svg != "" {
		if err := writeAside(f.svg, func(w io.Writer) error { return report.WriteSimulationSVG(w, results) }); err != nil {
			return err
		}
	}
	return a.simulated(t, results)
}

// trace reads or makes what is simulated.
func (f simulateFlags) trace(files []string) (simulate.Trace, error) {
	if len(files) == 0 {
		return simulate.Synthetic(f.seed, f.apps, f.days), nil
	}
	r := simulate.NewReader()
	for _, each := range []struct {
		names []string
		read  func(string, io.Reader) error
	}{{files, r.Invocations}, {f.memory, r.Memory}} {
		for _, name := range each.names {
			if err := readTrace(name, each.read); err != nil {
				return simulate.Trace{}, err
			}
		}
	}
	return r.Trace(strings.Join(files, ", "))
}

func readTrace(name string, read func(string, io.Reader) error) error {
	file, err := os.Open(name)
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "read a trace: %w", err)
	}
	defer file.Close()
	return read(name, file)
}

// simulation is the result as JSON.
type simulation struct {
	Source    string            `json:"source"`
	Synthetic bool              `json:"synthetic"`
	Apps      int               `json:"apps"`
	Minutes   int               `json:"minutes"`
	Results   []simulate.Result `json:"results"`
}

func (a *app) simulated(t simulate.Trace, results []simulate.Result) error {
	if a.asValues() {
		return a.value(simulation{t.Source, t.Synthetic, len(t.Apps), t.Length, results})
	}
	kind := "trace"
	if t.Synthetic {
		kind = "SYNTHETIC trace, which nobody made"
	}
	if _, err := fmt.Fprintf(a.stdout, "%s: %s\n%s applications, %s invocations\n\n", kind, printable(t.Source), count(int64(len(t.Apps))), count(int64(results[0].Invocations))); err != nil {
		return written(err)
	}
	rows := make([][]string, 0, len(results))
	for _, r := range results {
		rows = append(rows, []string{
			r.Policy, share(r.ColdShare()), share(r.P50), share(r.P75), share(r.P99), share(r.AlwaysCold), share(r.Wasted), count(int64(r.WastedGBs)), share(r.ByHistogram),
		})
	}
	return writeTable(a.stdout, []string{"POLICY", "COLD", "APP P50", "P75", "P99", "ALWAYS COLD", "MEMORY", "GB·S", "BY HISTOGRAM"}, rows)
}

func share(v float64) string { return fmt.Sprintf("%.1f%%", 100*v) }
