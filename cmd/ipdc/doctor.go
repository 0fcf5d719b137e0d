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
	"github.com/ipdc/ipdc/ipfs/kubo"
)

func (a *app) doctorCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check whether this machine can run jobs, and how well",
		Long: "Doctor looks at what jobs need on this machine and says what to do about each\n" +
			"finding that is not ok. It needs no node and changes nothing. It ends with exit\n" +
			"code 1 when a job could not run here; a warning never does that.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := a.diagnose(cmd.Context())
			if cmd.Context().Err() != nil {
				return errInterrupted
			}
			if err := a.printFindings(list); err != nil {
				return err
			}
			if n := countFails(list); n > 0 {
				return fmt.Errorf("%s: a job could not run here", count(n, "failed check"))
			}
			return nil
		},
	}
	cmd.AddCommand(a.doctorSwarmCmd(), a.doctorCISCmd())
	return cmd
}

// finding is one line of the doctor.
type finding struct {
	Check  string `json:"check"`
	Status status `json:"status"`
	Found  string `json:"finding"`
	Advice string `json:"advice,omitempty"` // what to do; "" when nothing is
}

type status string

const (
	statusOK   status = "ok"
	statusWarn status = "warn" // jobs run, with less
	statusFail status = "fail" // a job could not run
)

func ok(check, format string, args ...any) finding {
	return finding{Check: check, Status: statusOK, Found: fmt.Sprintf(format, args...)}
}

func (f finding) warn(advice string) finding {
	f.Status, f.Advice = statusWarn, advice
	return f
}

func (f finding) fail(advice string) finding {
	f.Status, f.Advice = statusFail, advice
	return f
}

// checkTime bounds each group of checks.
const checkTime = 20 * time.Second

// diagnose makes all checks, one after the other.
func (a *app) diagnose(ctx context.Context) (list []finding) {
	checks := []func(context.Context) []finding{
		a.checkNode, a.checkAttached, a.checkIPFS, a.checkEngine, a.checkImages, a.checkGuest, a.checkOutputs, a.checkDisk, checkMachine, checkNamespaces, checkUIDs, a.checkIndex,
	}
	for _, check := range checks {
		ctx, cancel := context.WithTimeout(ctx, checkTime)
		list = append(list, check(ctx)...)
		cancel()
	}
	return list
}

func (a *app) checkNode(ctx context.Context) []finding {
	c, err := a.client()
	if err != nil {
		return []finding{ok("node", "%v", err).warn("mend --api or --token-file")}
	}
	defer c.Close()
	n, err := c.Node(ctx)
	switch {
	case errors.Is(err, client.ErrNoNode):
		return []finding{ok("node", "none runs on %s", a.set.Path).warn("start one: ipdc node start -d")}
	case err != nil:
		return []finding{ok("node", "does not answer: %v", err).warn("look into its log, then start it anew: ipdc node stop; ipdc node start -d")}
	}
	f := ok("node", "%s, version %s, started %s, %s not ended", n.ID, n.Version, ago(n.Started), count(int64(n.Jobs), "job"))
	if n.Version != version {
		f = f.warn("this program is version " + version + ": restart the node (jobs go on): ipdc node stop; ipdc node start -d")
	}
	list := []finding{f, ok("blocks", "%d, %s, in %s", n.Blocks, size(int64(n.BlockSize)), n.IPFS)}
	for _, e := range n.Executors {
		if e.Problem != "" {
			list = append(list, ok("executor", "the node cannot use %s: %s", e.Name, e.Problem).warn("see the engine's line; once it answers, the node finds it by itself"))
		}
	}
	return list
}

// checkIPFS asks the Kubo that a node would keep its blocks in.
func (a *app) checkIPFS(ctx context.Context) []finding {
	if a.set.IPFS == "" {
		return []finding{ok("ipfs", "the node inside ipdc")}
	}
	addr, err := kubo.ParseAddr(a.set.IPFS)
	if err != nil {
		return []finding{ok("ipfs", "%v", err).fail("mend the setting ipfs (--ipfs, IPDC_IPFS): ipdc config show --origin")}
	}
	v, err := kubo.Version(ctx, addr)
	if err != nil {
		return []finding{ok("ipfs", "%v", err).fail("start that Kubo (ipfs daemon), or leave --ipfs out to use the node inside ipdc")}
	}
	return []finding{ok("ipfs", "Kubo %s at %s", v, addr)}
}

func (a *app) printFindings(list []finding) error {
	return a.print(list, strings.Join(notOK(list), "\n"), func(w io.Writer) error {
		for _, f := range list {
			fmt.Fprintf(w, "%-4s  %-12s %s\n", f.Status, f.Check, visible(f.Found))
			if f.Advice != "" {
				fmt.Fprintf(w, "      %-12s -> %s\n", "", visible(f.Advice))
			}
		}
		return nil
	})
}

// notOK names the checks that found something, for -q.
func notOK(list []finding) (names []string) {
	for _, f := range list {
		if f.Status != statusOK {
			names = append(names, f.Check)
		}
	}
	return names
}

func countFails(list []finding) (n int64) {
	for _, f := range list {
		if f.Status == statusFail {
			n++
		}
	}
	return n
}
