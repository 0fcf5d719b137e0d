package main

import (
	"context"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/sidecar/dataset"
	"github.com/ipdc/ipdc/sidecar/schedule"
)

// keepDatasets makes what keeps the node's datasets, and asks members for theirs.
func (n *node) keepDatasets() {
	cfg := dataset.Config{
		Key: n.key, Domain: n.member.ID().String(), Shared: api.TenantLocal, Store: n.store, IPFS: n.ipfs,
		Budget: n.set.inputBudget(), Sweep: n.set.SweepEvery.Std(), Logger: n.log,
	}
	if s := n.swarm; s != nil {
		cfg.Post = s.post
		cfg.Live = func() (ids []identity.ID) {
			for _, m := range s.fleet.Members() {
				ids = append(ids, m.ID)
			}
			return ids
		}
	}
	n.datasets = dataset.New(cfg)
}

// heads are datasets as schedules follow them.
type heads struct{ *dataset.Keeper }

// Head implements schedule.Heads.
func (h heads) Head(ctx context.Context, tenant, name string) (schedule.Version, error) {
	ref, err := jobspec.ParseDatasetRef(name)
	if err != nil {
		return schedule.Version{}, err
	}
	v, err := h.Resolve(ctx, tenant, jobspec.DatasetRef{Name: ref.Name})
	return schedule.Version{Version: int64(v.Version), CID: v.Root}, err
}

// After implements schedule.Heads.
func (h heads) After(ctx context.Context, tenant, name string, version int64) ([]schedule.Version, error) {
	list, err := h.Keeper.After(ctx, tenant, name, int(version))
	out := make([]schedule.Version, len(list))
	for i, v := range list {
		out[i] = schedule.Version{Version: int64(v.Version), CID: v.Root}
	}
	return out, err
}
