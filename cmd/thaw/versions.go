package main

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
)

func newVersionsCommand(a *app) *cobra.Command {
	return a.quietFlag(&cobra.Command{
		Use:   "versions NAME",
		Short: "List the versions of a function",
		Long: `List the versions of a function that are kept, newest first. SERVES marks the one
that invocations of NAME get. SNAPSHOT is ready, rebuilding, or none: then starts of
the version are boots, and the first of them has one made.`,
		Example: `  thaw versions hello
  thaw versions hello -o json | jq '.[] | select(.snapshot_state != "ready") | .version'`,
		Args:              arguments("NAME"),
		ValidArgsFunction: a.completeNames(),
		RunE:              a.onWholeFunction(a.versions),
	}, "print NAME:VERSION alone")
}

// onWholeFunction is [app.onFunction] for what is not about one version.
func (a *app) onWholeFunction(do func(ctx context.Context, c *client.Client, name string) error) func(*cobra.Command, []string) error {
	inner := a.onFunction(do)
	return func(cmd *cobra.Command, args []string) error {
		if err := thaw.CheckName(args[0]); err != nil {
			return err
		}
		return inner(cmd, args)
	}
}

func (a *app) versions(ctx context.Context, c *client.Client, name string) error {
	all, err := c.Versions(ctx, name)
	if err != nil {
		return err
	}
	head := []string{"VERSION", "SERVES", "ALIASES", "CREATED", "CODE", "SNAPSHOT", "DISK", "PROBLEM"}
	images := slices.ContainsFunc(all, func(v thaw.VersionInfo) bool { return v.Container != nil })
	if images {
		head = append(head, "IMAGE")
	}
	l := listing{values: all, head: head}
	for _, v := range all {
		serves := "-"
		if v.Serves {
			serves = "yes"
		}
		l.names = append(l.names, thaw.RefTo(v.Function, v.Number).String())
		row := []string{
			strconv.Itoa(v.Number), serves, orDash(strings.Join(v.Aliases, " ")), ago(v.Created), size(v.CodeBytes),
			string(v.SnapshotState), sizeOrDash(v.DiskBytes), orDash(cause(v.Problem)),
		}
		if images {
			row = append(row, orDash(imageOf(v.Version)))
		}
		l.rows = append(l.rows, row)
	}
	return a.list(l)
}

// imageOf names a version's image and begins its digest, "" if it is none.
func imageOf(v thaw.Version) string {
	if v.Image == nil || v.Container == nil {
		return ""
	}
	const digits = len("sha256:") + 12
	return v.Image.Reference + "@" + v.Container.Digest[:min(digits, len(v.Container.Digest))]
}

func newRollbackCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rollback NAME [VERSION]",
		Short: "Have an earlier version of a function serve again",
		Long: `Have the version of a function serve that did before, or the one that is named,
at once: nothing is built, its snapshot and its idle VMs are used. VMs of the version
that served until now end after their invocation, unless an alias names it. A version
without a good snapshot boots until another one has been made in the background.
Aliases stay where they are.`,
		Example: `  thaw rollback hello
  thaw rollback hello 3`,
		Args:              rollbackArguments,
		ValidArgsFunction: a.complete(false, functionNames, versionNumbers),
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := versionArgument(args[1:])
			if err != nil {
				return err
			}
			return a.onWholeFunction(func(ctx context.Context, c *client.Client, name string) error {
				return a.rollback(ctx, c, name, number)
			})(cmd, args)
		},
	}
}

// rollbackArguments wants NAME and lets VERSION follow it.
func rollbackArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return arguments("NAME", "VERSION")(cmd, args)
	}
	return arguments("NAME")(cmd, args)
}

// versionArgument is 0 of none.
func versionArgument(args []string) (int, error) {
	if len(args) == 0 {
		return 0, nil
	}
	return thaw.ParseVersion(args[0])
}

func (a *app) rollback(ctx context.Context, c *client.Client, name string, number int) error {
	v, err := c.Rollback(ctx, name, number)
	if err != nil {
		return err
	}
	if a.asValues() {
		return a.value(v)
	}
	return a.serves(v)
}
