package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"thaw"
)

func newListCommand(a *app) *cobra.Command {
	var q thaw.FunctionQuery
	cmd := &cobra.Command{
		Use:     "ls [PREFIX]",
		Aliases: []string{"list"},
		Short:   "List functions",
		Long:    "List the version of each function that serves. START says how it starts when no VM\nis idle: from a snapshot, or by booting because it has none. With PREFIX only those are\nlisted whose names begin with it.",
		Example: `  thaw ls
  thaw ls team-a- --limit 50
  thaw ls -q
  thaw ls -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.Limit < 0 {
				return thaw.Errorf(thaw.CodeInvalid, "--limit cannot be negative")
			}
			q.Prefix = strings.Join(args, "")
			return a.functions(cmd, q)
		},
	}
	cmd.Flags().IntVar(&q.Limit, "limit", 0, "most functions to list, 0 for all")
	cmd.Flags().StringVar(&q.After, "after", "", "list those after this `NAME`")
	return a.quietFlag(cmd, "print names alone")
}

func (a *app) functions(cmd *cobra.Command, q thaw.FunctionQuery) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	all, more, err := c.List(cmd.Context(), q)
	if err != nil {
		return err
	}
	a.warnOfAllBoots(all)
	l := listing{values: all, head: []string{"FUNCTION", "VERSION", "RUNTIME", "MEMORY", "CODE", "START", "CREATED"}}
	for _, v := range all {
		l.names = append(l.names, v.Function)
		l.rows = append(l.rows, []string{v.Function, strconv.Itoa(v.Number), string(v.Runtime), size(v.MemoryBytes), size(v.CodeBytes), startOf(v), ago(v.Created)})
	}
	if err := a.list(l); err != nil || !more {
		return err
	}
	fmt.Fprintf(a.stderr, "there are more: go on with --after %s\n", all[len(all)-1].Function)
	return nil
}

func startOf(v thaw.Version) string {
	if v.Snapshot == "" {
		return "boot, no snapshot"
	}
	return "snapshot"
}
