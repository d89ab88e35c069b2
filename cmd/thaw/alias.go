package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
)

func newAliasCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "alias",
		Short: "Name versions, and share invocations out between them",
		Long: `Name versions of a function. An alias is invoked as NAME:ALIAS; it can be moved to
another version, and can share invocations out between several.`,
		Example: `  thaw alias set hello live 3
  thaw alias ls hello`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAliasSetCommand(a), newAliasListCommand(a), newAliasRemoveCommand(a))
	return cmd
}

func newAliasSetCommand(a *app) *cobra.Command {
	var weights []string
	cmd := &cobra.Command{
		Use:   "set NAME ALIAS VERSION",
		Short: "Make an alias, or move it",
		Long: `Make an alias of a function that names a version, or move it there. With --weight
another version gets a share of the invocations, drawn for each of them. The weights
are those of this command: without any, VERSION gets all.`,
		Example: `  thaw alias set hello live 3
  thaw alias set hello live 3 --weight 4=0.1`,
		Args:              arguments("NAME", "ALIAS", "VERSION"),
		ValidArgsFunction: a.complete(false, functionNames, aliasNames, versionNumbers),
		RunE: func(cmd *cobra.Command, args []string) error {
			alias, err := parseAlias(args[1], args[2], weights)
			if err != nil {
				return err
			}
			return a.onWholeFunction(func(ctx context.Context, c *client.Client, name string) error {
				return a.setAlias(ctx, c, name, alias)
			})(cmd, args)
		},
	}
	cmd.Flags().StringArrayVar(&weights, "weight", nil, "share of the invocations that another version gets, as `VERSION=0.1`, may be repeated")
	return cmd
}

func parseAlias(name, version string, weights []string) (a thaw.Alias, err error) {
	a.Name = name
	if a.Version, err = thaw.ParseVersion(version); err != nil {
		return a, err
	}
	for _, text := range weights {
		other, weight, _ := strings.Cut(text, "=")
		w, err := strconv.ParseFloat(weight, 64)
		if err != nil {
			return a, thaw.Errorf(thaw.CodeInvalid, "--weight %q is not valid: write VERSION=0.1", text)
		}
		n, err := thaw.ParseVersion(other)
		if err != nil {
			return a, err
		}
		if _, twice := a.Weights[n]; twice {
			return a, thaw.Errorf(thaw.CodeInvalid, "--weight of version %d is given twice", n)
		}
		if a.Weights == nil {
			a.Weights = map[int]float64{}
		}
		a.Weights[n] = w
	}
	return a, a.Validate()
}

func (a *app) setAlias(ctx context.Context, c *client.Client, name string, alias thaw.Alias) error {
	if err := c.SetAlias(ctx, name, alias); err != nil {
		return err
	}
	if a.asValues() {
		return a.value(alias)
	}
	_, err := fmt.Fprintf(a.stdout, "%s:%s is %s\n", name, alias.Name, routing(alias))
	return written(err)
}

// routing says in words which versions an alias names.
func routing(a thaw.Alias) string {
	text := fmt.Sprintf("version %d", a.Version)
	for _, n := range slices.Sorted(maps.Keys(a.Weights)) {
		text += fmt.Sprintf(", version %d for %s %% of invocations", n, strconv.FormatFloat(100*a.Weights[n], 'g', 4, 64))
	}
	return text
}

func newAliasListCommand(a *app) *cobra.Command {
	return a.quietFlag(&cobra.Command{
		Use:               "ls NAME",
		Aliases:           []string{"list"},
		Short:             "List the aliases of a function",
		Long:              "List the aliases of a function and the versions they name.",
		Example:           "  thaw alias ls hello\n  thaw alias ls hello -o json",
		Args:              arguments("NAME"),
		ValidArgsFunction: a.completeNames(),
		RunE:              a.onWholeFunction(a.listAliases),
	}, "print NAME:ALIAS alone")
}

func (a *app) listAliases(ctx context.Context, c *client.Client, name string) error {
	all, err := c.Aliases(ctx, name)
	if err != nil {
		return err
	}
	l := listing{values: all, head: []string{"ALIAS", "NAMES"}}
	for _, alias := range all {
		l.names = append(l.names, name+":"+alias.Name)
		l.rows = append(l.rows, []string{alias.Name, routing(alias)})
	}
	return a.list(l)
}

func newAliasRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "rm NAME ALIAS",
		Aliases:           []string{"remove"},
		Short:             "Remove an alias",
		Long:              "Remove an alias of a function, unless a schedule names it. The versions it names stay.",
		Example:           "  thaw alias rm hello live",
		Args:              arguments("NAME", "ALIAS"),
		ValidArgsFunction: a.complete(false, functionNames, aliasNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := thaw.CheckAlias(args[1]); err != nil {
				return err
			}
			return a.onWholeFunction(func(ctx context.Context, c *client.Client, name string) error {
				if err := c.RemoveAlias(ctx, name, args[1]); err != nil {
					return err
				}
				return a.removed(name + ":" + args[1])
			})(cmd, args)
		},
	}
}
