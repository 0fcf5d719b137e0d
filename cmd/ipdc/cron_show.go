package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// scheduleHelp explains the argument SCHEDULE in each command's help.
const scheduleHelp = "SCHEDULE is a schedule's name, its id, or a unique prefix of that."

func (a *app) cronListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List schedules by name", Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(func(c *client.Client) error {
				list, err := c.Schedules(cmd.Context())
				if err != nil {
					return err
				}
				return a.printSchedules(list)
			})
		},
	}
}

func (a *app) printSchedules(list []wire.Schedule) error {
	if a.format == formatName {
		for _, s := range list {
			fmt.Fprintln(a.out, s.Name)
		}
		return nil
	}
	return a.print(wire.ScheduleList{Schedules: list}, "", func(w io.Writer) error {
		rows := [][]string{{"NAME", "WHEN", "ZONE", "NEXT", "LAST", "STATE"}}
		for _, s := range list {
			next, last, state := "-", "-", "-"
			if s.Next != nil {
				next = clock(*s.Next, s.Zone)
			}
			if s.Last != nil {
				last, state = clock(s.Last.At, s.Zone), string(s.Last.State)
			}
			switch {
			case s.Away != "":
				next = "at " + s.Away.Short()
			case s.Paused:
				next = "paused"
			}
			rows = append(rows, []string{s.Name, when(s.Schedule), cmp.Or(s.Zone, "UTC"), next, last, state})
		}
		return table(w, rows)
	})
}

func when(s jobspec.Schedule) string {
	if s.OnChange != "" {
		return "on change of " + s.OnChange
	}
	return s.Cron
}

// withSchedule makes a command that works on one schedule.
func (a *app) withSchedule(cmd *cobra.Command, do func(ctx context.Context, c *client.Client, ref string) error) *cobra.Command {
	cmd.Long = cmp.Or(cmd.Long, cmd.Short+".") + "\n" + scheduleHelp
	if cmd.Args == nil {
		cmd.Args = usageArgs(cobra.ExactArgs(1))
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withClient(func(c *client.Client) error {
			for _, ref := range args {
				if ref == "" {
					return usagef("an empty argument names no schedule\nusage: %s", cmd.UseLine())
				}
				if err := do(cmd.Context(), c, ref); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}

func (a *app) cronShowCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "show SCHEDULE", Aliases: []string{"describe"}, Short: "Show a schedule"}
	return a.withSchedule(cmd, func(ctx context.Context, c *client.Client, ref string) error {
		s, err := c.Schedule(ctx, ref)
		if err != nil {
			return err
		}
		return a.print(s, s.ID.String(), func(w io.Writer) error {
			rows := [][]string{
				{"name", s.Name}, {"id", s.ID.String()}, {"tenant", s.Tenant}, {"when", when(s.Schedule)}, {"zone", cmp.Or(s.Zone, "UTC")},
				{"overlap", string(s.Overlap)}, {"catch-up", s.CatchUp.String()}, {"spec CID", s.SpecCID.String()}, {"created", clock(s.Created, s.Zone)},
			}
			if s.OnChange != "" {
				rows = append(rows[:6], rows[7:]...)
			}
			if s.Paused {
				rows = append(rows, []string{"paused", "yes; ipdc cron resume " + s.Name})
			}
			if s.Away != "" {
				rows = append(rows, []string{"owner", s.Away.String()})
			}
			if s.Next != nil {
				rows = append(rows, []string{"next", clock(*s.Next, s.Zone)})
			}
			if s.Last != nil {
				rows = append(rows, []string{"last", clock(s.Last.At, s.Zone) + " " + outcome(*s.Last)})
			}
			return table(w, rows)
		})
	})
}

// outcome is how an instant went, in a few words.
func outcome(i jobspec.Instant) string {
	s := string(i.State)
	if i.Missed != "" {
		s += ": " + i.Missed.Text()
	}
	return s
}

func (a *app) cronNextCmd() *cobra.Command {
	var n int
	cmd := &cobra.Command{Use: "next SCHEDULE", Short: "List a schedule's next instants, by the clocks of its zone and in UTC"}
	cmd.Flags().IntVarP(&n, "number", "n", 5, "how many, up to 1000")
	return a.withSchedule(cmd, func(ctx context.Context, c *client.Client, ref string) error {
		next, err := c.NextInstants(ctx, ref, n)
		if err != nil {
			return err
		}
		if len(next.Next) == 0 {
			a.say("nothing is planned: the schedule is paused, follows a head, or is another member's; see ipdc cron show %s", visible(ref))
		}
		return a.print(next, "", func(w io.Writer) error {
			var rows [][]string
			for _, at := range next.Next {
				rows = append(rows, []string{clock(at, next.Zone), at.UTC().Format(time.RFC3339), ago(at)})
			}
			return table(w, rows)
		})
	})
}

func (a *app) cronHistoryCmd() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "history SCHEDULE", Short: "List what became of a schedule's instants, the newest first",
		Long: "History lists each instant with its job and result, or why it was missed. An\ninstant that is missed with many others shares a line with them.",
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "at most this many lines, up to 1000")
	return a.withSchedule(cmd, func(ctx context.Context, c *client.Client, ref string) error {
		s, err := c.Schedule(ctx, ref)
		if err != nil {
			return err
		}
		list, err := c.History(ctx, ref, limit, 0)
		if err != nil {
			return err
		}
		if a.format == formatName {
			for _, i := range list {
				fmt.Fprintln(a.out, cmp.Or(i.Job.String(), "-"))
			}
			return nil
		}
		return a.print(wire.History{Instants: list}, "", func(w io.Writer) error { return a.historyTable(w, s, list) })
	})
}

