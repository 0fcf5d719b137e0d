package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) pinCmd() *cobra.Command {
	return group("pin", "Say what the node keeps", a.pinAddCmd(), a.pinRmCmd(), a.pinLsCmd())
}

func (a *app) pinAddCmd() *cobra.Command {
	var nodes int
	cmd := &cobra.Command{
		Use: "add CID[/PATH]...", Short: "Keep the DAG below a CID until it is unpinned",
		Long: "Add keeps all that is below a CID, or below a path, and fetches what is not here. Of\n" +
			"a path it keeps the directories on the way too, without what else is in them: so\n" +
			"members that keep parts of a dataset keep its directories together. --replicate N\n" +
			"has other members keep it, too, so that N nodes do in all, until it is unpinned.",
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client.Client) error {
				for _, path := range args {
					p, err := a.pinOn(cmd.Context(), c, path, nodes)
					if err != nil {
						return err
					}
					if err := a.printPinned("pinned", p); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	addReplicate(cmd, &nodes)
	return cmd
}

func addReplicate(cmd *cobra.Command, nodes *int) {
	cmd.Flags().IntVar(nodes, "replicate", 0, "nodes that hold it in all from now on, where the domain has so many; 1 = this one alone")
}

// pinOn pins a path on so many nodes, on this one when nodes is 0, and says
// when others have no room.
func (a *app) pinOn(ctx context.Context, c *client.Client, path string, nodes int) (wire.Pin, error) {
	if nodes == 0 {
		return c.Pin(ctx, path)
	}
	p, err := c.Replicate(ctx, path, nodes)
	if r := p.Replicas; err == nil && r != nil && len(r.Holders) < r.Want {
		a.say("held by %s", heldBy(r))
	}
	return p, err
}

func (a *app) pinRmCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rm CID[/PATH]...", Aliases: []string{"remove"}, Short: "Remove pins; what nothing else pins goes with the next garbage collection (ipdc node gc, or gc-period)",
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client.Client) error {
				for _, arg := range args {
					path, err := jobspec.ParsePath(arg)
					if err != nil {
						return err
					}
					root := path.Root
					if len(path.Segments) > 0 {
						if root, err = c.Resolve(cmd.Context(), arg); err != nil {
							return err
						}
					}
					if err := c.Unpin(cmd.Context(), root); err != nil {
						return err
					}
					if err := a.printPinned("unpinned", wire.Pin{CID: root, Kind: wire.PinUser}); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func (a *app) printPinned(what string, p wire.Pin) error {
	if p.Attached {
		a.say("%s lies in an attached file and was not copied: keep the file, see ipdc data list", p.CID)
	}
	return a.print(p, p.CID.String(), func(w io.Writer) error {
		_, err := fmt.Fprintln(w, what, p.CID)
		return err
	})
}

func (a *app) pinLsCmd() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "ls [CID...]", Aliases: []string{"list"}, Short: "List pins, newest first",
		Long: "Ls lists what users have pinned; add, import and pin add make such pins. With --all\n" +
			"it lists what jobs keep, too. Given CIDs, it lists their pins, and ends with exit\n" +
			"code 4 when one has none.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client.Client) error {
				pins, err := c.Pins(cmd.Context(), all)
				if err != nil {
					return err
				}
				if pins, err = pinsOf(pins, args); err != nil {
					return err
				}
				return a.printPins(pins)
			})
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "also what jobs keep pinned")
	return cmd
}

// pinsOf selects the pins of some CIDs; without any it selects all.
func pinsOf(pins []wire.Pin, args []string) ([]wire.Pin, error) {
	if len(args) == 0 {
		return pins, nil
	}
	var out []wire.Pin
	for _, arg := range args {
		c, err := jobspec.ParseCID(arg)
		if err != nil {
			return nil, err
		}
		n := len(out)
		for _, p := range pins {
			if p.CID == c {
				out = append(out, p)
			}
		}
		if len(out) == n {
			return nil, jobspec.Failure{
				Kind: jobspec.KindNotFound, Detail: c.String() + " is not pinned", Hint: "--all looks at the pins of jobs, too",
			}.Error()
		}
	}
	return out, nil
}

func (a *app) printPins(pins []wire.Pin) error {
	if a.format == formatName {
		seen := map[jobspec.CID]bool{}
		for _, p := range pins {
			if !seen[p.CID] {
				fmt.Fprintln(a.out, p.CID)
			}
			seen[p.CID] = true
		}
		return nil
	}
	return a.print(wire.PinList{Pins: pins}, "", func(w io.Writer) error {
		rows := [][]string{{"CID", "KIND", "JOB", "PINNED", "NODES", "PATH"}}
		for _, p := range pins {
			rows = append(rows, []string{p.CID.String(), p.Kind, orDash(p.Job.String()), ago(p.Created), nodesOf(p), paths(p, a.format == formatWide)})
		}
		return table(w, rows)
	})
}

// paths are those by which something was pinned.
func paths(p wire.Pin, all bool) string {
	switch n := len(p.Paths); {
	case n == 0:
		return "-"
	case n > 1 && !all:
		return fmt.Sprintf("%s +%d", visible(p.Paths[0]), n-1)
	}
	return visible(strings.Join(p.Paths, " "))
}

// nodesOf is how many nodes hold a pin, of how many that should.
func nodesOf(p wire.Pin) string {
	if p.Replicas == nil {
		return "1"
	}
	return fmt.Sprintf("%d/%d", len(p.Replicas.Holders), p.Replicas.Want)
}
