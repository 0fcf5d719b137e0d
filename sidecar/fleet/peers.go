package fleet

import (
	"cmp"
	"slices"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// Peers describes the other members, by id: those that live, and those that
// are connected and have told nothing of themselves yet.
func (f *Fleet) Peers() []wire.Peer {
	connected := map[identity.ID]bus.Peer{}
	for _, p := range f.cfg.Connected() {
		connected[p.ID] = p
	}
	list := []wire.Peer{}
	for _, m := range f.Members() {
		p := wire.Peer{
			ID: m.ID.String(), Addrs: m.Addrs, Version: m.Version, Arch: m.Arch, Capacity: m.Capacity, Free: m.Free,
			Labels: m.Labels, Held: m.Held, Strict: m.Strict, Draining: m.Draining, Started: time.Unix(m.Started, 0).UTC(), Seen: m.Seen.UTC(),
		}
		if c, ok := connected[m.ID]; ok {
			join(&p, c)
			delete(connected, m.ID)
		}
		list = append(list, p)
	}
	for id, c := range connected {
		p := wire.Peer{ID: id.String()}
		join(&p, c)
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b wire.Peer) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

func join(p *wire.Peer, c bus.Peer) {
	p.Connected, p.Relayed, p.Latency = true, c.Relayed, jobspec.Duration(c.Latency)
	if len(c.Addrs) > 0 {
		p.Addrs = c.Addrs
	}
	if p.Addrs == nil {
		p.Addrs = []string{}
	}
}
