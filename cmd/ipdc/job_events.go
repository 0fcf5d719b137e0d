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
	switch a.format {
	case formatJSON, formatYAML:
		return a.printLine(e)
	case formatName:
		_, err := fmt.Fprintln(a.out, e.Seq)
		return err
	}
	_, err := fmt.Fprintf(a.out, "%-4d %s  %-8s  %s\n", e.Seq, e.Time.UTC().Format(time.RFC3339), e.Type, visible(eventText(e)))
	return err
}

// printLine prints one value of a stream: JSON on a line, or a document of
// YAML.
func (a *app) printLine(v any) error {
	if a.format == formatJSON {
		enc := json.NewEncoder(a.out)
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	b, err := yaml.Marshal(v)
	if err == nil {
		_, err = fmt.Fprintf(a.out, "---\n%s", b)
	}
	return err
}

func eventText(e jobspec.Event) string {
	if e.Type == jobspec.EventProgress {
		return fmt.Sprintf("%d of %d files done", e.Done, e.Total)
	}
	return e.Detail
}
