package main

import (
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/sidecar/dataset"
)

// keepDatasets makes what keeps the node's datasets, and asks members for theirs.
func (n *node) keepDatasets() {
	cfg := dataset.Config{
		Key: n.key, Domain: n.member.ID().String(), Shared: api.TenantLocal, Store: n.store, IPFS: n.ipfs,
		Budget: n.set.inputBudget(), Sweep: n.set.SweepEvery.Std(), Logger: n.log,
	}
	if s := n.swarm; s != nil {
		cfg.Post, cfg.Gather = s.post, s.gather
		cfg.Live = func() (ids []identity.ID) {
			for _, m := range s.fleet.Members() {
				ids = append(ids, m.ID)
			}
			return ids
		}
	}
	n.datasets = dataset.New(cfg)
}
