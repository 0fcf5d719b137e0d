package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) jobDescribeCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "describe JOB", Aliases: []string{"inspect", "show"},
		Short: "Show all that is known about a job",
		Long: `Shows all that is known about a job. -o wide says, too, how long the parts of
each attempt took: where its time went.
` + refHelp,
	}
	return a.withJob(cmd, func(ctx context.Context, c *client.Client, ref string, _ []string) error {
		j, err := c.Job(ctx, ref)
		if err != nil {
			return err
		}
		return a.print(j, j.ID.String(), func(w io.Writer) error {
			if j.Recorded != nil {
				return describeRecorded(w, j)
			}
			if err := describe(w, j); err != nil || a.format != formatWide {
				return err
			}
			return errors.Join(describePhases(w, j), describeCounters(w, j))
		})
	})
}

func describe(w io.Writer, j wire.Job) error {
	rows := [][]string{
		{"Job:", j.ID.String()},
		{"Name:", orDash(j.Spec.Name)},
		{"State:", string(j.State)},
	}
	add := func(k, v string) {
		if v != "" {
			rows = append(rows, []string{k, v})
		}
	}
	add("Member:", j.Member)
	add("Waiting:", j.Waiting)
	if t := j.Tenure; t != nil {
		add("Record:", fmt.Sprintf("held by the domain's keepers, epoch %d", t.Epoch))
	} else if j.Member == "" {
		add("Record:", "on this node only")
	}
	if f := j.Failure; f != nil {
		add("Failure:", strings.ReplaceAll(describeFailure(*f), "\n", "; "))
	}
	if j.ItemsTotal > 0 {
		add("Files:", fmt.Sprintf("%d of %d done", j.ItemsDone, j.ItemsTotal))
	}
	add("Cache:", remembered(j, ""))
	if c := j.Checkpoint; c != nil {
		add("Checkpoint:", fmt.Sprintf("%s (%s of %s, %s, generation %d, at %s)", c.CID, visible(c.Name), c.Task, size(int64(c.Bytes)), c.Generation, stamp(c.Taken)))
	}
	add("Result:", j.Result.String())
	add("Unavailable:", j.Unavailable)
	add("Held by:", heldBy(j.Replicas))
	add("Partial:", j.Partial.String())
	for _, m := range j.Merged {
		add("Merged:", m.CID.String()+" ("+string(m.Merge)+")")
	}
	add("Spec:", j.SpecCID.String())
	if len(j.Spec.Stages) == 0 {
		add("Image:", j.Spec.Run.Image)
		add("Command:", fmt.Sprintf("%q", j.Spec.Run.Command))
		add("Code:", j.Spec.Run.Code.String())
	}
	for _, in := range j.Spec.Inputs {
		add("Input:", in.CID)
		add("Dataset:", in.Dataset)
		if in.Since.Defined() {
			add("New since:", newSince(j, in))
		}
	}
	add("Network:", strings.Join(j.Spec.Network, ", "))
	r := j.Spec.Resources
	add("Resources:", fmt.Sprintf("%s CPU, %s memory, %s disk per task", r.CPU, r.Memory, r.Disk))
	add("Moved:", moved(j))
	add("Submitted:", stamp(j.Submitted))
	add("Started:", stamp(j.Started))
	add("Finished:", stamp(j.Finished))
	add("Took:", took(j))
	if keep := j.Spec.Keep; keep > 0 && j.State.Final() {
		add("Kept until:", stamp(j.Finished.Add(keep.Std())))
	} else if keep > 0 {
		add("Kept for:", keep.String()+" after its end")
	}
	if err := table(w, rows); err != nil {
		return err
	}
	if err := describeStages(w, j); err != nil {
		return err
	}
	if len(j.Deliveries) > 0 {
		fmt.Fprintln(w)
	}
	if err := describeDeliveries(w, j.Deliveries); err != nil {
		return err
	}
	return describeAttempts(w, j)
}

