package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) jobPlanCmd() *cobra.Command {
	f := &submitFlags{plan: true}
	cmd := &cobra.Command{
		Use:   "plan (-f FILE.py | -e COMMAND | -x CID|PATH | SPEC.yaml | -) [-c CID|PATH]",
		Short: "Show what a submit would do, and run nothing",
		Long: "Plan takes what submit takes and prints the tasks that the job would have: their\n" +
			"files, bytes and keys, what is remembered from earlier jobs, and why it is so; and\n" +
			"the members of the domain: what each holds of the input, what it would get, and all\n" +
			"that speaks against it. A local input or program is added to the node, as by\n" +
			"submit, and is let go of when the plan is done. -o wide lists every file. Of a job with stages the first one is planned; the\n" +
			"others are when what they read is there.",
		Example: "  ipdc job plan -f process.py -c bafy...\n  ipdc job plan job.yaml -o json",
		Args:    usageArgs(cobra.MaximumNArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.submit(cmd.Context(), f, args) },
	}
	f.addProgram(cmd.Flags())
	return cmd
}

// hold returns under which name the node holds what is uploaded, which is none,
// so that it stays pinned, unless this is a plan.
func (f *submitFlags) hold() string {
	if f.plan && f.held == "" {
		f.held = rand.Text()
	}
	return f.held
}

// endHold lets go of what was uploaded for a plan, whatever came of it.
func (a *app) endHold(ctx context.Context, f *submitFlags) {
	if f.held == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := a.withClient(func(c *client.Client) error { return c.Release(ctx, f.held) })
	if err != nil {
		a.say("what was uploaded for the plan is kept for some hours: %v", err)
	}
	f.held = ""
}

func (a *app) printPlan(ctx context.Context, c *client.Client, spec jobspec.Spec) error {
	p, err := c.Plan(ctx, spec)
	if err != nil {
		return err
	}
	return a.print(p, p.SpecCID.String(), func(w io.Writer) error { return a.planText(w, spec, p) })
}

func (a *app) planText(w io.Writer, spec jobspec.Spec, p wire.Plan) error {
	rows := [][]string{
		{"Spec:", p.SpecCID.String()},
		{"Image:", fmt.Sprintf("%s (%s, %s)", spec.Stage(0).Run.Image, p.Image, p.Arch)},
	}
	if len(p.Stages) > 0 {
		rows = append(rows, []string{"Stage:", p.Stages[0].Name + ", the first of " + fmt.Sprint(len(p.Stages))})
	}
	if p.Input.Defined() {
		rows = append(rows, []string{"Input:", p.Input.String() + " (" + planSize(p) + ")"})
	}
	if len(p.Packages) > 0 {
		rows = append(rows, []string{"Packages:", strings.Join(p.Packages, ", ")})
	}
	if p.Items > 0 {
		rows = append(rows, []string{"Cache:", fmt.Sprintf("%d of %d items remembered", len(p.Kept), p.Items)})
	}
	for i, why := range p.Reasons {
		head := ""
		if i == 0 {
			head = "Why:"
		}
		rows = append(rows, []string{head, why})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	if err := planNodes(w, p.Nodes); err != nil {
		return err
	}
	if err := a.planTasks(w, p); err != nil {
		return err
	}
	return planStages(w, p.Stages)
}

// planStages lists the stages behind the first one.
func planStages(w io.Writer, stages []wire.PlanStage) error {
	if len(stages) < 2 {
		return nil
	}
	fmt.Fprintln(w)
	rows := [][]string{{"STAGE", "TASKS", "CPU", "MEMORY", "IMAGE", "PLANNED"}}
	for _, st := range stages[1:] {
		tasks, when := "?", "when the stage before it has succeeded"
		if st.Tasks > 0 {
			tasks = fmt.Sprint(st.Tasks)
		}
		if len(st.Needs) > 0 {
			when = "when " + strings.Join(st.Needs, " and ") + " has succeeded"
		}
		rows = append(rows, []string{st.Name, tasks, st.Each.CPU.String(), size(int64(st.Each.Memory)), string(st.Image)[:min(19, len(st.Image))], when})
	}
	return table(w, rows)
}

// planNodes lists who was looked at: what each holds of the input, has, would
// get, and what speaks against it.
func planNodes(w io.Writer, nodes []wire.PlanNode) error {
	fmt.Fprintln(w)
	rows := [][]string{{"NODE", "LOCAL", "SLOTS", "FREE CPU", "FREE MEMORY", "TASKS", "BYTES", "AGAINST"}}
	for _, n := range nodes {
		name := identity.ID(n.ID).Short()
		if n.Here {
			name += " (here)"
		}
		against := orDash(visible(strings.Join(n.Against, "; ")))
		if n.Overflow && len(n.Against) == 0 {
			against = "kept for tasks that waited"
		}
		rows = append(rows, []string{
			name, size(n.Local), fmt.Sprint(n.Slots), fmt.Sprintf("%s/%s", n.Free.CPU, n.Capacity.CPU),
			size(int64(n.Free.Memory)) + "/" + size(int64(n.Capacity.Memory)), fmt.Sprint(n.Tasks), size(n.Bytes), against,
		})
	}
	return table(w, rows)
}

func planSize(p wire.Plan) string {
	if p.Items > 0 {
		return count(int64(p.Items), "file") + ", " + size(p.Bytes)
	}
	return size(p.Bytes)
}

func (a *app) planTasks(w io.Writer, p wire.Plan) error {
	if len(p.Tasks) > 0 {
		fmt.Fprintln(w)
		rows := [][]string{{"TASK", "NODE", "FILES", "BYTES", "REMEMBERED", "KEY"}}
		for _, t := range p.Tasks {
			files := "-"
			if len(t.Items) > 0 {
				files = fmt.Sprint(len(t.Items))
			}
			rows = append(rows, []string{cmp.Or(t.Name, fmt.Sprint(t.Index)), plannedAt(t.Holder), files, size(t.Bytes), planned(t.Done, t.Remembered), orDash(t.Key.String())})
		}
		if err := table(w, rows); err != nil {
			return err
		}
	}
	if a.format != formatWide || p.Items == 0 {
		return nil
	}
	fmt.Fprintln(w)
	rows := [][]string{{"FILE", "BYTES", "REMEMBERED", "TASK", "KEY"}}
	for _, it := range p.Kept {
		rows = append(rows, []string{it.Path, size(it.Bytes), planned(it.Done, it.Remembered), "-", it.Key.String()})
	}
	for _, t := range p.Tasks {
		for _, it := range t.Items {
			rows = append(rows, []string{it.Path, size(it.Bytes), planned(it.Done, it.Remembered), fmt.Sprint(t.Index), orDash(it.Key.String())})
		}
	}
	return table(w, rows)
}

// plannedAt names the node that a task goes to.
func plannedAt(holder string) string {
	if holder == "" {
		return "here"
	}
	return identity.ID(holder).Short()
}

// planned says whether something would run, or which job did it.
func planned(done bool, by jobspec.JobID) string {
	switch {
	case !done:
		return "no"
	case by == "":
		return "by another's job"
	}
	return "by job " + by.String()
}
