package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"thaw/client"
)

func newRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME[:VERSION]",
		Aliases: []string{"remove"},
		Short:   "Remove a function, or one version of it",
		Long: `Remove a function with all its versions, snapshots and schedules, and end its VMs; or
of NAME:VERSION that version, unless it serves, an alias or a schedule names it, or
invocations of it run. The folder it was deployed from is not touched.`,
		Example: `  thaw rm hello
  thaw rm hello:3`,
		Args: arguments("NAME"),

		ValidArgsFunction: a.completeRefs(),
		RunE:              a.onFunction(a.remove),
	}
}

func (a *app) remove(ctx context.Context, c *client.Client, name string) error {
	if err := c.Remove(ctx, name); err != nil {
		return err
	}
	return a.removed(name)
}

func (a *app) removed(name string) error {
	if a.asValues() {
		return a.value(map[string]string{"removed": name})
	}
	_, err := fmt.Fprintf(a.stdout, "%s removed\n", name)
	return written(err)
}