func (a *app) historyTable(w io.Writer, s wire.Schedule, list []jobspec.Instant) error {
	rows := [][]string{{"INSTANT", "STATE", "JOB", "RESULT", "WHY"}}
	for _, i := range list {
		at := clock(i.At, s.Zone)
		switch {
		case i.Kind == jobspec.InstantManual:
			at += " (run-now)"
		case i.Kind == jobspec.InstantChange:
			at += " " + cmp.Or(i.Dataset, i.Input.String())
		case !i.Until.IsZero() && i.Count == 0:
			at += " to " + clock(i.Until, s.Zone) + " (more than 10000)"
		case !i.Until.IsZero():
			at += fmt.Sprintf(" to %s (%d)", clock(i.Until, s.Zone), i.Count)
		}
		why := i.Detail
		if i.Missed != "" && why == "" {
			why = i.Missed.Text()
		}
		rows = append(rows, []string{at, string(i.State), orDash(i.Job.String()), orDash(a.shortCID(i.Result)), orDash(why)})
	}
	return table(w, rows)
}

func (a *app) cronRunCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "run-now SCHEDULE", Aliases: []string{"run"}, Short: "Run a schedule's job now and print the job's id",
		Long: "Run-now makes an instant of now, whatever the schedule says, and prints the id of\nits job; ipdc job wait follows it. While an earlier job has not ended it is\nrefused, unless the schedule's overlap is allow or replace.",
	}
	return a.withSchedule(cmd, func(ctx context.Context, c *client.Client, ref string) error {
		i, err := c.RunSchedule(ctx, ref)
		if err != nil {
			return err
		}
		return a.print(i, i.Job.String(), func(w io.Writer) error {
			_, err := fmt.Fprintln(w, i.Job)
			return err
		})
	})
}

func (a *app) cronPauseCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "pause SCHEDULE...", Short: "Let a schedule's instants be missed until it is resumed", Args: usageArgs(cobra.MinimumNArgs(1))}
	return a.withSchedule(cmd, func(ctx context.Context, c *client.Client, ref string) error {
		s, err := c.PauseSchedule(ctx, ref)
		if err != nil {
			return err
		}
		return a.printScheduleID(s)
	})
}

func (a *app) cronResumeCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "resume SCHEDULE...", Short: "Let schedules go on that were paused", Args: usageArgs(cobra.MinimumNArgs(1))}
	return a.withSchedule(cmd, func(ctx context.Context, c *client.Client, ref string) error {
		s, err := c.ResumeSchedule(ctx, ref)
		if err != nil {
			return err
		}
		if s.Next != nil {
			a.say("schedule %s runs next at %s", visible(s.Name), clock(*s.Next, s.Zone))
		}
		return a.printScheduleID(s)
	})
}

func (a *app) cronRmCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rm SCHEDULE...", Aliases: []string{"remove", "delete"}, Short: "Remove schedules with their history; their jobs stay", Args: usageArgs(cobra.MinimumNArgs(1)),
	}
	return a.withSchedule(cmd, func(ctx context.Context, c *client.Client, ref string) error {
		s, err := c.Schedule(ctx, ref)
		if err == nil {
			err = c.RemoveSchedule(ctx, s.ID.String())
		}
		if err != nil {
			return err
		}
		return a.printScheduleID(s)
	})
}

// someSchedules completes the names of schedules.
func (a *app) someSchedules(n int) cobra.CompletionFunc {
	return a.ask(n, func(ctx context.Context, c *client.Client) (out []cobra.Completion, err error) {
		list, err := c.Schedules(ctx)
		for _, s := range list {
			out = append(out, s.Name+"\t"+when(s.Schedule))
		}
		return out, err
	})
}
