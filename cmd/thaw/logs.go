package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
	"thaw/gateway/api"
)

type logsFlags struct {
	follow         bool
	lines          int
	request, since string
}

func newLogsCommand(a *app) *cobra.Command {
	var f logsFlags
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "Print what a function wrote",
		Long: `Print the newest lines that a function wrote and that thaw wrote about it,
newest last: time, VM, stream, text; of NAME:QUALIFIER those of that version. With
-o json each line is a JSON object.

The daemon keeps at least the newest 4 MiB of each function's log, and at most 8.`,
		Example: `  thaw logs hello
  thaw logs hello -f -n 0
  thaw logs hello --since 10m --request 6f1c…
  thaw logs hello -o json | jq 'select(.stream == "stderr")'`,
		Args:              arguments("NAME"),
		ValidArgsFunction: a.completeRefs(),
	}
	cmd.RunE = a.onFunction(func(ctx context.Context, c *client.Client, name string) error {
		q, err := f.query(time.Now())
		if err != nil {
			return err
		}
		return a.logs(ctx, c, name, q, f.follow)
	})
	flags := cmd.Flags()
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on with each line as it is written, until interrupted")
	flags.IntVarP(&f.lines, "lines", "n", api.DefaultLogLines, "how many of the newest `lines` to begin with")
	flags.StringVar(&f.request, "request", "", "only the lines of the invocation with this `id`")
	flags.StringVar(&f.since, "since", "", "only lines since a `time`, or not older than a duration such as 10m")
	return cmd
}

func (f logsFlags) query(now time.Time) (q thaw.LogQuery, err error) {
	if f.lines < 0 || f.lines > api.MaxLogLines || f.lines == 0 && !f.follow {
		return q, thaw.Errorf(thaw.CodeInvalid, "-n %d is not valid: choose 1 to %d, or with -f also 0", f.lines, api.MaxLogLines)
	}
	q = thaw.LogQuery{Limit: f.lines, RequestID: f.request}
	if q.Since, err = api.ParseSince(f.since, now); err != nil {
		return q, fmt.Errorf("--since: %w", err)
	}
	return q, nil
}

func (a *app) logs(ctx context.Context, c *client.Client, name string, q thaw.LogQuery, follow bool) error {
	if follow {
		return c.FollowLogs(ctx, name, q, a.printLog)
	}
	lines, err := c.Logs(ctx, name, q)
	if err != nil {
		return err
	}
	for _, line := range lines {
		if err := a.printLog(line); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printLog(l thaw.LogLine) error {
	if a.asValues() {
		return a.nextValue(l)
	}
	const stamp = "2006-01-02 15:04:05.000"
	_, err := fmt.Fprintf(a.stdout, "%s %s %-8s %s\n", l.Time.Local().Format(stamp), printable(orDash(l.Instance)), printable(l.Stream), printable(l.Text))
	return written(err)
}
