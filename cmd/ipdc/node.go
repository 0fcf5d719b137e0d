package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/viper"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) nodeCmd(v *viper.Viper) *cobra.Command {
	return group("node", "Run the node on this machine", a.nodeStartCmd(v), a.nodeStopCmd(), a.nodeStatusCmd(), a.nodeGCCmd())
}

func (a *app) nodeStartCmd(v *viper.Viper) *cobra.Command {
	var detach bool
	cmd := &cobra.Command{
		Use: "start", Short: "Start the node",
		Long: "Start runs the node in the foreground until it is interrupted; with -d in the\n" +
			"background. Jobs that run when a node stops go on, and the next start takes\n" +
			"them up again.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if detach {
				return a.startDetached(cmd.Context())
			}
			log, err := a.logger()
			if err != nil {
				return err
			}
			return serve(cmd.Context(), a.set, log, func(n wire.Node) {
				log.Info("node is ready", "id", n.ID, "socket", n.Socket, "address", n.Address,
					"cpu", n.Capacity.CPU, "memory", n.Capacity.Memory, "disk", n.Capacity.Disk)
			})
		},
	}
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "run in the background and return when the node is ready")
	for _, k := range nodeKeys {
		cmd.Flags().String(k.key, "", k.usage)
		_ = v.BindPFlag(k.key, cmd.Flags().Lookup(k.key)) // fails for a missing flag only
	}
	return cmd
}

func (a *app) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.set.LogLevel)); err != nil {
		return nil, usagef("--log-level %q: want debug, info, warn or error", a.set.LogLevel)
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level})), nil
}

// startWait bounds how long a detached node may take to be ready: opening a
// large state after a crash reads all of it.
const startWait = 60 * time.Second

// startDetached starts this program again in a session of its own and returns
// when that node answers.
func (a *app) startDetached(ctx context.Context) error {
	if err := os.MkdirAll(a.set.Path, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	lock, err := lockState(a.set.Path) // says at once when a node runs
	if err != nil {
		return err
	}
	lock.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	logPath := filepath.Join(a.set.Path, "node.log")
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer logFile.Close()
	cmd := exec.Command(self, a.nodeArgs()...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the node: %w", err)
	}
	n, err := a.awaitReady(ctx, cmd, logPath)
	if err != nil {
		return err
	}
	return a.print(n, n.ID, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "node %s is ready (process %d, log %s)\n", n.ID, n.PID, logPath)
		return err
	})
}

// nodeArgs is the command line of a detached node: settings are handed over as
// flags, as they may have come from flags.
func (a *app) nodeArgs() []string {
	s := a.set
	args := []string{"node", "start", "--path", s.Path, "--listen", s.Listen, "--log-level", s.LogLevel}
	for _, kv := range [][2]string{{"--cpu", s.CPU}, {"--memory", s.Memory}, {"--disk", s.Disk}, {"--docker", s.Docker}, {"--guest", s.Guest}} {
		if kv[1] != "" {
			args = append(args, kv[0], kv[1])
		}
	}
	return args
}

func (a *app) awaitReady(ctx context.Context, cmd *exec.Cmd, logPath string) (wire.Node, error) {
	c, err := client.New("unix://" + a.set.socket())
	if err != nil {
		return wire.Node{}, err
	}
	defer c.Close()
	late := time.After(startWait)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if n, err := c.Node(ctx); err == nil && n.PID == cmd.Process.Pid {
			return n, nil
		}
		if pid, err := syscall.Wait4(cmd.Process.Pid, nil, syscall.WNOHANG, nil); pid != 0 || err != nil {
			b, _ := os.ReadFile(logPath)
			return wire.Node{}, fmt.Errorf("the node did not start:\n%s", bytes.TrimSpace(b))
		}
		select {
		case <-tick.C:
		case <-late:
			return wire.Node{}, fmt.Errorf("the node (process %d) is not ready after %s; its log is %s", cmd.Process.Pid, startWait, logPath)
		case <-ctx.Done():
			return wire.Node{}, ctx.Err()
		}
	}
}

func (a *app) nodeStopCmd() *cobra.Command {
	return &cobra.Command{
		Use: "stop", Short: "Stop the node; jobs in containers go on until the next start takes them up",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(func(c *client.Client) error {
				n, err := c.Node(cmd.Context())
				if err != nil {
					return err
				}
				if err := c.StopNode(cmd.Context()); err != nil {
					return err
				}
				return a.awaitEnd(cmd.Context(), n)
			})
		},
	}
}

// stopWait bounds how long a node may take to stop.
const stopWait = 30 * time.Second

// awaitEnd returns when the node has given its state directory back.
func (a *app) awaitEnd(ctx context.Context, n wire.Node) error {
	late := time.After(stopWait)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		lock, err := lockState(n.Path)
		if err == nil {
			return lock.Close()
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		select {
		case <-tick.C:
		case <-late:
			return fmt.Errorf("the node (process %d) has not ended after %s", n.PID, stopWait)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *app) nodeStatusCmd() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the node", Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(func(c *client.Client) error {
				n, err := c.Node(cmd.Context())
				if err != nil {
					return err
				}
				return a.print(n, n.ID, func(w io.Writer) error { return nodeTable(w, n) })
			})
		},
	}
}

func nodeTable(w io.Writer, n wire.Node) error {
	rows := [][]string{
		{"Node:", n.ID},
		{"Version:", n.Version},
		{"Process:", fmt.Sprintf("%d, started %s", n.PID, ago(n.Started))},
		{"State:", n.Path},
		{"API:", "unix://" + n.Socket},
		{"", "http://" + n.Address},
		{"CPU:", fmt.Sprintf("%s free of %s", n.Free.CPU, n.Capacity.CPU)},
		{"Memory:", fmt.Sprintf("%s free of %s", size(int64(n.Free.Memory)), size(int64(n.Capacity.Memory)))},
		{"Disk:", fmt.Sprintf("%s free of %s, outputs bounded by %s", size(int64(n.Free.Disk)), size(int64(n.Capacity.Disk)), n.Outputs)},
		{"Jobs:", fmt.Sprintf("%d not ended", n.Jobs)},
		{"Blocks:", fmt.Sprintf("%d, %s", n.Blocks, size(int64(n.BlockSize)))},
	}
	for _, e := range n.Executors {
		state := e.Version
		if e.Problem != "" {
			state = "cannot be used: " + e.Problem
		}
		rows = append(rows, []string{"Executor:", e.Name + " " + state})
	}
	return table(w, rows)
}

func (a *app) nodeGCCmd() *cobra.Command {
	return &cobra.Command{
		Use: "gc", Short: "Remove blocks that no pin needs", Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(func(c *client.Client) error {
				res, err := c.GC(cmd.Context())
				if err != nil {
					return err
				}
				return a.print(res, fmt.Sprint(res.Blocks), func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "removed %d blocks, %s\n", res.Blocks, size(int64(res.Bytes)))
					return err
				})
			})
		},
	}
}
