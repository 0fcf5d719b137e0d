package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) datasetRunsCmd() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "runs NAME[@VERSION]", Short: "List the jobs over a dataset, the newest first, with their results",
		Long: "Runs lists which job ran over which version, how that ended and what it gave. Of one\n" +
			"that was only over what was new, SINCE is the version that its entries are compared\n" +
			"with, and NEW how many there were. OWNER is the node whose dataset it was: the runs\n" +
			"stay when that is removed, or away, and another may have had the same name. Those over\n" +
			"one that the owner has removed, and made anew under its name, are left out then.",
		Example: "  ipdc dataset runs logs\n  ipdc dataset runs logs@17",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDataset(args[0], func(c *client.Client, ref jobspec.DatasetRef) error {
				jobs, err := c.Jobs(cmd.Context(), client.JobFilter{Dataset: ref, Limit: limit})
				if err == nil && len(jobs) == 0 { // perhaps there is none of the name
					_, err = c.Dataset(cmd.Context(), ref)
				}
				if err != nil {
					return err
				}
				return a.printRuns(jobs)
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "at most this many, up to 500")
	return cmd
}

func (a *app) printRuns(jobs []wire.Job) error {
	if a.format == formatName {
		for _, j := range jobs {
			fmt.Fprintln(a.out, j.ID)
		}
		return nil
	}
	return a.print(wire.JobList{Jobs: jobs}, "", func(w io.Writer) error {
		rows := [][]string{{"VERSION", "SINCE", "NEW", "JOB", "NAME", "STATE", "ENDED", "OWNER", "RESULT"}}
		for _, j := range jobs {
			since, fresh, ended := "-", "-", "-"
			if j.Dataset.Since > 0 {
				since = strconv.Itoa(j.Dataset.Since)
			}
			if j.Dataset.New != nil {
				fresh = strconv.Itoa(*j.Dataset.New)
			}
			if !j.Finished.IsZero() {
				ended = ago(j.Finished)
			}
			rows = append(rows, []string{
				strconv.Itoa(j.Dataset.Version), since, fresh, j.ID.String(), cmp.Or(j.Spec.Name, "-"), string(j.State), ended, identity.ID(j.Dataset.Owner).Short(), orDash(a.short(j)),
			})
		}
		return table(w, rows)
	})
}
