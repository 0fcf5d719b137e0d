package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
	"github.com/ipdc/ipdc/workload/tensorflow"
)

// tfUpFlags are the flags of tf up as they were typed.
type tfUpFlags struct {
	tfFlags
	submitFlags
}

func (a *app) tfUpCmd() *cobra.Command {
	f := &tfUpFlags{}
	cmd := &cobra.Command{
		Use: "up", Aliases: []string{"1"}, Short: "Start the cluster of this directory and print its job",
		Long: `Up starts a task for each one of ClusterSpec.json, all of them at the same time or
none, on the nodes that have room for them, the nearest by hash first; each runs
create_worker.py. It prints the job when all tasks run; their programs may take
some seconds more until they listen. The cluster stays up until ipdc tf down; when
one of its tasks is lost, all are started again. Without ClusterSpec.json it is
made first, as by ipdc tf spec.`,
		Example: "  ipdc tf up\n  ipdc tf up --memory 4GiB --cpu 2",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.tfUp(cmd.Context(), f) },
	}
	fs := cmd.Flags()
	f.tfFlags.add(fs)
	f.addRoles(fs)
	f.addTask(fs)
	f.addPlace(fs)
	tfDefaults(fs)
	return cmd
}

// tfDefaults says what tasks of a cluster have that is not as in other jobs.
func tfDefaults(fs *pflag.FlagSet) {
	for name, def := range map[string]string{"memory": tensorflow.DefaultMemory.String(), "image": tensorflow.Image} {
		usage, _, _ := strings.Cut(fs.Lookup(name).Usage, " (default")
		fs.Lookup(name).Usage = usage + " (default " + def + ")"
	}
}

func (a *app) tfUp(ctx context.Context, f *tfUpFlags) error {
	cluster, err := f.cluster()
	if errors.As(err, new(*jobspec.FailureError)) && jobspec.AsFailure(err).Kind == jobspec.KindNotFound {
		cluster, err = a.tfSpec(&f.tfFlags)
	} else if err == nil {
		err = f.sameTasks(cluster)
	}
	if err != nil {
		return err
	}
	text, err := os.ReadFile(f.path(tensorflow.WorkerFile))
	if err != nil {
		return fmt.Errorf("%w; have it written again: ipdc tf down, ipdc tf spec", err)
	}
	job := tensorflow.Up(cluster, text)
	req := request{spec: job.Spec, files: job.Code}
	if err := errors.Join(req.apply(&f.submitFlags), req.setPlace(&f.submitFlags)); err != nil {
		return err
	}
	if err := req.validate(); err != nil {
		return err
	}
	return a.withClient(func(c *client.Client) error {
		before, err := tfJobs(ctx, c, cluster)
		if err != nil {
			return err
		}
		if len(before) > 0 && !before[0].State.Final() {
			return jobspec.Failure{
				Kind: jobspec.KindConflict, Where: f.path(tensorflow.ClusterFile), Detail: "its cluster is up already, as job " + before[0].ID.String(),
				Hint: "look at it: ipdc tf status; stop it: ipdc tf down",
			}.Error()
		}
		spec, err := a.place(ctx, req, a.uploader(ctx, c, ""))
		if err != nil {
			return err
		}
		// Two of them at once, or one that is sent again, make one job.
		key := "tf-" + cluster.ID
		if len(before) > 0 {
			key += "-after-" + before[0].ID.String()
		}
		if err := f.started(cluster); err != nil {
			return err
		}
		j, err := c.Submit(ctx, spec, key)
		if err != nil {
			return err
		}
		a.say("job %s submitted", j.ID)
		return a.tfWaitUp(ctx, c, cluster, j.ID)
	})
}

// sameTasks refuses a cluster that was made with other tasks than flags, or
// ClusterSpec.conf, ask for now.
func (f *tfFlags) sameTasks(cluster tensorflow.Cluster) error {
	conf, asked, err := f.conf()
	if err != nil && !asked { // it was needed for the other files only
		return nil
	}
	if err != nil || string(conf.Encode()) == string(cluster.Conf().Encode()) {
		return err
	}
	return jobspec.Failure{
		Kind: jobspec.KindConflict, Where: f.path(tensorflow.ClusterFile),
		Detail: "was made for other tasks: " + strings.TrimSpace(string(cluster.Conf().Encode())) + ", not " + strings.TrimSpace(string(conf.Encode())),
		Hint:   "be rid of it, then start anew: ipdc tf down, ipdc tf up",
	}.Error()
}

// started notes that there may be a job of the cluster from now on.
func (f *tfFlags) started(cluster tensorflow.Cluster) error {
	if !cluster.Unstarted {
		return nil
	}
	cluster.Unstarted = false
	return durable.WriteFile(f.path(tensorflow.ClusterFile), cluster.Encode(), 0o644)
}

