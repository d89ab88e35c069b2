package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
	"thaw/functions"
)

const (
	// completionTimeout bounds how long the shell waits for words.
	completionTimeout = time.Second
	// maxCompletions is more names than anybody looks through.
	maxCompletions = 500
)

// completer offers words for arguments.
type completer = func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective)

// words asks the daemon what an argument can be that begins with begun and follows
// args.
type words func(ctx context.Context, c *client.Client, args []string, begun string) ([]cobra.Completion, error)

// complete offers words for one argument after the other, of which the last may be
// there many times if many says so. Without a daemon there are none.
func (a *app) complete(many bool, each ...words) completer {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		at := len(args)
		if many {
			at = min(at, len(each)-1)
		}
		if at >= len(each) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := a.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		all, err := each[at](ctx, c, args, begun)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return fitting(all, args, begun), cobra.ShellCompDirectiveNoFileComp
	}
}

// fitting are the words that begin with begun and are not there yet.
func fitting(all []cobra.Completion, args []string, begun string) (fit []cobra.Completion) {
	for _, word := range all {
		name, _, _ := strings.Cut(word, "\t")
		if strings.HasPrefix(name, begun) && !slices.Contains(args, name) {
			fit = append(fit, word)
		}
	}
	return fit
}

// completeNames offers functions for the only argument.
func (a *app) completeNames() completer { return a.complete(false, functionNames) }

// completeRefs offers functions, and what can follow the colon of one.
func (a *app) completeRefs() completer { return a.complete(false, functionRefs) }

func functionNames(ctx context.Context, c *client.Client, _ []string, begun string) (names []cobra.Completion, err error) {
	all, _, err := c.List(ctx, thaw.FunctionQuery{Prefix: begun, Limit: maxCompletions})
	for _, v := range all {
		names = append(names, v.Function)
	}
	return names, err
}

func functionRefs(ctx context.Context, c *client.Client, args []string, begun string) (refs []cobra.Completion, err error) {
	name, _, qualified := strings.Cut(begun, ":")
	if !qualified {
		return functionNames(ctx, c, args, begun)
	}
	all, err := qualifiers(ctx, c, []string{name}, "")
	for _, q := range all {
		refs = append(refs, name+":"+q)
	}
	return refs, err
}

// qualifiers are versions, aliases and $LATEST of the function that is the first
// argument.
func qualifiers(ctx context.Context, c *client.Client, args []string, begun string) ([]cobra.Completion, error) {
	names, err := aliasNames(ctx, c, args, begun)
	if err != nil {
		return nil, err
	}
	numbers, err := versionNumbers(ctx, c, args, begun)
	return append(append(names, numbers...), cobra.CompletionWithDesc(thaw.Latest, "the newest version")), err
}

func versionNumbers(ctx context.Context, c *client.Client, args []string, _ string) (numbers []cobra.Completion, err error) {
	all, err := c.Versions(ctx, args[0])
	for _, v := range all {
		what := "deployed " + ago(v.Created)
		if v.Serves {
			what = "serves, " + what
		}
		numbers = append(numbers, cobra.CompletionWithDesc(strconv.Itoa(v.Number), what))
	}
	return numbers, err
}

func aliasNames(ctx context.Context, c *client.Client, args []string, _ string) (names []cobra.Completion, err error) {
	all, err := c.Aliases(ctx, args[0])
	for _, alias := range all {
		names = append(names, cobra.CompletionWithDesc(alias.Name, "alias of "+routing(alias)))
	}
	return names, err
}

// snapshotIDs are those of the snapshots that which wants, each with whose it is.
func snapshotIDs(which func(thaw.Snapshot) bool) words {
	return func(ctx context.Context, c *client.Client, _ []string, _ string) (ids []cobra.Completion, err error) {
		all, err := c.Snapshots(ctx)
		for _, s := range all {
			if which(s) {
				ids = append(ids, cobra.CompletionWithDesc(s.ID, printable(inWords(s))))
			}
		}
		return ids, err
	}
}

// refsOrSnapshots are functions and, after them, every snapshot.
func refsOrSnapshots(ctx context.Context, c *client.Client, args []string, begun string) ([]cobra.Completion, error) {
	refs, err := functionRefs(ctx, c, args, begun)
	if err != nil {
		return nil, err
	}
	ids, err := snapshotIDs(func(thaw.Snapshot) bool { return true })(ctx, c, args, begun)
	return append(refs, ids...), err
}

// itemIDs are those of the items in the queue, of one state or of any.
func itemIDs(state thaw.ItemState) words {
	return func(ctx context.Context, c *client.Client, _ []string, _ string) (ids []cobra.Completion, err error) {
		all, err := c.Queue(ctx, thaw.ItemFilter{State: state})
		for _, i := range all {
			ids = append(ids, cobra.CompletionWithDesc(i.ID, fmt.Sprintf("%s of %s, %s", i.State, i.Ref(), ago(i.Accepted))))
		}
		return ids, err
	}
}

func scheduleIDs(ctx context.Context, c *client.Client, _ []string, _ string) (ids []cobra.Completion, err error) {
	all, err := c.Schedules(ctx)
	for _, s := range all {
		ids = append(ids, cobra.CompletionWithDesc(s.ID, s.Spec+" "+s.Ref().String()))
	}
	return ids, err
}

// completeDeploy offers functions, and folders for DIR.
func (a *app) completeDeploy(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) == 0 && !isFolder(begun) {
		names, directive := a.completeNames()(cmd, args, begun)
		if directive != cobra.ShellCompDirectiveError && len(names) > 0 {
			return names, directive
		}
	}
	if len(args) > 1 || len(args) == 1 && isFolder(args[0]) {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// completeFolders offers folders for the only argument.
func completeFolders(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// completeWorkloads offers the workloads of the papers.
func completeWorkloads(_ *cobra.Command, args []string, begun string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
	all, err := functions.Load(functions.Files())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	for _, w := range all {
		names = append(names, w.Name)
	}
	return fitting(names, args, begun), cobra.ShellCompDirectiveNoFileComp
}
