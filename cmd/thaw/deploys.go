package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"thaw"
)

func newDeploysCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deploys",
		Short: "List the latest deploy of each function",
		Long: `List the latest deploy of each function: those under way with their step, those that
are done, and those that have failed with the reason. RESUMED is how many daemons went
on with it after the one before was killed. With -o json every step is there.`,
		Example: `  thaw deploys
  thaw deploys -o json | jq '.[] | select(.state == "running")'`,
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.deploys(cmd) },
	}
	return a.quietFlag(cmd, "print the functions' names alone")
}

func (a *app) deploys(cmd *cobra.Command) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	all, err := c.Publishes(cmd.Context())
	if err != nil {
		return err
	}
	l := listing{values: all, head: []string{"FUNCTION", "VERSION", "STATE", "STEP", "BEGAN", "TOOK", "RESUMED", "ERROR"}}
	for _, p := range all {
		number := "-"
		if p.Number > 0 {
			number = strconv.Itoa(p.Number)
		}
		l.names = append(l.names, p.Function)
		l.rows = append(l.rows, []string{p.Function, number, string(p.State), p.Step, ago(p.Began), took(p), strconv.Itoa(p.Resumed), orDash(cause(p.Error))})
	}
	return a.list(l)
}

// took is how long a deploy took, or has so far.
func took(p thaw.Publish) string {
	end := p.Ended
	if end.IsZero() {
		end = time.Now()
	}
	return duration(float64(end.Sub(p.Began)) / float64(time.Millisecond))
}

// deployLine tells of a deploy in a line of a description.
func deployLine(p thaw.Publish) string {
	text := fmt.Sprintf("%s, %s, took %s", p.State, ago(p.Began), took(p))
	switch p.State {
	case thaw.PublishRunning:
		text = fmt.Sprintf("of version %d under way since %s, step %s", p.Number, ago(p.Began), p.Step)
	case thaw.PublishFailed:
		text += ", at step " + p.Step + ": " + oneLine(p.Error)
	}
	if p.Resumed > 0 {
		text += fmt.Sprintf("; resumed %d times, by daemons after the one that began it", p.Resumed)
	}
	return text
}
