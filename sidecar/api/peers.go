package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/wire"
)

// Swarm is the other members of the node's domain.
type Swarm interface {
	// Peers describes those that were heard lately or are connected, by id.
	Peers() []wire.Peer
	// Probe moves a random block to each of them and one back, within half a
	// minute.
	Probe(ctx context.Context) []wire.Probe
}

// alone is the swarm of a node that stays by itself.
type alone struct{}

func (alone) Peers() []wire.Peer                 { return nil }
func (alone) Probe(context.Context) []wire.Probe { return nil }

func (a *API) registerPeers(h huma.API) {
	register(a, h, huma.Operation{
		OperationID: "peers", Method: http.MethodGet, Path: "/v1/peers", Summary: "List the other members of the node's domain",
	}, func(ctx context.Context, _ *nothing) (*answer[wire.PeerList], error) {
		list := append([]wire.Peer{}, a.cfg.Swarm.Peers()...)
		for i := range list {
			if tenantOf(ctx) != TenantLocal {
				list[i].Addrs = []string{} // of hosts, not of the service
			}
		}
		return &answer[wire.PeerList]{wire.PeerList{Peers: list}}, nil
	})
	register(a, h, huma.Operation{
		OperationID: "probe-peers", Method: http.MethodPost, Path: "/v1/peers/probe",
		Summary: "Move a random block to each other member, and one back. Only for the node's own user",
	}, func(ctx context.Context, _ *nothing) (*answer[wire.ProbeList], error) {
		if err := adminOnly(ctx); err != nil {
			return nil, err
		}
		return &answer[wire.ProbeList]{wire.ProbeList{Probes: append([]wire.Probe{}, a.cfg.Swarm.Probe(ctx)...)}}, nil
	})
}
