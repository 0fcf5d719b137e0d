package main

import (
	"context"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
)

// crew are the other members as the sidecar asks for them.
type crew struct{ *swarm }

// Live implements sidecar.Crew.
func (c crew) Live() []sidecar.Peer {
	members := c.fleet.Members()
	list := make([]sidecar.Peer, len(members))
	for i, m := range members {
		list[i] = sidecar.Peer{
			ID: m.ID, Arch: m.Arch, Labels: m.Labels, Capacity: jobspec.Resources(m.Capacity), Free: jobspec.Resources(m.Free), Draining: m.Draining, Busy: m.Busy, Strict: m.Strict,
		}
	}
	return list
}

// Gather implements sidecar.Crew.
func (c crew) Gather(ctx context.Context) bool { return c.gather(ctx) }

// others returns what the sidecar needs to hand tasks to other members; nothing
// on a node that is on no network.
func (n *node) others() (*bus.Post, sidecar.Crew, sidecar.Record) {
	if n.swarm == nil {
		return nil, nil, nil
	}
	return n.swarm.post, crew{n.swarm}, n.swarm.quorum
}