// newSince says what a job leaves out, and which run it follows.
func newSince(j wire.Job, in jobspec.Input) string {
	u := j.Dataset
	if u == nil || u.Previous == "" {
		return in.Since.String()
	}
	s := fmt.Sprintf("%s, of job %s with result %s", jobspec.DatasetRef{Name: u.Name, Version: u.Since}, u.Previous, u.Result)
	if u.New != nil {
		s = fmt.Sprintf("%s: %d new", s, *u.New)
	}
	return s
}

// describeStages shows what each stage runs and how far it is.
func describeStages(w io.Writer, j wire.Job) error {
	if len(j.Spec.Stages) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	rows := [][]string{{"STAGE", "TASKS", "DONE", "REMEMBERED", "BYTES", "IMAGE", "COMMAND"}}
	for i, st := range j.Spec.Stages {
		tasks, done, kept, bytes := "-", "-", "-", "-"
		if i < len(j.Stages) {
			s := j.Stages[i]
			if s.Tasks > 0 || !s.Waits {
				tasks = fmt.Sprint(s.Tasks)
			}
			if done = "waits"; !s.Waits {
				done, kept, bytes = fmt.Sprint(s.Done), fmt.Sprint(s.Remembered), size(int64(s.Bytes))
			}
		}
		rows = append(rows, []string{st.Name, tasks, done, kept, bytes, st.Run.Image, visible(short(fmt.Sprintf("%q", st.Run.Command), 60))})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	for _, s := range j.Stages {
		for _, name := range slices.Sorted(maps.Keys(s.Counters)) {
			fmt.Fprintf(w, "%s %s: %d\n", s.Name, name, s.Counters[name])
		}
	}
	return nil
}

// short cuts a text that is too long for a column.
func short(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-3]) + "..."
	}
	return s
}

// heldBy says how many nodes hold something, and which.
func heldBy(r *wire.Replicas) string {
	if r == nil {
		return ""
	}
	ids := make([]string, len(r.Holders))
	for i, id := range r.Holders {
		if ids[i] = id.Short(); slices.Contains(r.Away, id) {
			ids[i] += " (away)"
		}
	}
	text := fmt.Sprintf("%d of %d nodes: %s", len(ids), r.Want, strings.Join(ids, ", "))
	if len(ids) < r.Want {
		text += "; another member takes it as soon as one is there with room"
	}
	return text
}

// describeRecorded shows what the keepers of the domain know of a job that is
// another member's.
func describeRecorded(w io.Writer, j wire.Job) error {
	e := j.Recorded
	rows := [][]string{
		{"Job:", j.ID.String()},
		{"State:", "not ended"},
		{"Owner:", fmt.Sprintf("%s, epoch %d; all else of the job is known there", e.Owner, e.Epoch)},
		{"Submitted:", stamp(j.Submitted)},
		{"Spec:", j.SpecCID.String()},
	}
	if e.Over() {
		rows[1][1] = string(e.State)
	}
	for _, id := range e.Past {
		rows = append(rows, []string{"Before:", id.String()})
	}
	if e.Result.Defined() {
		rows = append(rows, []string{"Result:", e.Result.String()})
	}
	if e.Detail != "" {
		rows = append(rows, []string{"Failure:", e.Detail})
	}
	return table(w, rows)
}

// moved says what was fetched from other members for a job that has ended.
func moved(j wire.Job) string {
	var m jobspec.Moved
	if j.Moved != nil {
		m = *j.Moved
	}
	away := j.Moved != nil
	for _, at := range j.Attempts {
		if rc := at.Receipt; rc != nil {
			m.Content, m.Nodes = m.Content+rc.Usage.MovedContent, m.Nodes+rc.Usage.MovedNodes
			away = away || rc.Worker != j.Attempts[0].Node
		}
	}
	if !away || !j.State.Final() {
		return ""
	}
	return fmt.Sprintf("%s of content and %s of directories to where it ran; %s of outputs", size(int64(m.Content)), size(int64(m.Nodes)), size(int64(m.Outputs)))
}

