package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"thaw"
)

func newListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List functions",
		Long:    "List the version of each function that serves. START says how it starts when no VM\nis idle: from a snapshot, or by booting because it has none.",
		Example: `  thaw ls
  thaw ls -o json`,
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.list(cmd) },
	}
}

func (a *app) list(cmd *cobra.Command) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	all, err := c.Functions(cmd.Context())
	if err != nil {
		return err
	}
	if a.format == formatJSON {
		return writeJSON(a.stdout, all)
	}
	rows := make([][]string, 0, len(all))
	for _, v := range all {
		rows = append(rows, []string{v.Function, strconv.Itoa(v.Number), string(v.Runtime), size(v.MemoryBytes), size(v.CodeBytes), startOf(v), ago(v.Created)})
	}
	return writeTable(a.stdout, []string{"FUNCTION", "VERSION", "RUNTIME", "MEMORY", "CODE", "START", "CREATED"}, rows)
}

func startOf(v thaw.Version) string {
	if v.Snapshot == "" {
		return "boot"
	}
	return "snapshot"
}
