package sidecar

import (
	"context"
	"fmt"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/dataset"
	"github.com/ipdc/ipdc/sidecar/schedule"
)

var _ schedule.Heads = heads{}

// heads are datasets as schedules follow them.
type heads struct{ *dataset.Keeper }

// Head implements [schedule.Heads].
func (h heads) Head(ctx context.Context, tenant, name string) (schedule.Version, error) {
	ref, err := jobspec.ParseDatasetRef(name)
	if err != nil {
		return schedule.Version{}, err
	}
	if ref.Version != 0 {
		return schedule.Version{}, jobspec.Failure{
			Kind: jobspec.KindSpec, Detail: fmt.Sprintf("%s is one version, which never changes", ref), Hint: "follow the dataset: --on-change " + ref.Name,
		}.Error()
	}
	v, err := h.Resolve(ctx, tenant, ref)
	return schedule.Version{Version: int64(v.Version), CID: v.Root}, err
}

// After implements [schedule.Heads].
func (h heads) After(ctx context.Context, tenant, name string, version int64) ([]schedule.Version, error) {
	ref, err := jobspec.ParseDatasetRef(name)
	if err != nil {
		return nil, err
	}
	list, err := h.Keeper.After(ctx, tenant, ref.Name, int(version))
	out := make([]schedule.Version, len(list))
	for i, v := range list {
		out[i] = schedule.Version{Version: int64(v.Version), CID: v.Root}
	}
	return out, err
}
