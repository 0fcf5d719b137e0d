package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) jobCmd() *cobra.Command {
	cmd := group("job", "Submit jobs and look after them",
		a.jobSubmitCmd(), a.jobPlanCmd(), a.ofTenant(a.jobListCmd()), a.ofTenant(a.jobDescribeCmd()), a.ofTenant(a.jobLogsCmd()),
		a.ofTenant(a.jobWaitCmd()), a.ofTenant(a.jobGetCmd()), a.ofTenant(a.jobStopCmd()), a.ofTenant(a.jobRmCmd()),
		a.ofTenant(a.jobEventsCmd()), a.ofTenant(a.jobItemsCmd()), a.ofTenant(a.jobForwardCmd()), a.jobRerunCmd(), a.ofTenant(a.jobMergeCmd()), a.ofTenant(a.jobPublishCmd()), a.ofTenant(a.jobPruneCmd()))
	return cmd
}

// ofTenant lets a command see to the jobs of others.
func (a *app) ofTenant(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&a.tenant, "tenant", "", "see to the jobs of another tenant: a token's name, member:ID, or node:ID; for the node's own user only")
	return cmd
}

// refHelp explains the argument JOB in each command's help.
const refHelp = "JOB is a job's id, a unique prefix of it, its name, or @last."

// withJob makes a command that works on one job; without an argument on @last
// where lastDefault is set.
func (a *app) withJob(cmd *cobra.Command, do func(ctx context.Context, c *client.Client, ref string, rest []string) error) *cobra.Command {
	if cmd.Long == "" {
		cmd.Long = cmd.Short + ".\n" + refHelp
	}
	if cmd.Args == nil {
		cmd.Args = usageArgs(cobra.ExactArgs(1))
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if slices.Contains(args, "") {
			return usagef("an empty argument names no job\nusage: %s", cmd.UseLine())
		}
		return a.withClient(func(c *client.Client) error { return do(cmd.Context(), c, args[0], args[1:]) })
	}
	return cmd
}

func (a *app) jobListCmd() *cobra.Command {
	var states, labels []string
	var limit int
	var all, needed bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls", "ps"}, Short: "List jobs, newest first", Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f := client.JobFilter{Limit: limit, All: needed}
			if all && a.tenant != "" {
				return usagef("-A lists the jobs of every tenant: leave out -A or --tenant %s", a.tenant)
			}
			if all {
				a.tenant = api.AllTenants
			}
			for _, s := range states {
				f.States = append(f.States, jobspec.JobState(s))
			}
			var err error
			if f.Labels, err = pairs("--label", labels); err != nil {
				return err
			}
			return a.withClient(func(c *client.Client) error {
				jobs, err := c.Jobs(cmd.Context(), f)
				if err != nil {
					return err
				}
				return a.printJobs(jobs)
			})
		},
	}
	cmd.Flags().StringSliceVar(&states, "state", nil, "only jobs in these states")
	cmd.Flags().StringArrayVarP(&labels, "label", "l", nil, "only jobs with this label, KEY=VALUE (repeatable)")
	cmd.Flags().BoolVarP(&all, "all-tenants", "A", false, "also jobs of every other tenant; for the node's own user only")
	cmd.Flags().BoolVarP(&needed, "all", "a", false, "also jobs that another job needs, such as installations of requirements")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most this many, up to 500")
	return cmd
}

func (a *app) printJobs(jobs []wire.Job) error {
	if a.format == formatName {
		for _, j := range jobs {
			fmt.Fprintln(a.out, j.ID)
		}
		return nil
	}
	return a.print(wire.JobList{Jobs: jobs}, "", func(w io.Writer) error {
		rows := [][]string{{"ID", "NAME", "STATE", "FILES", "SUBMITTED", "TOOK", "RESULT"}}
		for _, j := range jobs {
			rows = append(rows, []string{
				j.ID.String(), orDash(j.Spec.Name), string(j.State), files(j), ago(j.Submitted), took(j), orDash(a.short(j)),
			})
		}
		if a.format == formatWide {
			rows[0] = append(rows[0], "MEMBER")
			for i, j := range jobs {
				rows[i+1] = append(rows[i+1], orDash(j.Member))
			}
		}
		if a.tenant == api.AllTenants {
			rows[0] = append(rows[0], "TENANT")
			for i, j := range jobs {
				rows[i+1] = append(rows[i+1], j.Tenant)
			}
		}
		return table(w, rows)
	})
}