// remembered says how much of a job earlier jobs had done, behind sep.
func remembered(j wire.Job, sep string) string {
	switch {
	case j.Remembered == 0:
		return ""
	case len(j.Spec.Stages) > 0 && len(j.Tasks) > 0:
		return sep + fmt.Sprintf("%d of %d tasks remembered", j.Remembered, len(j.Tasks))
	case len(j.Spec.Stages) > 0:
		return sep + fmt.Sprintf("%d tasks remembered", j.Remembered)
	case j.ItemsTotal == 0: // one task, as a plan without items has
		return sep + "1 of 1 task remembered"
	}
	return sep + fmt.Sprintf("%d of %d items remembered", j.Remembered, j.ItemsTotal)
}

func describeAttempts(w io.Writer, j wire.Job) error {
	if len(j.Attempts) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	rows := [][]string{{"TASK", "TRY", "NODE", "STATE", "SINCE", "EXIT", "FILES", "CPU", "MEMORY", "WALL", "OUTPUT"}}
	for _, at := range j.Attempts {
		exit, cpu, mem, wall := "-", "-", "-", "-"
		if rc := at.Receipt; rc != nil {
			exit = fmt.Sprint(rc.ExitCode)
			cpu, mem = span(time.Duration(rc.Usage.CPU)), size(int64(rc.Usage.MaxMemory))
			wall = span(time.Duration(rc.Usage.Wall))
		}
		rows = append(rows, []string{
			taskName(at), fmt.Sprint(at.ID.Try), identity.ID(at.Node).Short(), string(at.State), reachedAt(at), exit,
			fmt.Sprint(at.ItemsDone), cpu, mem, wall, orDash(at.Output.String()),
		})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	for _, at := range j.Attempts {
		if f := at.Failure; f != nil && at.State == jobspec.AttemptAbandoned {
			fmt.Fprintf(w, "given up: task %s, try %d: %s: %s\n", taskName(at), at.ID.Try, f.Kind, visible(f.Detail))
		}
		for _, e := range at.ItemErrors {
			fmt.Fprintf(w, "failed: %s: %s\n", visible(e.Path), visible(e.Detail))
		}
	}
	return nil
}

// taskName is the name of an attempt's task in a gang, else its number.
func taskName(at jobspec.Attempt) string {
	if p := at.Peers; p != nil && p.Self < len(p.Tasks) {
		return p.Tasks[p.Self].Name
	}
	return fmt.Sprint(at.ID.Task)
}

// describePhases shows how long the parts of each attempt took.
func describePhases(w io.Writer, j wire.Job) error {
	if len(j.Attempts) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	rows := [][]string{{"TASK", "TRY", "WAITED", "BROUGHT", "STAGED", "MOUNTED", "CREATED", "BEGUN", "RAN", "PACKED", "RECORDED", "TAKEN"}}
	for _, at := range j.Attempts {
		row, p := []string{taskName(at), fmt.Sprint(at.ID.Try)}, at.Phases
		for _, d := range []jobspec.Duration{p.Waited, p.Brought, p.Staged, p.Mounted, p.Created, p.Begun, p.Ran, p.Packed, p.Recorded, p.Taken} {
			row = append(row, span(d.Std()))
		}
		rows = append(rows, row)
	}
	return table(w, rows)
}

// describeCounters shows what the programs counted.
func describeCounters(w io.Writer, j wire.Job) error {
	rows := [][]string{{"TASK", "TRY", "COUNTER", "VALUE"}}
	for _, at := range j.Attempts {
		for _, name := range slices.Sorted(maps.Keys(at.Counters)) {
			rows = append(rows, []string{taskName(at), fmt.Sprint(at.ID.Try), visible(name), fmt.Sprint(at.Counters[name])})
		}
	}
	if len(rows) == 1 {
		return nil
	}
	fmt.Fprintln(w)
	return table(w, rows)
}

// reachedAt says when an attempt came as far as is known: its end, its program's
// begin, or its lease.
func reachedAt(at jobspec.Attempt) string {
	for _, t := range []time.Time{at.Exited, at.Started} {
		if !t.IsZero() {
			return ago(t)
		}
	}
	return ago(at.Leased)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339) + " (" + ago(t) + ")"
}
