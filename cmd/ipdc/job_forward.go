package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
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
		var all sync.WaitGroup
		defer all.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for _, arg := range tasks {
			task, port, _ := strings.Cut(arg, ":")
			if _, err := strconv.ParseUint("0"+port, 10, 16); err != nil {
				return usagef("%q: want TASK or TASK:PORT", arg)
			}
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
			if err != nil {
				return fmt.Errorf("forward %s: %w", task, err)
			}
			context.AfterFunc(ctx, func() { _ = l.Close() })
			fmt.Fprintf(a.out, "%s %s\n", task, l.Addr())
			f := &forward{app: a, client: c, job: j.ID.String(), task: task}
			all.Go(func() { f.serve(ctx, l) })
		}
		<-ctx.Done()
		return nil
	})
}

// forward carries connections to one task.
type forward struct {
	*app
	client    *client.Client
	job, task string
}

func (f *forward) serve(ctx context.Context, l net.Listener) {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			conns.Go(func() {
				if err := f.carry(ctx, c.(*net.TCPConn)); err != nil && ctx.Err() == nil {
					f.say("%s: %v", f.task, err)
				}
			})
		}
	}
}

// carry joins a connection with the task. One that was cut is reset.
func (f *forward) carry(ctx context.Context, here *net.TCPConn) error {
	defer here.Close()
	there, err := f.client.Dial(ctx, f.job, f.task)
	if err != nil {
		_ = here.SetLinger(0)
		return err
	}
	defer there.Close()
	defer context.AfterFunc(ctx, func() { _, _ = here.Close(), there.Close() })()
	type half interface {
		net.Conn
		CloseWrite() error
	}
	var both sync.WaitGroup
	copyAll := func(to, from half) {
		_, err := io.Copy(to, from)
		if err == nil {
			err = to.CloseWrite()
		}
		if err != nil {
			_ = here.SetLinger(0)
			_, _ = here.Close(), there.Close()
		}
	}
	both.Go(func() { copyAll(there.(half), here) }) //nolint:forcetypeassert // as Dial says
	both.Go(func() { copyAll(here, there.(half)) }) //nolint:forcetypeassert // likewise
	both.Wait()
	return nil
}
