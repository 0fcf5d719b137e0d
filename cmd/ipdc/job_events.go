package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
)

func (a *app) jobEventsCmd() *cobra.Command {
	var follow bool
	var since int64
	cmd := &cobra.Command{
		Use: "events JOB", Short: "Print a job's history, one event per line",
		Long: "Events prints what has happened to a job: number, time, type, and what. -o json\n" +
			"gives one object per line.\n" + refHelp,
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the job ends")
	cmd.Flags().Int64Var(&since, "since", 0, "begin after the event of this number")
	return a.withJob(cmd, func(ctx context.Context, c *client.Client, ref string, _ []string) error {
		if since < 0 {
			return usagef("--since %d: event numbers begin with 1", since)
		}
		return c.Events(ctx, ref, since, follow, a.printEvent)
	})
}

func (a *app) printEvent(e jobspec.Event) error {
	var b []byte
	var err error
	switch a.format {
	case formatJSON:
		if b, err = json.Marshal(e); err == nil {
			b = append(b, '\n')
		}
	case formatYAML:
		if b, err = yaml.Marshal(e); err == nil {
			b = append([]byte("---\n"), b...)
		}
	case formatName:
		b = fmt.Appendf(nil, "%d\n", e.Seq)
	default:
		b = fmt.Appendf(nil, "%-4d %s  %-8s  %s\n", e.Seq, e.Time.UTC().Format(time.RFC3339), e.Type, visible(eventText(e)))
	}
	if err == nil {
		_, err = a.out.Write(b)
	}
	return err
}

func eventText(e jobspec.Event) string {
	if e.Type == jobspec.EventProgress {
		return fmt.Sprintf("%d of %d files done", e.Done, e.Total)
	}
	return e.Detail
}
