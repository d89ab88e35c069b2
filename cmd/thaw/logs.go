package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
	"thaw/gateway/api"
)

func newLogsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "logs NAME",
		Short: "Print what a function wrote",
		Long: fmt.Sprintf(`Print the newest %d lines that a function wrote and that thaw wrote about it,
newest last: time, VM, stream, text; of NAME:QUALIFIER those of that version. With
-o json each line is a JSON object.`, api.DefaultLogLines),
		Example: `  thaw logs hello
  thaw logs hello -o json | jq 'select(.stream == "stderr")'`,
		Args:              arguments("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE:              a.onFunction(a.logs),
	}
}

func (a *app) logs(ctx context.Context, c *client.Client, name string) error {
	lines, err := c.Logs(ctx, name, 0)
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
	if a.format == formatJSON {
		return writeLine(a.stdout, l)
	}
	const stamp = "2006-01-02 15:04:05.000"
	_, err := fmt.Fprintf(a.stdout, "%s %s %-8s %s\n", l.Time.Local().Format(stamp), printable(orDash(l.Instance)), printable(l.Stream), printable(l.Text))
	return written(err)
}
