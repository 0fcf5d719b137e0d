package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) nodeCmd(load *loader) *cobra.Command {
	return group("node", "Run the node on this machine", a.nodeStartCmd(load), a.nodeStopCmd(), a.nodeStatusCmd(), a.nodeDrainCmd(), a.nodeGCCmd())
}

func (a *app) nodeStartCmd(load *loader) *cobra.Command {
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
			log, closeLog, err := a.logger()
			if err != nil {
				return err
			}
			defer closeLog()
			return serve(cmd.Context(), a.set, log, func(n wire.Node) {
				log.Info("node is ready", "id", n.ID, "socket", n.Socket, "address", n.Address,
					"cpu", n.Capacity.CPU, "memory", n.Capacity.Memory, "disk", n.Capacity.Disk)
			})
		},
	}
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "run in the background and return when the node is ready")
	load.addFlags(cmd.Flags(), start)
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "label" { // as it is typed again for each
			name = "labels"
		}
		return pflag.NormalizedName(name)
	})
	return cmd
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
	if a.set.LogFile == "" {
		a.set.LogFile = filepath.Join(a.set.Path, "node.log")
	}
	said, err := durable.TempFile(a.set.Path) // what is said before there is a log
	if err != nil {
		return fmt.Errorf("start the node: %w", err)
	}
	defer os.Remove(said.Name())
	defer said.Close()
	cmd := exec.Command(self, a.nodeArgs()...)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the node: %w", err)
	}
	n, err := a.awaitReady(ctx, cmd, said.Name())
	if err != nil {
		return err
	}
	return a.print(n, n.ID, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "node %s is ready (process %d, log %s)\n", n.ID, n.PID, a.set.LogFile)
		return err
	})
}

// nodeArgs is the command line of a detached node: what came from flags is
// handed over as flags, the node reads the rest for itself.
func (a *app) nodeArgs() []string {
	args := []string{"node", "start", "--path", a.set.Path, "--log-file", a.set.LogFile}
	for _, k := range a.set.table() {
		if strings.HasPrefix(a.set.origins[k.key], originFlag) && k.key != "path" && k.key != "log-file" {
			args = append(args, "--"+k.key+"="+k.value())
		}
	}
	return args
}

func (a *app) awaitReady(ctx context.Context, cmd *exec.Cmd, saidPath string) (wire.Node, error) {
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
			b, _ := os.ReadFile(saidPath)
			return wire.Node{}, fmt.Errorf("the node did not start:\n%s", bytes.TrimSpace(b))
		}
		select {
		case <-tick.C:
		case <-late:
			return wire.Node{}, fmt.Errorf("the node (process %d) is not ready after %s; its log is %s", cmd.Process.Pid, startWait, a.set.LogFile)
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
				if err := a.awaitEnd(cmd.Context(), n); err != nil {
					return err
				}
				return a.print(n, n.ID, nothing)
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
		{"Domain:", n.Domain + ", " + count(int64(n.Members), "member") + " (ipdc peers)"},
		{"API:", "unix://" + n.Socket},
		{"", "http://" + n.Address},
		{"CPU:", fmt.Sprintf("%s free of %s", n.Free.CPU, n.Capacity.CPU)},
		{"Memory:", fmt.Sprintf("%s free of %s", size(int64(n.Free.Memory)), size(int64(n.Capacity.Memory)))},
		{"Disk:", fmt.Sprintf("%s free of %s, outputs bounded by %s", size(int64(n.Free.Disk)), size(int64(n.Capacity.Disk)), n.Outputs)},
		{"Jobs:", fmt.Sprintf("%d not ended", n.Jobs)},
		{"Keepers:", keepers(n.Keepers)},
		{"IPFS:", n.IPFS},
		{"Blocks:", fmt.Sprintf("%d, %s", n.Blocks, size(int64(n.BlockSize))) + most(n.Storage.Max)},
		{"Storage:", fmt.Sprintf("%s free, nothing new is taken below %s (min-free)", size(int64(n.Storage.Free)), size(int64(n.Storage.MinFree)))},
	}
	if n.Draining {
		rows = append(rows, []string{"Drains:", "takes nothing new (ipdc node drain; --undo ends it)"})
	}
	for _, p := range n.Problems {
		rows = append(rows, []string{"Problem:", p})
	}
	if n.Busy != "" {
		rows = append(rows, []string{"Busy:", n.Busy + "; one task at a time starts meanwhile"})
	}
	for _, p := range n.Degraded {
		rows = append(rows, []string{"Degraded:", p})
	}
	for _, e := range n.Executors {
		state := e.Version
		if e.Strict != "" {
			state += ", isolation strict by " + e.Strict
		}
		if e.Problem != "" {
			state = "cannot be used: " + e.Problem
		}
		rows = append(rows, []string{"Executor:", e.Name + " " + state})
	}
	return table(w, rows)
}

// keepers says who holds the record of the domain's jobs.
func keepers(k wire.Keepers) string {
	if !k.Active() {
		return "none: jobs are known to their own node only, until the domain has three"
	}
	names := make([]string, len(k.Voters))
	for i, id := range k.Voters {
		names[i] = id.Short()
		if id == k.Leader {
			names[i] += " (leads)"
		}
	}
	return fmt.Sprintf("%d: %s", len(names), strings.Join(names, ", "))
}

func most(max jobspec.Bytes) string {
	if max == 0 {
		return ""
	}
	return fmt.Sprintf(" of at most %s (storage-max)", size(int64(max)))
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
				n, err := c.Node(cmd.Context())
				if err != nil {
					return err
				}
				return a.print(res, fmt.Sprint(res.Blocks), func(w io.Writer) error {
					if n.IPFS != embeddedName {
						_, err := fmt.Fprintf(w, "no pin of ours is left over; what nothing needs goes when %s collects its garbage: ipfs repo gc\n", n.IPFS)
						return err
					}
					_, err := fmt.Fprintf(w, "removed %d blocks, %s\n", res.Blocks, size(int64(res.Bytes)))
					return err
				})
			})
		},
	}
}
