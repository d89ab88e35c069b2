package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
)

// topTime is how long a frame of thaw top stands.
const topTime = time.Second

type topFlags struct{ frames int }

func newTopCommand(a *app) *cobra.Command {
	var f topFlags
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch a daemon at work",
		Long: `Show once a second what a daemon does: VMs, invocations per second, how many of
them are cold, how long starts take by each policy, memory. The share of cold
ones and the columns but RATE are of all since the daemon began. FAULTS are those
that waited, for thaw or the disk, of one start. q or Ctrl-C ends it. What is no
terminal gets a line per second.`,
		Example: `  thaw top
  thaw top -n 60 > minute.txt`,
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.frames < 0 {
				return thaw.Errorf(thaw.CodeInvalid, "-n %d is not valid: give a number of seconds, or 0 for no end", f.frames)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			return a.top(cmd.Context(), c, f)
		},
	}
	cmd.Flags().IntVarP(&f.frames, "seconds", "n", 0, "end after so many `seconds`, 0 for never")
	return cmd
}

// top draws frame after frame until ctx ends or somebody presses q.
func (a *app) top(ctx context.Context, c *client.Client, f topFlags) error {
	before, err := look(ctx, c) // fails before the screen is taken
	if err != nil {
		return err
	}
	draw := func(now topFrame) error {
		_, err := fmt.Fprintln(a.stdout, now.line(before))
		return written(err)
	}
	ended := ctx.Done()
	if isTerminal(a.stdout) {
		s, err := openScreen(ctx, a.stdout)
		if err != nil {
			return err
		}
		defer s.close()
		ended = s.quit
		draw = func(now topFrame) error { return s.draw(now.screen(before, c.Addr())) }
		if err := s.draw(before.screen(topFrame{}, c.Addr())); err != nil {
			return err
		}
	}
	tick := time.NewTicker(topTime)
	defer tick.Stop()
	for n := 0; f.frames == 0 || n < f.frames; n++ {
		select {
		case <-ended:
			return nil
		case <-tick.C:
		}
		now, err := look(ctx, c)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := draw(now); err != nil {
			return err
		}
		before = now
	}
	return nil
}

// look asks the daemon what it is like.
func look(ctx context.Context, c *client.Client) (f topFrame, err error) {
	if f.info, err = c.Info(ctx); err != nil {
		return f, err
	}
	if f.instances, err = c.Instances(ctx); err != nil {
		return f, err
	}
	f.families, err = c.Metrics(ctx)
	f.time = time.Now()
	return f, err
}
