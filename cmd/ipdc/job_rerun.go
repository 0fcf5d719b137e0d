package main

import (
	"context"
	"crypto/rand"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
)

func (a *app) jobRerunCmd() *cobra.Command {
	var cache, out string
	var detach bool
	cmd := &cobra.Command{
		Use: "rerun JOB", Short: "Submit a job's spec again as a new job",
		Long: "Rerun submits the spec of a job again and waits for the new job as submit does.\n" +
			"Everything is run again, and what it gives is remembered in place of what was;\n" +
			"with --cache use only that is run which is not remembered, such as what failed.\n" + refHelp,
		Example: "  ipdc job rerun @last\n  ipdc job rerun 01kb --cache use",
	}
	fs := cmd.Flags()
	fs.StringVar(&cache, "cache", "", "remembered results: use, refresh or off (default refresh, or off where the job says so)")
	fs.StringVar(&out, "out", "", "download the result to this folder")
	fs.BoolVarP(&detach, "detach", "d", false, "print the job id and do not wait")
	return a.withJob(cmd, func(ctx context.Context, c *client.Client, ref string, _ []string) error {
		if err := checkOut(out, detach); err != nil {
			return err
		}
		old, err := c.Job(ctx, ref)
		if err != nil {
			return err
		}
		spec := old.Spec
		if spec.Cache == jobspec.CacheUse {
			spec.Cache = jobspec.CacheRefresh
		}
		setString(&spec.Cache, jobspec.Cache(cache))
		job, err := c.SubmitTo(ctx, old.Member, spec, rand.Text())
		if err != nil {
			return err
		}
		if detach {
			return a.printID(job)
		}
		return a.follow(ctx, c, job, out)
	})
}

// checkOut refuses a folder for the result that could not be filled.
func checkOut(out string, detach bool) error {
	if out == "" {
		return nil
	}
	if detach {
		return usagef("--out needs the result, -d does not wait for it; use ipdc job get later")
	}
	return vacant(out)
}