// short is the result for a table: the whole CID with -o wide only.
func (a *app) short(j wire.Job) string { return a.shortCID(j.Result) }

func (a *app) shortCID(c jobspec.CID) string {
	s := c.String()
	if a.format != formatWide && len(s) > 20 {
		return s[:8] + "…" + s[len(s)-8:]
	}
	return s
}

func files(j wire.Job) string {
	if j.ItemsTotal == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d", j.ItemsDone, j.ItemsTotal)
}

func took(j wire.Job) string {
	if j.Finished.IsZero() {
		return "-"
	}
	if j.Started.IsZero() { // nothing of it had to run
		return span(j.Finished.Sub(j.Submitted))
	}
	return span(j.Finished.Sub(j.Started))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) jobLogsCmd() *cobra.Command {
	var follow, raw, prefix bool
	var task string
	cmd := &cobra.Command{Use: "logs JOB", Aliases: []string{"log"}, Short: "Print what a job's programs wrote"}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the job ends")
	cmd.Flags().BoolVar(&raw, "raw", false, "print control characters as they are, also on a terminal")
	cmd.Flags().BoolVar(&prefix, "prefix", false, "begin each line with its task (default with -f for the tasks of a gang, which are followed side by side)")
	cmd.Flags().StringVar(&task, "task", "", "only this task, by its number, or by its name in a gang (worker-0)")
	return a.withJob(cmd, func(ctx context.Context, c *client.Client, ref string, _ []string) error {
		opts := []client.LogOption{client.WithTask(task)}
		if a.format == formatJSON || a.format == formatYAML {
			return c.LogLines(ctx, ref, follow, func(l wire.LogLine) error { return a.printLine(l) }, opts...)
		}
		if cmd.Flags().Changed("prefix") {
			opts = append(opts, client.WithTaskPrefix(prefix))
		}
		return c.Logs(ctx, ref, follow, logWriter(a.out, raw), logWriter(a.err, raw), opts...)
	})
}

// logWriter makes control characters visible on a terminal.
func logWriter(w io.Writer, raw bool) io.Writer {
	if raw || !tty(w) {
		return w
	}
	return writerFunc(func(b []byte) (int, error) {
		_, err := io.WriteString(w, visible(strings.ReplaceAll(string(b), "\t", "        ")))
		return len(b), err
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// timedOut is a wait that was too short.
type timedOut struct{ error }

func (a *app) jobWaitCmd() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{Use: "wait JOB", Short: "Wait for a job to end and print its result CID"}
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "give up waiting after this time with exit code 124; the job goes on")
	return a.withJob(cmd, func(ctx context.Context, c *client.Client, ref string, _ []string) error {
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		j, err := a.wait(ctx, c, ref)
		if errors.Is(err, context.DeadlineExceeded) {
			return timedOut{fmt.Errorf("job %s has not ended after %s; it goes on", ref, timeout)}
		}
		if err != nil {
			return err
		}
		return a.finish(ctx, c, j)
	})
}

func (a *app) jobGetCmd() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "get JOB [DEST]", Short: "Download a job's result, by default into a folder named by its id",
		Args: usageArgs(cobra.RangeArgs(1, 2)),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "overwrite files that exist")
	return a.withJob(cmd, func(ctx context.Context, c *client.Client, ref string, rest []string) error {
		j, err := c.Job(ctx, ref)
		if err != nil {
			return err
		}
		root := j.Result
		if j.State != jobspec.JobSucceeded {
			if n := len(j.Merged); n > 0 {
				root = j.Merged[n-1].CID
			} else if root = j.Partial; !root.Defined() {
				return jobspec.Failure{
					Kind: jobspec.KindNotFound, Where: "job " + j.ID.String(),
					Detail: fmt.Sprintf("is %s and has no result", j.State), Hint: "wait for it: ipdc job wait " + j.ID.String(),
				}.Error()
			}
			a.say("the job %s; these are its outputs as far as they are there", j.State)
		}
		dest := j.ID.String()
		if len(rest) > 0 {
			dest = rest[0]
		}
		return a.get(ctx, c, root.String(), dest, force)
	})
}

