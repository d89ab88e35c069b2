package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/bench"
	"thaw/client"
)

type demoFlags struct {
	images string
	n      int
}

func newDemoCommand(a *app) *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo DIR",
		Short: "Start a function in every way there is and compare",
		Long: `Start a function in every way there is and compare.

A daemon of its own, on a free port and with a state folder that is thrown away,
deploys the Python function in DIR (handler app.handler) and invokes it by boot,
cold by vanilla, reap, faasnap and thaw, and warm. Nothing is left running
afterwards. What guests boot from is kept in --images, so that the next demo is
quick.`,
		Example: "  thaw demo examples/hello",
		Args:    arguments("DIR"),

		ValidArgsFunction: completeFolders,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.demo(cmd.Context(), args[0], f)
		},
	}
	cmd.Flags().StringVar(&f.images, "images", "", "`folder` that keeps what guests boot from (default: thrown away)")
	cmd.Flags().IntVarP(&f.n, "samples", "n", 3, "how many starts of each kind, of which the median is shown")
	return cmd
}

const demoName = "hello"

func (a *app) demo(ctx context.Context, dir string, f demoFlags) (err error) {
	settings := thaw.Settings{}.WithDefaults()
	if err := checkCode(dir, settings); err != nil {
		return err
	}
	c, stop, err := a.ownDaemon(ctx, "", "--images", f.images)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	fmt.Fprintf(a.stderr, "deploying %s\n", dir)
	if err := a.demoDeploy(ctx, c, dir, settings); err != nil {
		return err
	}
	return a.demoStarts(ctx, c, f.n)
}

func (a *app) demoDeploy(ctx context.Context, c *client.Client, dir string, s thaw.Settings) error {
	code := pack(dir)
	defer code.Close()
	r := (&app{stderr: a.stderr, format: formatTable}).reporter()
	defer r.close()
	_, err := c.Deploy(ctx, demoName, s, code, r.event)
	return err
}

func (a *app) demoStarts(ctx context.Context, c *client.Client, n int) error {
	fmt.Fprintln(a.stderr, "invoking it: boot, cold by each policy, with a VMM waiting, warm")
	meter := a.meter()
	event := bench.Input{Event: []byte(`{"name": "thaw"}`)}
	report, err := bench.Run(ctx, c, bench.Options{
		Subjects: []bench.Subject{{Function: demoName, Recorded: event, Inputs: []bench.Input{event}}},
		N:        n, Clones: []int{1}, ReadaheadKiB: 128, Kinds: demoKinds(),
	}, meter.show)
	meter.close()
	if err != nil {
		return err
	}
	if a.asValues() {
		return a.value(report.WithFindings())
	}
	fmt.Fprintln(a.stdout)
	f := report.Functions[0]
	if err := f.WriteTable(a.stdout); err != nil {
		return written(err)
	}
	_, err = fmt.Fprintf(a.stdout, "\n%s\n\nGuests run by %s.\n", lesson(f), report.Environment.Accelerator)
	return written(err)
}

func demoKinds() []bench.Kind {
	return []bench.Kind{
		bench.Of(thaw.PolicyBoot, false), bench.Of(thaw.PolicyVanilla, false), bench.Of(thaw.PolicyReap, false),
		bench.Of(thaw.PolicyFaaSnap, false), bench.Of(thaw.PolicyThaw, true), bench.KindWarm,
	}
}

// lesson says in words what the table shows.
func lesson(f bench.Function) string {
	total := func(k bench.Kind) float64 { return f.Median(k, bench.Total) }
	k := demoKinds()
	return fmt.Sprintf(`What you see: a boot takes %.1f s. The same function, restored from its memory snapshot with nothing in the
page cache, answers in %.0f ms when the kernel fetches each page at its first touch (vanilla, %.0f major faults),
and in %.0f ms when the %d pages it is known to need come in with one read (reap, %.0f faults left), or in
%.0f ms when the kernel maps them from a file that is read ahead (faasnap). What you get is thaw: %.0f ms, with a
VMM that was waiting and one read that serves all clones. Warm, it takes %.1f ms.`,
		total(k[0])/1e3, total(k[1]), f.Median(k[1], bench.MajorFaults),
		total(k[2]), f.WorkingSetPages, f.Median(k[2], bench.FaultsLeft),
		total(k[3]), total(k[4]), total(k[5]))
}
