package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) cronCmd() *cobra.Command {
	return group("cron", "Run jobs at instants, or when a dataset grows", a.cronAddCmd(),
		a.ofTenant(a.cronListCmd()), a.ofTenant(a.cronShowCmd()), a.ofTenant(a.cronNextCmd()), a.ofTenant(a.cronHistoryCmd()),
		a.ofTenant(a.cronRunCmd()), a.ofTenant(a.cronPauseCmd()), a.ofTenant(a.cronResumeCmd()), a.ofTenant(a.cronRmCmd()))
}

// cronFlags are the flags of cron add as they were typed.
type cronFlags struct {
	submitFlags
	zone, onChange   string
	overlap, catchUp string
	paused           bool
}

func (a *app) cronAddCmd() *cobra.Command {
	f := &cronFlags{}
	cmd := &cobra.Command{
		Use:     "add (EXPRESSION | --on-change HEAD) (-f FILE.py | -e COMMAND | -x CID|PATH | SPEC.yaml | -) [-c CID|PATH]",
		Aliases: []string{"create"},
		Short:   "Submit a job again and again",
		Long: `Add has the node submit a job at each instant of EXPRESSION, or each time that a
head moves, and prints the schedule's id. Program, input and what a job may use
are said as for ipdc job submit.

EXPRESSION is five fields (minute, hour, day of month, month, day of week) by the
clocks of --tz, or @hourly, @daily, @weekly, @monthly, @yearly, or @every 90m.
A local time that daylight saving leaves out is run at the first moment after the
gap, one that comes twice is run the first time; what runs every hour follows the
time that passes.

Each instant runs exactly once, or is listed as missed by ipdc cron history.
--overlap says what becomes of one while an earlier job has not ended: forbid
misses it, allow runs both, replace stops the earlier one. --catch-up says how
many are made up for that were due while no node was up, or that the clock was
set over: none, last, or all:N for the newest N, one after the other.

With --on-change each version of the head is run once, with it as input, also
those that came while the node was down; with overlap forbid they wait for each
other.`,
		Example: `  ipdc cron add "0 2 * * *" --tz Europe/Lisbon job.yaml
  ipdc cron add @hourly --name thumbs -f process.py -c bafy...
  ipdc cron add "*/10 * * * *" --overlap allow --catch-up all:6 -e "wc -l" -c bafy...
  ipdc cron add --on-change sensors -f process.py`,
		Args: usageArgs(cobra.RangeArgs(0, 2)),
		RunE: func(cmd *cobra.Command, args []string) error { return a.cronAdd(cmd.Context(), f, args) },
	}
	fs := cmd.Flags()
	f.addProgram(fs)
	fs.Lookup("name").Usage = "name of the schedule and of its jobs (default that of the job spec, or of the program's file)"
	fs.StringVar(&f.zone, "tz", "", "time zone by whose clocks EXPRESSION is read, such as Europe/Lisbon (default UTC)")
	fs.StringVar(&f.onChange, "on-change", "", "run for each new version of this head: a dataset's name, or /ipns/NAME on a node with --ipfs")
	fs.StringVar(&f.overlap, "overlap", "", "while an earlier job has not ended: forbid, allow or replace (default forbid)")
	fs.StringVar(&f.catchUp, "catch-up", "", "instants to make up for: none, last or all:N, N up to 1000 and not with --overlap replace (default last)")
	fs.BoolVar(&f.paused, "paused", false, "begin when ipdc cron resume says so")
	return cmd
}

func (a *app) cronAdd(ctx context.Context, f *cronFlags, args []string) error {
	r := wire.ScheduleRequest{Zone: f.zone, OnChange: f.onChange, Overlap: f.overlap, CatchUp: f.catchUp, Paused: f.paused}
	if f.onChange == "" {
		if len(args) == 0 {
			return usagef(`say when: ipdc cron add "0 2 * * *" ..., or --on-change HEAD`)
		}
		r.Cron, args = args[0], args[1:]
	} else if f.input != "" {
		return usagef("-c and --on-change: the input is the dataset that is followed; leave one of them out")
	}
	if len(args) > 1 {
		return usagef("one job spec at most; write the expression as one argument: ipdc cron add %q ...", strings.Join(append([]string{r.Cron}, args...), " "))
	}
	if err := f.oneProgram(args); err != nil {
		return err
	}
	if err := a.readFunction(ctx, &f.submitFlags); err != nil {
		return err
	}
	req, err := a.cronRequest(f, args)
	if err != nil {
		return err
	}
	if r.Name = scheduleName(f, req.spec, args); r.Name == "" {
		return usagef("give the schedule a name: --name NAME")
	}
	return a.withClient(func(c *client.Client) error {
		if _, err := c.Node(ctx); err != nil { // before anything is uploaded
			return err
		}
		if r.Spec, err = a.placeAll(ctx, c, req, ""); err != nil {
			return err
		}
		s, err := c.AddSchedule(ctx, r)
		if err != nil {
			return err
		}
		switch {
		case s.Next != nil:
			a.say("schedule %s runs next at %s", visible(s.Name), clock(*s.Next, s.Zone))
		case s.OnChange != "":
			a.say("schedule %s runs when %s moves", visible(s.Name), visible(s.OnChange))
		}
		return a.printScheduleID(s)
	})
}

// cronRequest is the job of a schedule. A head stands for the input until the
// node puts its value there; of one that is no dataset's the node says why not.
func (a *app) cronRequest(f *cronFlags, args []string) (request, error) {
	if f.onChange != "" {
		f.input = "bafkqaaa"
		if ref, err := jobspec.ParseDatasetRef(f.onChange); err == nil {
			f.input = "dataset:" + ref.String()
		}
	}
	return a.request(&f.submitFlags, args)
}

// placeAll stores what a request needs, as send, and returns its spec.
func (a *app) placeAll(ctx context.Context, c *client.Client, req request, hold string) (jobspec.Spec, error) {
	if req.car != "" {
		res, err := a.sendCAR(ctx, c, req.car, true, hold)
		if err != nil {
			return req.spec, fmt.Errorf("import %s: %w", req.car, err)
		}
		a.say("imported %s %s", res.Roots[0], visible(req.car))
	}
	return a.place(ctx, req, a.uploader(ctx, c, hold))
}

// scheduleName is what the schedule is called: as was asked for, or by its job.
func scheduleName(f *cronFlags, spec jobspec.Spec, args []string) string {
	file := f.file
	if len(args) > 0 && args[0] != "-" {
		file = args[0]
	}
	for _, name := range []string{f.name, spec.Name, strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), f.onChange} {
		if name != "" && name != "." {
			return name
		}
	}
	return ""
}

// clock is an instant by the clocks of a zone.
func clock(t time.Time, zone string) string {
	if loc, err := time.LoadLocation(zone); err == nil {
		t = t.In(loc)
	}
	return t.Format("2006-01-02 15:04:05 MST")
}

func (a *app) printScheduleID(s wire.Schedule) error {
	return a.print(s, s.ID.String(), func(w io.Writer) error {
		_, err := fmt.Fprintln(w, s.ID)
		return err
	})
}