// tfWaitUp waits until all tasks of the cluster run.
func (a *app) tfWaitUp(ctx context.Context, c *client.Client, cluster tensorflow.Cluster, id jobspec.JobID) error {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	said := ""
	for {
		j, err := c.Job(ctx, id.String())
		switch {
		case err != nil:
			return err
		case j.State.Final():
			return a.finish(ctx, c, j)
		case tensorflow.StatusOf(cluster, j).State == tensorflow.StateUp:
			a.say("all tasks run, though their programs may not listen yet; reach them from here: ipdc tf forward")
			return a.printID(j)
		case j.Waiting != said && j.Waiting != "":
			said = j.Waiting
			a.say("job %s %s", id, visible(said))
		}
		select {
		case <-ctx.Done():
			a.say("interrupted; the cluster goes on starting\n  look at it: ipdc tf status\n  stop it:    ipdc tf down")
			return errInterrupted
		case <-tick.C:
		}
	}
}

// tfJobs are the jobs of a cluster, the newest first.
func tfJobs(ctx context.Context, c *client.Client, cluster tensorflow.Cluster) ([]wire.Job, error) {
	return c.Jobs(ctx, client.JobFilter{Labels: map[string]string{tensorflow.ClusterLabel: cluster.ID}})
}

func (a *app) tfStatusCmd() *cobra.Command {
	f := &tfFlags{}
	cmd := &cobra.Command{
		Use: "status", Short: "Show the tasks of the cluster of this directory, and where they run",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.tfStatus(cmd.Context(), f) },
	}
	f.add(cmd.Flags())
	return cmd
}

func (a *app) tfStatus(ctx context.Context, f *tfFlags) error {
	cluster, err := f.cluster()
	if err != nil {
		return err
	}
	return a.withClient(func(c *client.Client) error {
		var j wire.Job
		jobs, err := tfJobs(ctx, c, cluster)
		if err == nil && len(jobs) > 0 {
			j, err = c.Job(ctx, jobs[0].ID.String())
		}
		if err != nil {
			return err
		}
		st := tensorflow.StatusOf(cluster, j)
		return a.print(st, st.Job.String(), func(w io.Writer) error { return printTF(w, st) })
	})
}

func printTF(w io.Writer, st tensorflow.Status) error {
	rows := [][]string{{"State:", string(st.State)}}
	for _, row := range [][]string{{"Job:", st.Job.String()}, {"Waiting:", st.Waiting}, {"Failure:", strings.ReplaceAll(st.Failure, "\n", "; ")}} {
		if row[1] != "" {
			rows = append(rows, row)
		}
	}
	if st.Restarts > 0 {
		rows = append(rows, []string{"Restarts:", fmt.Sprintf("%d (why: ipdc job logs %s)", st.Restarts, st.Job)})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	fmt.Fprintln(w)
	rows = [][]string{{"TASK", "STATE", "FORWARDED TO", "NODE"}}
	for _, t := range st.Tasks {
		rows = append(rows, []string{t.Name, orDash(string(t.State)), t.Addr, orDash(t.Node)})
	}
	return table(w, rows)
}

func (a *app) tfDownCmd() *cobra.Command {
	f := &tfFlags{}
	cmd := &cobra.Command{
		Use: "down", Aliases: []string{"2"}, Short: "Stop the cluster of this directory, and delete ClusterSpec.json and create_worker.py",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.tfDown(cmd.Context(), f) },
	}
	f.add(cmd.Flags())
	return cmd
}

func (a *app) tfDown(ctx context.Context, f *tfFlags) error {
	cluster, err := f.cluster()
	if err != nil {
		return err
	}
	err = a.withClient(func(c *client.Client) error { return a.tfStop(ctx, c, cluster) })
	if cluster.Unstarted && errors.Is(err, client.ErrNoNode) {
		a.say("the cluster was never started from this directory, and no node is there to ask")
		err = nil
	}
	if err != nil {
		return err
	}
	for _, name := range []string{tensorflow.WorkerFile, tensorflow.ClusterFile} {
		if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	a.say("deleted %s and %s", tensorflow.ClusterFile, tensorflow.WorkerFile)
	return nil
}

// tfStop stops what runs of a cluster.
func (a *app) tfStop(ctx context.Context, c *client.Client, cluster tensorflow.Cluster) error {
	jobs, err := tfJobs(ctx, c, cluster)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if j.State.Final() {
			continue
		}
		ended, err := a.stopJob(ctx, c, j.ID.String())
		if err != nil {
			return err
		}
		if ended.State == jobspec.JobStopped {
			a.say("job %s stopped", j.ID)
		} else {
			a.say("job %s is %s already", j.ID, ended.State)
		}
	}
	return nil
}
