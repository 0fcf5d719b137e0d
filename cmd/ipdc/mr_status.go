package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
	"github.com/ipdc/ipdc/workload/mapreduce"
)

func (a *app) mrStatusCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status JOB", Short: "Show how far a map-reduce is, what it moved, and how even its parts are",
		Long: `Status shows the stages of a map-reduce, during its run too: tasks that are done
and remembered, pairs, bytes of the shuffle, and skew, which is the largest part
against the mean. -o wide lists the parts. -o json has the lineage of each part:
the shard and the key of the task that made it, and of the map tasks before it.
` + refHelp,
	}
	return a.withJob(cmd, func(ctx context.Context, c *client.Client, ref string, _ []string) error {
		j, err := c.Job(ctx, ref)
		if err != nil {
			return err
		}
		st, ok := mapreduce.StatusOf(j)
		if !ok {
			return jobspec.Failure{
				Kind: jobspec.KindConflict, Where: "job " + j.ID.String(), Detail: "is no map-reduce",
				Hint: "see ipdc job describe " + j.ID.String(),
			}.Error()
		}
		return a.print(st, j.ID.String(), func(w io.Writer) error { return a.mrStatus(w, j, st) })
	})
}

func (a *app) mrStatus(w io.Writer, j wire.Job, st mapreduce.Status) error {
	facts := [][]string{{"Remembered:", fmt.Sprintf("%d of %s", st.Remembered(), count(int64(st.Tasks()), "task"))}}
	if st.Shuffle.Pairs > 0 {
		facts = append(facts, []string{"Shuffle:", fmt.Sprintf("%s in %s", count(st.Shuffle.Pairs, "pair"), size(st.Shuffle.Bytes))})
	}
	if s := st.Skew; s != nil {
		facts = append(facts, []string{"Skew:", fmt.Sprintf("part-%05d has %.1f times the mean of pairs: %d of %d", s.Part, s.Ratio, s.Pairs, s.All)})
	}
	if err := statusTable(w, j, facts...); err != nil {
		return err
	}
	fmt.Fprintln(w)
	rows := [][]string{{"STAGE", "TASKS", "DONE", "REMEMBERED", "READ"}}
	for _, s := range st.Stages {
		tasks := fmt.Sprint(s.Tasks)
		if s.Waits && s.Tasks == 0 {
			tasks = "?"
		}
		rows = append(rows, []string{s.Name, tasks, fmt.Sprint(s.Done), fmt.Sprint(s.Remembered), size(int64(s.Bytes))})
	}
	if err := table(w, rows); err != nil || a.format != formatWide || len(st.Parts) == 0 {
		return err
	}
	fmt.Fprintln(w)
	return mrParts(w, st.Parts)
}

// statusTable prints what the status of every workload says of its job, with
// facts of its own.
func statusTable(w io.Writer, j wire.Job, facts ...[]string) error {
	rows := [][]string{{"Job:", j.ID.String()}, {"Name:", orDash(j.Spec.Name)}, {"State:", string(j.State)}}
	if j.Waiting != "" {
		rows = append(rows, []string{"Waiting:", j.Waiting})
	}
	if f := j.Failure; f != nil {
		rows = append(rows, []string{"Failure:", strings.ReplaceAll(describeFailure(*f), "\n", "; ")})
	}
	rows = append(rows, facts...)
	if j.Result.Defined() {
		rows = append(rows, []string{"Result:", j.Result.String()})
	}
	if t := took(j); t != "" {
		rows = append(rows, []string{"Took:", t})
	}
	return table(w, rows)
}

// mrParts lists the parts of the result.
func mrParts(w io.Writer, parts []mapreduce.Part) error {
	rows := [][]string{{"PART", "NODE", "PAIRS", "KEYS", "LARGEST KEY", "SHUFFLED", "WRITTEN", "OUTPUT"}}
	for _, p := range parts {
		node := "-"
		if p.Node != "" {
			node = identity.ID(p.Node).Short()
		}
		row := []string{p.Name, node, "-", "-", "-", "-", "-", orDash(p.Output.String())}
		if n := p.Counted; n != nil {
			row = []string{p.Name, node, fmt.Sprint(n.Pairs), fmt.Sprint(n.Keys), fmt.Sprint(n.Largest), size(n.Bytes), size(n.Written), orDash(p.Output.String())}
		}
		rows = append(rows, row)
	}
	return table(w, rows)
}
