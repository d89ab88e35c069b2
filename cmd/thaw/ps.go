package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
)

func newPsCommand(a *app) *cobra.Command {
	return a.quietFlag(&cobra.Command{
		Use:   "ps",
		Short: "List running VMs",
		Long:  "List the VMs that run now. START says how each was made, SERVED how many\ninvocations it has had, MEMORY what its process occupies, the\npage cache included, and OWN what would be free without it, which is charged to the memory\nbudget (thaw serve --memory-budget); with a ~ it is a guess, not measured yet.",
		Example: `  thaw ps
  thaw ps -o json`,
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.ps(cmd) },
	}, "print ids alone")
}

func (a *app) ps(cmd *cobra.Command) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	all, err := c.Instances(cmd.Context())
	if err != nil {
		return err
	}
	l := listing{values: all, head: instanceHead(), rows: instanceRows(all)}
	for _, i := range all {
		l.names = append(l.names, i.ID)
	}
	if !a.asValues() && !a.quiet {
		if err := a.warnOfBooted(cmd.Context(), c, all); err != nil {
			return err
		}
	}
	return a.list(l)
}

// warnOfBooted warns of the versions whose VMs had to boot, as they have no snapshot.
func (a *app) warnOfBooted(ctx context.Context, c *client.Client, all []thaw.Instance) error {
	seen := map[string]bool{}
	for _, i := range all {
		ref := thaw.RefTo(i.Function, i.Version).String()
		if i.Start != thaw.StartBoot || seen[ref] {
			continue
		}
		seen[ref] = true
		d, err := c.Describe(ctx, ref)
		if thaw.CodeOf(err) == thaw.CodeNotFound {
			continue // removed meanwhile
		}
		if err != nil {
			return err
		}
		if d.Snapshot == "" {
			a.warnOfBoots(d.Version)
		}
	}
	return nil
}

func instanceHead() []string {
	return []string{"INSTANCE", "FUNCTION", "VERSION", "STATE", "START", "POLICY", "PID", "MEMORY", "OWN", "SERVED", "CREATED"}
}

func instanceRows(all []thaw.Instance) [][]string {
	rows := make([][]string, 0, len(all))
	for _, i := range all {
		rows = append(rows, []string{
			i.ID, i.Function, strconv.Itoa(i.Version), string(i.State), string(i.Start), string(i.Policy),
			strconv.Itoa(i.PID), size(i.RSSBytes), ownMemory(i), strconv.Itoa(i.Invocations), ago(i.Created),
		})
	}
	return rows
}

func ownMemory(i thaw.Instance) string {
	if !i.MemoryMeasured {
		return "~" + size(i.MemoryBytes)
	}
	return size(i.MemoryBytes)
}
