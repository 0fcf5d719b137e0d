package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
)

func (a *app) jobPublishCmd() *cobra.Command {
	var to []string
	cmd := &cobra.Command{
		Use: "publish JOB [--to OUTLET]...", Short: "Send the result of a job somewhere, or try again what failed",
		Long: "Publish sends the files of a job's result to other places, as --publish of job submit\n" +
			"does: an S3 bucket, a web server (HTTP PUT), a directory of the node. The node's\n" +
			"administrator permits them. Without --to it tries again what has failed. It does not\n" +
			"wait: job describe shows how far each is.\n\n" + refHelp,
		Example: "  ipdc job publish @last --to s3://results/2026\n  ipdc job publish nightly",
	}
	cmd.Flags().StringSliceVar(&to, "to", nil, "s3://BUCKET/PREFIX, https://HOST/PATH or file:///DIR (repeatable)")
	return a.withJob(cmd, func(ctx context.Context, c *client.Client, ref string, _ []string) error {
		d, err := c.Publish(ctx, ref, to...)
		if err != nil {
			return err
		}
		return a.print(d, d.Job.String(), func(w io.Writer) error { return describeDeliveries(w, d.Deliveries) })
	})
}

// describeDeliveries shows where a result goes and who is told, and how far
// that is.
func describeDeliveries(w io.Writer, list []jobspec.Delivery) error {
	if len(list) == 0 {
		return nil
	}
	rows := [][]string{{"DELIVERY", "TO", "STATE", "FILES", "BYTES", "TRIES", "NEXT", "WHY"}}
	for _, d := range list {
		next, files, bytes := "-", "-", "-"
		if d.State == jobspec.DeliveryWaiting {
			next = stamp(d.Next)
		}
		if d.Kind == jobspec.DeliverPublish {
			files, bytes = fmt.Sprint(d.Files), size(int64(d.Bytes))
		}
		rows = append(rows, []string{string(d.Kind), visible(d.To), string(d.State), files, bytes, fmt.Sprint(d.Tries), next, visible(orDash(d.Why))})
	}
	return table(w, rows)
}
