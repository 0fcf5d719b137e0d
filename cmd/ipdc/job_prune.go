package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) jobPruneCmd() *cobra.Command {
	var states, labels []string
	var older string
	var dryRun, force bool
	cmd := &cobra.Command{
		Use: "prune", Short: "Remove all jobs that have ended, with their logs and pins",
		Long: "Prune removes jobs that have ended, with their records, logs and pins; flags limit\n" +
			"which. What is remembered of them goes too. The blocks that nothing pins any more\n" +
			"go with the next garbage collection (gc-period). Without a limit it asks first, or wants --force.",
		Example: "  ipdc job prune --older-than 7d\n  ipdc job prune --state failed,stopped --dry-run",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := wire.PruneWish{DryRun: dryRun}
			for _, s := range states {
				w.States = append(w.States, jobspec.JobState(s))
			}
			var err error
			if w.Labels, err = pairs("--label", labels); err != nil {
				return err
			}
			if err := setting("older-than", older, &w.OlderThan); err != nil {
				return err
			}
			return a.withClient(func(c *client.Client) error {
				all := len(states)+len(labels) == 0 && older == ""
				if all && !dryRun && !force {
					if err := a.confirmPrune(cmd.Context(), c); err != nil {
						return err
					}
				}
				res, err := c.Prune(cmd.Context(), w)
				if err != nil {
					return err
				}
				return a.printPruned(res)
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&older, "older-than", "", "only jobs that ended so long ago, such as 12h or 7d")
	fs.StringSliceVar(&states, "state", nil, "only jobs in these states: succeeded, failed or stopped")
	fs.StringArrayVarP(&labels, "label", "l", nil, "only jobs with this label, KEY=VALUE (repeatable)")
	fs.BoolVar(&dryRun, "dry-run", false, "show the jobs and remove none")
	fs.BoolVarP(&force, "force", "f", false, "do not ask")
	return cmd
}

// confirmPrune asks before every result of the node is given up.
func (a *app) confirmPrune(ctx context.Context, c *client.Client) error {
	res, err := c.Prune(ctx, wire.PruneWish{DryRun: true})
	if err != nil || len(res.Jobs) == 0 {
		return err
	}
	n := count(int64(len(res.Jobs)), "job")
	if !ttyIn(a.in) || !tty(a.err) {
		return usagef("this removes %s with their results; say which by --older-than, --state or --label, or give --force", n)
	}
	fmt.Fprintf(a.err, "remove %s with their results? [y/N] ", n)
	line, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if s := strings.ToLower(strings.TrimSpace(line)); s != "y" && s != "yes" {
		return errInterrupted
	}
	return nil
}

func (a *app) printPruned(res wire.Pruned) error {
	var ids []string
	rows := [][]string{{"ID", "NAME", "STATE", "ENDED", "RESULT"}}
	for _, j := range res.Jobs {
		ids = append(ids, j.ID.String())
		rows = append(rows, []string{j.ID.String(), orDash(j.Name), string(j.State), ago(j.Finished), orDash(a.shortCID(j.Result))})
	}
	if a.format == formatName && len(ids) == 0 {
		return nil
	}
	return a.print(res, strings.Join(ids, "\n"), func(w io.Writer) error {
		if len(ids) > 0 {
			if err := table(w, rows); err != nil {
				return err
			}
		}
		n := count(int64(len(ids)), "job")
		switch {
		case res.DryRun:
			a.say("would remove %s", n)
		case len(ids) == 0:
			a.say("removed no job")
		default:
			a.say("removed %s; ipdc node gc frees the blocks that nothing pins now", n)
		}
		return nil
	})
}
