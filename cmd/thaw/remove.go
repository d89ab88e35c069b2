package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"thaw"
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
		RunE:              func(cmd *cobra.Command, args []string) error { return a.remove(cmd, args[0]) },
	}
}

func (a *app) remove(cmd *cobra.Command, name string) error {
	if err := thaw.CheckName(name); err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Remove(cmd.Context(), name); err != nil {
		return err
	}
	if a.format == formatJSON {
		return writeJSON(a.stdout, map[string]string{"removed": name})
	}
	_, err = fmt.Fprintf(a.stdout, "%s removed\n", name)
	return written(err)
}
