package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// everyCommand calls do for each command that people can find.
func everyCommand(cmd *cobra.Command, do func(*cobra.Command)) {
	if cmd.Hidden {
		return
	}
	do(cmd)
	for _, child := range cmd.Commands() {
		everyCommand(child, do)
	}
}

func TestEveryCommandHasExamples(t *testing.T) {
	n := 0
	everyCommand(newRootCommand(&app{}), func(cmd *cobra.Command) {
		n++
		path := cmd.CommandPath()
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short help %q: write some words without a full stop", path, cmd.Short)
		}
		if !strings.Contains(cmd.Example, "thaw ") {
			t.Errorf("%s: no example: %q", path, cmd.Example)
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: example %q is not indented by two", path, line)
			}
		}
	})
	if n < 40 {
		t.Errorf("only %d commands", n)
	}
}

// TestExamplesAreCommands has the first word of each example be a command, and its
// flags be known.
func TestExamplesAreCommands(t *testing.T) {
	root := newRootCommand(&app{})
	everyCommand(root, func(cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Example) {
			args, ok := strings.CutPrefix(strings.TrimSpace(line), "thaw ")
			if !ok {
				continue // in the middle of a pipe
			}
			words := strings.Fields(args)
			found, rest, err := root.Find(words)
			if err != nil || found == root {
				t.Errorf("%s: example %q is no command: %v", cmd.CommandPath(), line, err)
				continue
			}
			for _, word := range rest {
				name, isFlag := strings.CutPrefix(word, "--")
				name, _, _ = strings.Cut(name, "=")
				if word == "|" || word == ">" || word == "&" {
					break
				}
				if isFlag && found.Flags().Lookup(name) == nil && found.InheritedFlags().Lookup(name) == nil {
					t.Errorf("%s: example %q has a flag that %s has not: %s", cmd.CommandPath(), line, found.CommandPath(), word)
				}
			}
		}
	})
}
