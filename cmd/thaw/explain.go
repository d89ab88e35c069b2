package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
	"thaw/explain"
)

func newExplainCommand(a *app) *cobra.Command {
	var svg string
	cmd := &cobra.Command{
		Use:   "explain NAME|INVOCATION",
		Short: "Show why an invocation took as long as it did",
		Long: `Show why an invocation took as long as it did: its phases on a time line, page
faults and bytes by who served them, how well the prefetch fit, how guest memory
was laid out, why this policy was chosen, and what to change. Of a function, the
newest cold start is explained, or without one the newest invocation.

--svg draws guest memory and the recorded trace of first touches. INVOCATION is the
request id that invoke -o json, describe and the X-Amzn-RequestId header tell.`,
		Example: `  thaw explain hello
  thaw explain hello --svg hello.svg
  thaw explain 0c1f2a3b-5d6e-4f70-8192-a3b4c5d6e7f8 -o json`,
		Args:              arguments("NAME|INVOCATION"),
		ValidArgsFunction: a.completeRefs(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.explain(cmd.Context(), args[0], svg)
		},
	}
	cmd.Flags().StringVar(&svg, "svg", "", "`file` for a picture")
	return cmd
}

func (a *app) explain(ctx context.Context, what, svg string) error {
	if err := checkOutput(svg); err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	subject, err := explained(ctx, c, what)
	if err != nil {
		return err
	}
	if svg != "" {
		if err := writeAside(svg, subject.WriteSVG); err != nil {
			return err
		}
	}
	if a.asValues() {
		return a.value(struct {
			explain.Subject
			Advice []string `json:"advice"`
		}{subject, subject.Advice()})
	}
	return written(subject.WriteText(a.stdout))
}

// explained gathers what is to be told of an invocation, or of a function's
// newest cold start.
func explained(ctx context.Context, c *client.Client, what string) (s explain.Subject, err error) {
	info, err := c.Info(ctx)
	if err != nil {
		return s, err
	}
	s.Accelerator = info.Accelerator
	if isInvocation(what) {
		s.Invocation, err = c.Invocation(ctx, what)
	} else {
		s.Invocation, err = newest(ctx, c, what)
	}
	if err != nil {
		return s, err
	}
	// Another version has another memory, and may take longer.
	ref := s.Invocation.Ref().String()
	d, err := c.Describe(ctx, ref)
	if thaw.CodeOf(err) == thaw.CodeNotFound {
		return s, nil // it has been removed since
	}
	if err != nil {
		return s, err
	}
	s.WarmMS = warm(d.Invocations)
	if d.SnapshotInfo != nil && s.Invocation.Policy != thaw.PolicyBoot {
		m, err := c.Memory(ctx, ref, s.Invocation.Policy)
		s.Memory = &m
		return s, err
	}
	return s, nil
}

// isInvocation tells a request id, a UUID, from the name of a function.
func isInvocation(s string) bool {
	const uuid = 36
	return len(s) == uuid && strings.Count(s, "-") == 4 && strings.Trim(s, "0123456789abcdef-") == ""
}

// newest is the newest cold start of NAME[:QUALIFIER], or its newest invocation.
func newest(ctx context.Context, c *client.Client, name string) (thaw.Invocation, error) {
	d, err := c.Describe(ctx, name)
	if err != nil {
		return thaw.Invocation{}, err
	}
	if len(d.Invocations) == 0 {
		return thaw.Invocation{}, thaw.Errorf(thaw.CodeNotFound, "no invocation of function %s is remembered: invoke it first", name)
	}
	cold := slices.IndexFunc(d.Invocations, func(i thaw.Invocation) bool { return i.Start == thaw.StartCold })
	return c.Invocation(ctx, d.Invocations[max(cold, 0)].ID) // complete
}
