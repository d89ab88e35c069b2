package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
)

// group returns a command that only holds others.
func group(use, short, long, example string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(children...)
	return cmd
}

func newQueueCommand(a *app) *cobra.Command {
	return group("queue", "List, redrive and purge asynchronous invocations",
		`List, redrive and purge asynchronous invocations that were accepted and are not
done. One that fails for good becomes a dead letter, with the reason, and stays
until it is redriven or purged.`,
		"  thaw queue ls\n  thaw queue dlq ls\n  thaw queue redrive --all",
		newQueueListCommand(a, "", "List what is in the queue", "  thaw queue ls\n  thaw queue ls -o json"),
		newQueueShowCommand(a),
		group("dlq", "List dead letters", "List dead letters: what was given up, and why.", "  thaw queue dlq ls",
			newQueueListCommand(a, thaw.ItemDead, "List dead letters", "  thaw queue dlq ls")),
		newQueueChangeCommand(a, "redrive", "Have dead letters tried again", "Have dead letters tried as if they were new: the one called ID, or all.", "redriven",
			"  thaw queue redrive --all", thaw.ItemDead, (*client.Client).Redrive),
		newQueueChangeCommand(a, "purge", "Remove what does not run", "Remove items that do not run, dead letters among them: the one called ID, or all.", "purged",
			"  thaw queue purge --all", "", (*client.Client).Purge))
}

func newQueueListCommand(a *app, state thaw.ItemState, short, example string) *cobra.Command {
	return a.quietFlag(&cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: short, Example: example,
		Long: short + ". ATTEMPTS counts those that failed since it was accepted or\nredriven, by its own fault and the platform's.",
		Args: arguments(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(func(c *client.Client) error {
				all, err := c.Queue(cmd.Context(), thaw.ItemFilter{State: state})
				if err != nil {
					return err
				}
				l := listing{values: all, head: []string{"ID", "FUNCTION", "KIND", "SOURCE", "STATE", "ACCEPTED", "ATTEMPTS", "SIZE", "REASON"}}
				for _, i := range all {
					l.names = append(l.names, i.ID)
					l.rows = append(l.rows, []string{i.ID, orDash(i.Ref().String()), string(i.Kind), i.Source, string(i.State), ago(i.Accepted), strconv.Itoa(i.Failures + i.Faults), size(int64(i.Bytes)), orDash(cause(i.Reason))})
				}
				return a.list(l)
			})
		},
	}, "print ids alone")
}

func newQueueShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show everything about an item of the queue", Long: "Show everything about an item of the queue, as JSON: its attempts and its payload.",
		Example: "  thaw queue show 8e7b3c0a-4f0e-4d7e-9a55-0b6f3f1f2d11", Args: arguments("ID"), ValidArgsFunction: a.complete(false, itemIDs("")),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := thaw.CheckItemID(args[0]); err != nil {
				return err
			}
			return a.withClient(func(c *client.Client) error {
				it, err := c.QueueItem(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return a.value(it)
			})
		},
	}
}

func newQueueChangeCommand(a *app, verb, short, long, done, example string, completed thaw.ItemState, do func(*client.Client, context.Context, thaw.ItemFilter) (int, error)) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: verb + " [ID]", Short: short, Long: long, Example: example, ValidArgsFunction: a.complete(false, itemIDs(completed)),
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 && !all:
				return fmt.Errorf("ID is missing, or --all")
			case len(args) > 1 || len(args) == 1 && all:
				return fmt.Errorf("unexpected argument %q", args[len(args)-1])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var f thaw.ItemFilter
			if len(args) == 1 {
				if err := thaw.CheckItemID(args[0]); err != nil {
					return err
				}
				f.ID = args[0]
			}
			return a.withClient(func(c *client.Client) error {
				n, err := do(c, cmd.Context(), f)
				if err != nil {
					return err
				}
				if a.asValues() {
					return a.value(map[string]int{done: n})
				}
				_, err = fmt.Fprintf(a.stdout, "%d %s\n", n, done)
				return written(err)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	return cmd
}

func (a *app) withClient(do func(c *client.Client) error) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	return do(c)
}
