package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"thaw"
	"thaw/client"
)

// app is what the commands of one run share.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	// flags are those of every command.
	flags  *pflag.FlagSet
	format format
	// quiet has lists print names alone: see [app.quietFlag].
	quiet bool

	// began says that a command was reached: an error before that is one of
	// usage.
	began bool
}

// run executes the command line args, without the program's name, and returns
// the exit code. It may be called many times in one process.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, format: formatTable}
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	a.flags = root.PersistentFlags()
	cmd, err := root.ExecuteContextC(ctx)
	return a.finish(ctx, cmd, err)
}

// finish reports err, if any, and returns the exit code. A command
// line that cannot be understood gets a second line that says how it goes.
func (a *app) finish(ctx context.Context, cmd *cobra.Command, err error) int {
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil {
		fmt.Fprintln(a.stderr, "thaw: interrupted")
		return exitInterrupted
	}
	fmt.Fprintln(a.stderr, paletteOf(a.stderr).red("thaw:"), printableLines(err.Error()))
	if !a.began {
		fmt.Fprintf(a.stderr, "usage: %s\nsee: %s --help\n", cmd.UseLine(), cmd.CommandPath())
		return exitInvalid
	}
	return exitCode(err)
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "thaw",
		Short: "Run functions in microVMs that start from memory snapshots",
		Long: `thaw runs functions in microVMs and starts them from memory snapshots.

Start a daemon with "thaw serve", write a function with "thaw new", then
"thaw deploy" and "thaw invoke" it.

` + exitHelp(),
		Example: `  thaw serve &
  thaw new hello
  thaw deploy ./hello
  thaw invoke hello -d '{"name": "Ada"}'`,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := root.PersistentFlags()
	flags.String(settingAddr, client.DefaultAddr, "`address` of the daemon, also THAW_ADDR")
	flags.VarP(&a.format, settingOutput, "o", "`format` of the output: table, json or yaml, also THAW_OUTPUT")
	completeWords(root, settingOutput, formats()...)
	root.AddGroup(&cobra.Group{ID: groupFunctions, Title: "Functions:"}, &cobra.Group{ID: groupDaemon, Title: "Daemon:"})
	root.AddCommand(commands(a)...)
	addOwnCommands(root)
	for _, cmd := range root.Commands() {
		a.prepare(cmd)
	}
	return root
}

// The groups of commands in the help.
const (
	groupFunctions = "functions"
	groupDaemon    = "daemon"
)

// commands returns every command, one per file of this package.
func commands(a *app) []*cobra.Command {
	functions := []*cobra.Command{
		newNewCommand(a),
		newDeployCommand(a),
		newDeploysCommand(a),
		newInvokeCommand(a),
		newListCommand(a),
		newDescribeCommand(a),
		newPsCommand(a),
		newTopCommand(a),
		newLogsCommand(a),
		newRemoveCommand(a),
		newVersionsCommand(a),
		newAliasCommand(a),
		newRollbackCommand(a),
		newDiffCommand(a),
		newSnapshotCommand(a),
		newExplainCommand(a),
		newBenchCommand(a),
		newQueueCommand(a),
		newScheduleCommand(a),
		newSecretCommand(a),
	}
	daemon := []*cobra.Command{
		newServeCommand(a),
		newSimulateCommand(a),
		newDemoCommand(a),
		newDoctorCommand(a),
		newConformanceCommand(a),
		newConfigCommand(a),
		newVersionCommand(a),
		newStandInCommand(),
	}
	for _, c := range functions {
		c.GroupID = groupFunctions
	}
	for _, c := range daemon {
		c.GroupID = groupDaemon
	}
	return append(functions, daemon...)
}

// addOwnCommands adds the commands that the library brings, with examples.
func addOwnCommands(root *cobra.Command) {
	root.SetHelpCommand(newHelpCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	examples := map[string]string{
		"completion": "  thaw completion bash > /etc/bash_completion.d/thaw",
		"bash":       "  source <(thaw completion bash)", "zsh": `  thaw completion zsh > "${fpath[1]}/_thaw"`,
		"fish": "  thaw completion fish > ~/.config/fish/completions/thaw.fish", "powershell": "  thaw completion powershell | Out-String | Invoke-Expression",
	}
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		for _, each := range append(cmd.Commands(), cmd) {
			each.Example = examples[each.Name()]
		}
		cmd.GroupID = groupDaemon
	}
}

// newHelpCommand is the library's, but for words that are no command: they are an
// error.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND...]",
		Short:   "Show what a command does",
		Example: "  thaw help deploy\n  thaw help schedule set",
		GroupID: groupDaemon,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begun string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
			found, _, err := cmd.Root().Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			for _, child := range found.Commands() {
				if child.IsAvailableCommand() {
					names = append(names, cobra.CompletionWithDesc(child.Name(), child.Short))
				}
			}
			return fitting(names, args, begun), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return thaw.Errorf(thaw.CodeInvalid, "there is no command %q: see thaw --help", strings.Join(args, " "))
			}
			return found.Help()
		},
	}
}

// prepare has every command note that it was reached, and look up the format of its
// output.
func (a *app) prepare(cmd *cobra.Command) {
	if inner := cmd.RunE; inner != nil && !cmd.Hidden {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if a.quiet && cmd.Flags().Changed(settingOutput) {
				return errors.New("-q prints names and -o values: use one of them")
			}
			a.began = true
			chosen, err := a.setting(settingOutput)
			if err != nil {
				return err
			}
			a.format = format(chosen)
			return inner(cmd, args)
		}
	}
	for _, child := range cmd.Commands() {
		a.prepare(child)
	}
}

// client returns a client for the daemon that --addr or a setting names.
func (a *app) client() (*client.Client, error) {
	addr, err := a.setting(settingAddr)
	if err != nil {
		return nil, err
	}
	return client.New(addr)
}

// onFunction is what a command does that asks the daemon about the function, or
// the version of one, named by its argument.
func (a *app) onFunction(do func(ctx context.Context, c *client.Client, name string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if _, err := thaw.ParseRef(args[0]); err != nil {
			return err
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		return do(cmd.Context(), c, args[0])
	}
}

// completeWords offers a fixed list of values for a flag.
func completeWords(cmd *cobra.Command, flag string, words ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag is not there: a mistake in this package
	}
}

func policyNames() []string {
	var names []string
	for _, p := range thaw.Policies() {
		names = append(names, string(p))
	}
	return names
}

func runtimeNames() []string {
	var names []string
	for _, r := range thaw.Runtimes() {
		names = append(names, string(r))
	}
	return names
}
