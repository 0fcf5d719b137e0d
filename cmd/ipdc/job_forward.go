package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/workload/tensorflow"
)

func (a *app) jobForwardCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "forward JOB TASK[:PORT]...", Short: "Reach tasks of a gang at ports of this machine",
		Long: "Forward listens on 127.0.0.1 and carries each connection to the port of a task of the\n" +
			"job's gang, wherever that runs, until it is stopped. PORT is the one here; default any\n" +
			"that is free. A task that does not listen yet, or is started again, closes connections.\n" + refHelp,
		Example: "  ipdc job forward @last worker-0:2222\n  ipdc job forward 01kb ps-0 worker-0 worker-1",
		Args:    usageArgs(cobra.MinimumNArgs(2)),
	}
	return a.withJob(cmd, func(ctx context.Context, c *client.Client, ref string, tasks []string) error {
		j, err := c.Job(ctx, ref) // by id from here on: @last may name another job later
		if err != nil {
			return err
		}
		fw := &forwarder{app: a, dial: func(ctx context.Context, task string) (net.Conn, error) { return c.Dial(ctx, j.ID.String(), task) }}
		defer fw.close()
		for _, arg := range tasks {
			task, port, _ := strings.Cut(arg, ":")
			if _, err := strconv.ParseUint("0"+port, 10, 16); err != nil {
				return usagef("%q: want TASK or TASK:PORT", arg)
			}
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
			if err != nil {
				return fmt.Errorf("forward %s: %w", task, err)
			}
			fw.tasks, fw.at = append(fw.tasks, tensorflow.Task{Name: task}), append(fw.at, l)
			fmt.Fprintf(a.out, "%s %s\n", task, l.Addr())
		}
		return fw.serve(ctx)
	})
}
