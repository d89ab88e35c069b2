package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"thaw/client"
)

func newRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME",
		Aliases: []string{"remove"},
		Short:   "Remove a function",
		Long:    "Remove a function with all its versions and snapshots, and end its VMs. The\nfolder it was deployed from is not touched.",
		Example: `  thaw rm hello`,
		Args:    arguments("NAME"),

		ValidArgsFunction: a.completeNames,
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
	if a.format == formatJSON {
		return writeJSON(a.stdout, map[string]string{"removed": name})
	}
	_, err := fmt.Fprintf(a.stdout, "%s removed\n", name)
	return written(err)
}