func (a *app) jobStopCmd() *cobra.Command {
	cmd := a.eachJob("stop JOB...", "Stop jobs; what they wrote is kept", func(ctx context.Context, c *client.Client, ref string) error {
		j, err := a.stopJob(ctx, c, ref)
		if err != nil {
			return err
		}
		if j.State != jobspec.JobStopped {
			a.say("job %s is %s already", j.ID, j.State)
		}
		return a.printID(j)
	})
	cmd.Aliases = []string{"kill", "cancel"}
	cmd.Long += "\nOne that has ended already is left as it is, which is no error."
	return cmd
}

// stopJob stops a job and waits for its end. One that has its end already, or
// all but, is left as it is: its state says so.
func (a *app) stopJob(ctx context.Context, c *client.Client, ref string) (wire.Job, error) {
	j, err := c.Stop(ctx, ref)
	if errors.Is(err, jobspec.KindConflict.Error()) { // or ref fits several jobs, or the node stops
		now, jerr := c.Job(ctx, ref)
		if jerr != nil || !now.State.Final() && now.State != jobspec.JobPublished {
			return j, err
		}
		j, err = now, nil
	}
	if err != nil {
		return j, err
	}
	return a.wait(ctx, c, j.ID.String())
}

func (a *app) jobRmCmd() *cobra.Command {
	var force bool
	cmd := a.eachJob("rm JOB...", "Remove jobs that have ended, with their logs and pins", func(ctx context.Context, c *client.Client, ref string) error {
		j, err := c.Job(ctx, ref)
		if force && errors.Is(err, jobspec.KindLost.Error()) {
			return a.forget(ctx, c, err)
		}
		if err != nil {
			return err
		}
		if err := c.Remove(ctx, j.ID.String()); err != nil {
			return err
		}
		return a.printID(j)
	})
	cmd.Aliases = []string{"remove", "delete"}
	cmd.Long = "Rm removes jobs that have ended, with their logs and pins. With --force it also removes\n" +
		"a job that was handed over to a member that cannot be reached: this node forgets it,\n" +
		"and its result and its logs with it, whatever the member still does. Should that come\n" +
		"back, what it keeps of the job can be removed there only.\n" + refHelp
	cmd.Flags().BoolVar(&force, "force", false, "give up jobs whose member cannot be reached")
	return cmd
}

// forget removes the job that a refusal is about, as its member is away.
func (a *app) forget(ctx context.Context, c *client.Client, away error) error {
	id, err := jobspec.ParseJobID(strings.TrimPrefix(jobspec.AsFailure(away).Where, "job "))
	if err != nil {
		return away
	}
	if err := c.Forget(ctx, id.String()); err != nil {
		return err
	}
	a.say("job %s is given up: what its member does, its result and its logs are not asked for any more", id)
	return a.printID(wire.Job{Job: jobspec.Job{ID: id}})
}

// printID prints a job that something was done to: its id, or all of it as
// JSON or YAML.
func (a *app) printID(j wire.Job) error {
	return a.print(j, j.ID.String(), func(w io.Writer) error {
		_, err := fmt.Fprintln(w, j.ID)
		return err
	})
}

// eachJob makes a command that does the same to several jobs. It goes on after
// an error and returns the first.
func (a *app) eachJob(use, short string, do func(context.Context, *client.Client, string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: usageArgs(cobra.MinimumNArgs(1))}
	return a.withJob(cmd, func(ctx context.Context, c *client.Client, ref string, rest []string) error {
		var first error
		for _, r := range append([]string{ref}, rest...) {
			err := do(ctx, c, r)
			if err != nil && first != nil {
				a.exit(err) // shown here; the first decides the exit code
			} else if err != nil {
				first = err
			}
		}
		return first
	})
}

// pairs reads KEY=VALUE arguments.
func pairs(flag string, list []string) (map[string]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	m := map[string]string{}
	for _, s := range list {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			return nil, usagef("%s %q: want KEY=VALUE", flag, s)
		}
		m[k] = v
	}
	return m, nil
}
