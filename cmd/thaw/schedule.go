package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
	"thaw/schedule"
)

func newScheduleCommand(a *app) *cobra.Command {
	return group("schedule", "Invoke functions at times",
		`Invoke functions at times, through the queue. Times are UTC unless the
specification begins with CRON_TZ=. What was missed while the daemon was down is
caught up on by one invocation.`,
		`  thaw schedule set hello "*/5 * * * *"`,
		newScheduleSetCommand(a), newScheduleListCommand(a), newScheduleRemoveCommand(a))
}

func newScheduleSetCommand(a *app) *cobra.Command {
	var data, name string
	cmd := &cobra.Command{
		Use: "set NAME CRON", Short: "Set a schedule of a function",
		Long: `Set a schedule of a function, in place of one with the same id. CRON is five
fields (minute, hour, day of month, month, day of week), @hourly, @daily, @weekly,
@monthly, @yearly, or @every and a duration. With NAME:ALIAS it invokes whatever the
alias names then. A version or an alias that a schedule names cannot be removed;
with the function its schedules go.`,
		Example: `  thaw schedule set hello "*/5 * * * *" -d '{"name": "Ada"}'
  thaw schedule set report "CRON_TZ=Europe/Berlin 0 9 * * MON-FRI" --name morning
  thaw schedule set poll:live "@every 30s"`,
		Args: arguments("NAME", "CRON"), ValidArgsFunction: a.completeRefs(),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := thaw.ParseRef(args[0])
			if err != nil {
				return err
			}
			s := thaw.Schedule{ID: cmp.Or(name, ref.Function), Function: ref.Function, Qualifier: ref.Qualifier, Spec: args[1]}
			if err := thaw.CheckName(s.ID); err != nil {
				return err
			}
			if _, err := schedule.Parse(s.Spec); err != nil {
				return err
			}
			if s.Data, err = checkEvent("--data", []byte(data)); err != nil {
				return err
			}
			return a.withClient(func(c *client.Client) error {
				s, err := c.SetSchedule(cmd.Context(), s)
				if err != nil {
					return err
				}
				if a.asValues() {
					return a.value(s)
				}
				_, err = fmt.Fprintf(a.stdout, "%s invokes %s next at %s\n", s.ID, s.Ref(), s.Next.Format(time.RFC3339))
				return written(err)
			})
		},
	}
	cmd.Flags().StringVarP(&data, "data", "d", "{}", "event as `JSON`")
	cmd.Flags().StringVar(&name, "name", "", "`id` of the schedule (default: the function's name)")
	return cmd
}

func newScheduleListCommand(a *app) *cobra.Command {
	return a.quietFlag(&cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List schedules", Long: "List schedules. PROBLEM says why the last slot was left out.", Example: "  thaw schedule ls",
		Args: arguments(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(func(c *client.Client) error {
				all, err := c.Schedules(cmd.Context())
				if err != nil {
					return err
				}
				l := listing{values: all, head: []string{"SCHEDULE", "FUNCTION", "CRON", "NEXT", "LAST", "LAST REQUEST", "PROBLEM"}}
				for _, s := range all {
					l.names = append(l.names, s.ID)
					l.rows = append(l.rows, []string{s.ID, s.Ref().String(), s.Spec, ago(s.Next), ago(s.Last), orDash(s.LastRequest), orDash(cause(s.Problem))})
				}
				return a.list(l)
			})
		},
	}, "print ids alone")
}

func newScheduleRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "rm ID", Aliases: []string{"remove"}, Short: "Remove a schedule", Long: "Remove a schedule. What it has put into the queue stays there.", Example: "  thaw schedule rm morning",
		Args: arguments("ID"), ValidArgsFunction: a.complete(false, scheduleIDs),
		RunE: a.removeSchedule,
	}
}

func (a *app) removeSchedule(cmd *cobra.Command, args []string) error {
	if err := thaw.CheckName(args[0]); err != nil {
		return err
	}
	return a.withClient(func(c *client.Client) error {
		if err := c.RemoveSchedule(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.removed(args[0])
	})
}
