package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) peersCmd() *cobra.Command {
	return &cobra.Command{
		Use: "peers", Short: "List the other members of the domain that are there now",
		Long: "Peers shows who was heard within half a minute or is connected, and what each says\n" +
			"of itself: free and all processors and memory, the blocks that it holds, its\n" +
			"labels, and since when it runs. -o wide shows all addresses and the disk, too.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(func(c *client.Client) error {
				list, err := c.Peers(cmd.Context())
				if err != nil {
					return err
				}
				if len(list.Peers) == 0 {
					a.say("no other member of the domain is there; to let one in: ipdc domain invite")
				}
				return a.print(list, strings.Join(peerIDs(list.Peers), "\n"), func(w io.Writer) error {
					return peerTable(w, list.Peers, a.format == formatWide)
				})
			})
		},
	}
}

func peerIDs(list []wire.Peer) (ids []string) {
	for _, p := range list {
		ids = append(ids, p.ID)
	}
	return ids
}

func peerTable(w io.Writer, list []wire.Peer, wide bool) error {
	if len(list) == 0 {
		return nil
	}
	head := []string{"ID", "ADDRESSES", "LATENCY", "VERSION", "CPU", "MEMORY", "LABELS", "HELD", "AGE"}
	if wide {
		head = append(head, "DISK", "ARCH", "STRICT", "HEARD")
	}
	rows := [][]string{head}
	for _, p := range list {
		row := []string{p.ID, addresses(p, wide), latency(p), said(p, p.Version)}
		row = append(row,
			said(p, cpuOf(p)),
			said(p, size(int64(p.Free.Memory))+"/"+size(int64(p.Capacity.Memory))),
			labels(p.Labels), said(p, size(int64(p.Held))), since(p.Started))
		if wide {
			row = append(row, said(p, size(int64(p.Free.Disk))+"/"+size(int64(p.Capacity.Disk))), said(p, p.Arch), orDash(p.Strict), ago(p.Seen))
		}
		rows = append(rows, row)
	}
	return table(w, rows)
}

// said is what a member says, once it has told anything.
func said(p wire.Peer, text string) string {
	if p.Seen.IsZero() {
		return "-"
	}
	return text
}

// cpuOf is what tasks may have of a member.
func cpuOf(p wire.Peer) string {
	if p.Draining {
		return "drains"
	}
	return fmt.Sprintf("%s/%s", p.Free.CPU, p.Capacity.CPU)
}

func addresses(p wire.Peer, all bool) string {
	list := p.Addrs
	if !all && len(list) > 1 {
		return fmt.Sprintf("%s +%d", list[0], len(list)-1)
	}
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ",")
}

func latency(p wire.Peer) string {
	d := p.Latency.Std()
	switch {
	case !p.Connected:
		return "away"
	case d == 0:
		return "-"
	case p.Relayed:
		return fmt.Sprintf("%.1f ms, relayed", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

func labels(m map[string]string) string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, k+"="+m[k])
	}
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ",")
}

func since(t time.Time) string {
	if t.IsZero() || time.Until(t) > 0 {
		return "-"
	}
	return span(time.Since(t))
}
