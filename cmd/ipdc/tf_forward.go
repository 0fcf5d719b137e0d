package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/workload/tensorflow"
)

func (a *app) tfForwardCmd() *cobra.Command {
	f := &tfFlags{}
	cmd := &cobra.Command{
		Use: "forward [-- COMMAND [ARGUMENT...]]", Short: "Let programs of this machine reach the tasks of the cluster of this directory",
		Long: `Forward listens at the loopback addresses of ClusterSpec.json and carries what
comes there to the tasks, wherever these run, so that a program that is no part
of the cluster computes on it: tf.compat.v1.Session("grpc://127.0.0.1:PORT"). It
goes on until it is interrupted; with a COMMAND it runs that, and ends with it
and with its exit code.`,
		Example: "  ipdc tf forward -- python3 example1.py\n  ipdc tf forward &",
		RunE:    func(cmd *cobra.Command, args []string) error { return a.tfForward(cmd.Context(), f, args) },
	}
	f.add(cmd.Flags())
	return cmd
}

func (a *app) tfForward(ctx context.Context, f *tfFlags, command []string) error {
	cluster, err := f.cluster()
	if err != nil {
		return err
	}
	return a.withClient(func(c *client.Client) error {
		job, err := upJob(ctx, c, cluster)
		if err != nil {
			return err
		}
		fw := &forwarder{app: a, dial: func(ctx context.Context, task string) (net.Conn, error) { return c.Dial(ctx, job.String(), task) }}
		if err := fw.listen(ctx, cluster); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return fw.serve(ctx) })
		if len(command) == 0 {
			a.say("forwarding %s; Ctrl-C ends it", count(int64(len(cluster.Tasks())), "task"))
			return errors.Join(g.Wait(), context.Cause(ctx))
		}
		ran := a.runCommand(ctx, command)
		cancel()
		return errors.Join(ran, g.Wait())
	})
}

// upJob is the job of a cluster that is up.
func upJob(ctx context.Context, c *client.Client, cluster tensorflow.Cluster) (jobspec.JobID, error) {
	jobs, err := tfJobs(ctx, c, cluster)
	if err != nil {
		return "", err
	}
	if len(jobs) == 0 || jobs[0].State.Final() {
		return "", jobspec.Failure{
			Kind: jobspec.KindConflict, Where: tensorflow.ClusterFile, Detail: "its cluster is not up", Hint: "start it: ipdc tf up",
		}.Error()
	}
	return jobs[0].ID, nil
}

// exitCode is the end of a program that was run in the place of this one.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// runCommand runs a program and returns how it ended, as a shell tells it.
func (a *app) runCommand(ctx context.Context, command []string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, a.out, a.err
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	var end *exec.ExitError
	if !errors.As(err, &end) {
		return err
	}
	if ws, ok := end.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return exitCode(128 + int(ws.Signal()))
	}
	return exitCode(end.ExitCode())
}

// forwarder carries connections to tasks.
type forwarder struct {
	*app
	dial  func(ctx context.Context, task string) (net.Conn, error)
	tasks []tensorflow.Task
	at    []net.Listener // of each of tasks
}

// listen takes the addresses of all tasks, or none.
func (f *forwarder) listen(ctx context.Context, cluster tensorflow.Cluster) error {
	f.tasks = cluster.Tasks()
	for _, t := range f.tasks {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", t.Addr)
		if err != nil {
			f.close()
			return jobspec.Failure{
				Kind: jobspec.KindConflict, Where: t.Name, Detail: err.Error(),
				Hint: "another ipdc tf forward may run; if it is something else, take other ports: ipdc tf down, ipdc tf spec",
			}.Error()
		}
		f.at = append(f.at, l)
	}
	return nil
}

func (f *forwarder) close() {
	for _, l := range f.at {
		_ = l.Close()
	}
}

// acceptPause is how long after an error connections are taken again.
const acceptPause = time.Second

// serve forwards until ctx ends, and ends what is open then.
func (f *forwarder) serve(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer context.AfterFunc(ctx, f.close)()
	for i, l := range f.at {
		wg.Go(func() {
			for {
				nc, err := l.Accept()
				switch {
				case errors.Is(err, net.ErrClosed):
					return // above
				case err != nil: // too many open files, for one
					f.say("ipdc: %s: %v", f.tasks[i].Name, err)
					select {
					case <-ctx.Done():
					case <-time.After(acceptPause):
					}
					continue
				}
				wg.Go(func() { f.carry(ctx, nc, f.tasks[i].Name) })
			}
		})
	}
	wg.Wait()
	return nil
}

// carry joins a connection with the task, until both directions have ended. It
// cuts both when one is cut or ctx ends.
func (f *forwarder) carry(ctx context.Context, nc net.Conn, task string) {
	defer nc.Close()
	far, err := f.dial(ctx, task)
	if err != nil {
		if ctx.Err() == nil {
			f.say("ipdc: %s: %v", task, err)
		}
		cut(nc)
		return
	}
	defer far.Close()
	defer context.AfterFunc(ctx, func() {
		cut(nc)
		cut(far)
	})()
	var wg sync.WaitGroup
	wg.Go(func() { pour(far, nc) })
	wg.Go(func() { pour(nc, far) })
	wg.Wait()
}

// pour copies from one connection to another, and its end too. Where one was
// cut, both are: neither program takes what it has for the whole.
func pour(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		cut(to)
		cut(from)
		return
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// cut closes a connection so that the other end reads an error, not an end.
func cut(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // a reset
	}
	_ = c.Close()
}
