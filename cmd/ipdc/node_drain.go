package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// drainTimeout is how long others' tasks may take to their own end, and what
// is handed over behind that.
const (
	drainTimeout = 10 * time.Minute
	giveBackTime = 30 * time.Second // for tasks that are given back to end
)

func (a *app) nodeDrainCmd() *cobra.Command {
	var undo, detach bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "drain", Short: "Let the node take nothing new, and hand over what it has",
		Long: "Drain is for before a machine is taken away. The node takes no job and no task any\n" +
			"more and tells the other members so. Tasks of their jobs come to their end, or are\n" +
			"given back to be tried elsewhere when --timeout is over. Its own jobs come to their\n" +
			"end; in a domain with keepers those that have not by then go to other members, under\n" +
			"the same id, and elsewhere they are named, and go on. What users have pinned here,\n" +
			"and results, get a second holder where they have none. Drain waits for all of it;\n" +
			"exit code 124 says that something is left. It is undone by --undo, or when the node\n" +
			"is started again.",
		Example: "  ipdc node drain && ipdc node stop\n  ipdc node drain --timeout 0s",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout < 0 {
				return usagef("--timeout %s: want 0s or more", timeout)
			}
			return a.withClient(func(c *client.Client) (err error) {
				w := wire.DrainWish{Undo: undo, Timeout: jobspec.Duration(timeout)}
				var d wire.Drain
				if undo || detach {
					d, err = c.Drain(cmd.Context(), w)
				} else {
					d, err = a.drained(cmd.Context(), c, w)
				}
				if errors.Is(err, errInterrupted) {
					a.say("interrupted; the node goes on draining\n  see how far it is: ipdc node drain\n  let it take work again: ipdc node drain --undo")
				}
				if err != nil {
					return err
				}
				return a.print(d, string(d.State), func(out io.Writer) error {
					_, err := fmt.Fprintln(out, drainState(d))
					return err
				})
			})
		},
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "take work again")
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "do not wait; ipdc node drain waits, and says how far it is")
	cmd.Flags().DurationVar(&timeout, "timeout", drainTimeout, "time for tasks of others' jobs to end, then they are given back; 0s gives them back at once")
	return cmd
}

// drained drains the node, says how far it is, and returns when nothing is
// left.
func (a *app) drained(ctx context.Context, c *client.Client, w wire.DrainWish) (wire.Drain, error) {
	d, err := c.Drain(ctx, w)
	late := time.After(w.Timeout.Std() + giveBackTime)
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for said := ""; ; {
		switch {
		case ctx.Err() != nil:
			return d, errInterrupted
		case err != nil:
			return d, err
		case d.State == wire.DrainNo:
			return d, jobspec.Failure{Kind: jobspec.KindConflict, Where: "node", Detail: "somebody lets it take work again, or it was started anew", Hint: "ipdc node drain"}.Error()
		}
		if text := drainState(d); text != said {
			a.say("%s", text)
			said = text
			late = time.After(w.Timeout.Std() + giveBackTime) // copies take what they take, as long as they go on
		}
		if d.State == wire.Drained {
			return d, nil
		}
		select {
		case <-ctx.Done():
			continue
		case <-late:
			return d, timedOut{fmt.Errorf("the node still drains: %s; what runs goes on.\nhint: wait on with ipdc node drain, or let it take work again with ipdc node drain --undo", drainState(d))}
		case <-tick.C:
		}
		d, err = c.Drained(ctx)
	}
}

// drainState is one line for people.
func drainState(d wire.Drain) string {
	if d.State == wire.DrainNo {
		return "the node takes work"
	}
	var left []string
	if d.Tasks > 0 {
		left = append(left, count(int64(d.Tasks), "task")+" of others' jobs")
	}
	if n := len(d.Jobs); n > 0 {
		text := count(int64(n), "job") + " of its own (" + d.Jobs[0].String()
		if n > 1 {
			text += ", ..."
		}
		left = append(left, text+")")
	}
	if d.Pins > 0 {
		left = append(left, count(int64(d.Pins), "pin")+" that no other member holds")
	}
	text := string(d.State)
	if d.Handed > 0 {
		text += ", " + count(int64(d.Handed), "pin") + " held elsewhere too"
	}
	if len(left) > 0 {
		text += "; left: " + strings.Join(left, ", ")
	}
	if d.Problem != "" {
		text += ": " + d.Problem
	}
	return text
}

// handOver empties the running node before it leaves its domain.
func (a *app) handOver(ctx context.Context, timeout time.Duration) error {
	if !a.running() {
		a.say("the node does not run, so nothing is handed over: what is pinned here stays on this disk,\n" +
			"and members that want a second copy of it look in vain. To hand it over first, start the\n" +
			"node (ipdc node start -d) and leave then")
		return nil
	}
	return a.withClient(func(c *client.Client) error {
		d, err := a.drained(ctx, c, wire.DrainWish{Timeout: jobspec.Duration(timeout), Leave: true})
		if err != nil {
			a.stay(ctx)
			return fmt.Errorf("%w\nhint: the node has not left; --force leaves without a hand-over", err)
		}
		if d.Pins > 0 {
			a.say("no other member is there: %s stay on this disk only", count(int64(d.Pins), "pin"))
		}
		return nil
	})
}

// stay lets a node that has not left take work again.
func (a *app) stay(ctx context.Context) {
	if !a.running() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := a.withClient(func(c *client.Client) error {
		_, err := c.Drain(ctx, wire.DrainWish{Undo: true})
		return err
	})
	if err != nil {
		a.say("the node still drains: ipdc node drain --undo")
	}
}
