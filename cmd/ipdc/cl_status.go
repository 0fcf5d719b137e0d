package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/wire"
	"github.com/ipdc/ipdc/workload/cl"
)

func (a *app) clStatusCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status JOB", Short: "Show how far a run over a list is",
		Long: "Status shows how many lines of a list are done, failed and remembered, and each\n" +
			"slice with its node, during the run too. How each line ended: ipdc cl items.\n" + refHelp,
		Example: "  ipdc cl status @last",
	}
	return a.withJob(cmd, func(ctx context.Context, c *client.Client, ref string, _ []string) error {
		j, err := a.clJob(ctx, c, ref)
		if err != nil {
			return err
		}
		st, _ := cl.StatusOf(j)
		return a.print(st, j.ID.String(), func(w io.Writer) error { return clStatus(w, j, st) })
	})
}

func clStatus(w io.Writer, j wire.Job, st cl.Status) error {
	lines := fmt.Sprintf("%d of %d done", st.Done, st.Lines)
	if st.Remembered > 0 {
		lines += fmt.Sprintf(", %d remembered", st.Remembered)
	}
	if st.Failed > 0 {
		lines += fmt.Sprintf(", %d failed (ipdc cl items %s --failed)", st.Failed, j.ID)
	}
	if err := statusTable(w, j, []string{"Lines:", lines}); err != nil || len(st.Slices) == 0 {
		return err
	}
	fmt.Fprintln(w)
	rows := [][]string{{"SLICE", "NODE", "STATE", "DONE", "FAILED", "TRIES"}}
	for _, s := range st.Slices {
		node := "-"
		if s.Node != "" {
			node = identity.ID(s.Node).Short()
		}
		rows = append(rows, []string{fmt.Sprint(s.Index), node, orDash(string(s.State)), fmt.Sprint(s.Done), fmt.Sprint(s.Failed), fmt.Sprint(s.Tries)})
	}
	return table(w, rows)
}
