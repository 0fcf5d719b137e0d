package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) doctorSwarmCmd() *cobra.Command {
	return &cobra.Command{
		Use: "swarm", Short: "Move a random block to each other member of the domain, and one back",
		Long: "Swarm asks the node to offer a random block of 64 KiB to each member, and to fetch\n" +
			"one of the member's own. It ends with exit code 1 when a block does not arrive.\n" +
			"Nothing of it is stored.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []finding
			err := a.withClient(func(c *client.Client) (err error) {
				list, err = swarmFindings(cmd.Context(), c)
				return err
			})
			if err != nil {
				return err
			}
			if err := a.printFindings(list); err != nil {
				return err
			}
			if n := countFails(list); n > 0 {
				return fmt.Errorf("%s: blocks do not move both ways", count(n, "failed check"))
			}
			return nil
		},
	}
}

func swarmFindings(ctx context.Context, c *client.Client) ([]finding, error) {
	probes, err := c.ProbePeers(ctx)
	if err != nil {
		return nil, err
	}
	if len(probes.Probes) == 0 {
		return []finding{ok("swarm", "no other member of the domain is there").warn("let one in: ipdc domain invite; or see why none comes: ipdc domain show")}, nil
	}
	var list []finding
	for _, p := range probes.Probes {
		list = append(list, probeFinding(p))
	}
	return list, nil
}

func probeFinding(p wire.Probe) finding {
	if p.Problem != "" {
		return ok(p.ID, "%s", p.Problem).fail("see that it runs and is connected (ipdc peers), and that both machines let its p2p-listen port through")
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
	return ok(p.ID, "%s there in %s, back in %s", size(p.Bytes), ms(p.There.Std()), ms(p.Back.Std()))
}
