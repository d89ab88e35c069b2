package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/conformance"
)

type conformanceFlags struct {
	policies, runtimes, only []string
	clones                   int
}

func newConformanceCommand(a *app) *cobra.Command {
	var f conformanceFlags
	cmd := &cobra.Command{
		Use:   "conformance",
		Short: "Check that restored clones are correct, hazard by hazard",
		Long: `Check that restored clones are correct, hazard by hazard.

Functions that look around are deployed under the reserved names
` + conformance.FunctionName("RUNTIME") + `, for each runtime, clones of them are restored by each policy, several at the same time, and all are removed
afterwards. Each test is for one hazard of restoring a snapshot many times: a clock
that stands still, random numbers that repeat, somebody else's identity, writes or
secrets. docs/conformance.md says why each matters. The exit code is 1 when a test
fails.

Tests: ` + strings.Join(conformance.TestNames(), ", "),
		Example: `  thaw conformance
  thaw conformance --policy thaw --clones 8
  thaw conformance --only entropy-kernel --only entropy-python -o json`,
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.conformance(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.policies, "policy", names(conformance.DefaultPolicies()), "`policies` to restore by")
	flags.StringSliceVar(&f.runtimes, "runtime", names(conformance.Runtimes()), "`runtimes` to check")
	flags.StringSliceVar(&f.only, "only", nil, "`tests` to run (default all)")
	flags.IntVar(&f.clones, "clones", 3, "how many clones start at the same time")
	completeWords(cmd, "policy", policyNames()...)
	completeWords(cmd, "runtime", names(conformance.Runtimes())...)
	completeWords(cmd, "only", conformance.TestNames()...)
	return cmd
}

func (f conformanceFlags) options() (conformance.Options, error) {
	o := conformance.Options{Clones: f.clones, Only: f.only}
	for _, name := range f.policies {
		p, err := thaw.ParsePolicy(name)
		if err != nil {
			return o, err
		}
		o.Policies = append(o.Policies, p)
	}
	for _, name := range f.runtimes {
		o.Runtimes = append(o.Runtimes, thaw.Runtime(name))
	}
	if err := o.Validate(); err != nil {
		return o, err
	}
	self, err := os.Executable()
	if err != nil {
		return o, thaw.Errorf(thaw.CodeUnavailable, "find this program: %w", err)
	}
	o.Bootstrap = self
	return o, nil
}

func (a *app) conformance(cmd *cobra.Command, f conformanceFlags) error {
	o, err := f.options()
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	report, err := conformance.Run(cmd.Context(), c, o, func(what string) { fmt.Fprintln(a.stderr, "  "+what) })
	if err != nil {
		return err
	}
	if err := a.writeConformance(report); err != nil {
		return err
	}
	return report.Failed()
}

func (a *app) writeConformance(r conformance.Report) error {
	if a.asValues() {
		return a.value(r)
	}
	var rows [][]string
	for _, result := range r.Results {
		rows = append(rows, []string{result.Hazard, result.Test, string(result.Result), result.Seen})
	}
	if err := writeTable(a.stdout, []string{"HAZARD", "TEST", "RESULT", "SEEN"}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "\n%d clones restored by %s; guests run by %s\n", r.Restores, strings.Join(names(r.Policies), ", "), r.Accelerator)
	return written(err)
}

// names are words of a kind as plain text.
func names[T ~string](words []T) (list []string) {
	for _, w := range words {
		list = append(list, string(w))
	}
	return list
}
