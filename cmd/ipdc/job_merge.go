package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
)

func (a *app) jobMergeCmd() *cobra.Command {
	var how string
	cmd := &cobra.Command{
		Use: "merge JOB", Short: "Merge the outputs of a job's tasks in another way, without a run",
		Long: "Merge makes one more CID of the outputs that a job's tasks gave, and prints it. It\n" +
			"takes jobs that have succeeded, and those that failed because outputs of one name\n" +
			"clash; how the job ended stays as it is. What it gives is kept with the job, and job\n" +
			"get downloads it where there is no result.\n\n" +
			"  union   one tree; one name with two contents is a clash\n" +
			"  shards  a folder per task, which never clashes\n" +
			"  concat  one tree; files of one name are put behind each other\n" +
			"  none    nothing is merged: the CID of each task's output, in their order\n\n" + refHelp,
		Example: "  ipdc job merge @last\n  ipdc job merge 01kb --merge concat",
	}
	cmd.Flags().StringVar(&how, "merge", string(jobspec.MergeShards), "union, shards, concat or none")
	return a.withJob(cmd, func(ctx context.Context, c *client.Client, ref string, _ []string) error {
		m, err := c.Merge(ctx, ref, jobspec.Merge(how))
		if err != nil {
			return err
		}
		ids := m.CID.String()
		if m.Merge == jobspec.MergeNone {
			list := make([]string, len(m.Outputs))
			for i, c := range m.Outputs {
				list[i] = c.String()
			}
			ids = strings.Join(list, "\n")
		}
		return a.print(m, ids, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, ids)
			return err
		})
	})
}
