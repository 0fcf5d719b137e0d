package dataset

import (
	"context"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/wire"
)

// withMembers adds the datasets of members to a list.
func (k *Keeper) withMembers(ctx context.Context, list []wire.Dataset) ([]wire.Dataset, error) {
	answers := k.ask(ctx, true, k.allOf)
	here := map[identity.ID]bool{}
	var all []found
	for _, a := range answers {
		here[a.from] = !a.away
		if a.err != nil {
			k.cfg.Logger.Warn("list datasets of a member", "err", a.err)
		}
		all = append(all, a.heads...)
	}
	away, err := k.remembered(ctx, "", here)
	for _, f := range append(all, away...) {
		list = append(list, remote(f.head, f.cid))
	}
	slices.SortStableFunc(list, func(a, b wire.Dataset) int { return strings.Compare(a.Name, b.Name) })
	return list, err
}

// allOf asks a member for all its heads, page by page.
func (k *Keeper) allOf(ctx context.Context, id identity.ID) (heads [][]byte, err error) {
	last := ""
	for range maxPages {
		a, err := bus.Request[wire.DatasetHeads](ctx, k.cfg.Post, id, typeAsk, wire.DatasetAsk{After: last})
		if err != nil || len(a.Heads) == 0 {
			return heads, err
		}
		h, _, err := decode(a.Heads[len(a.Heads)-1])
		if err != nil {
			return append(heads, a.Heads...), nil //nolint:nilerr // take finds it
		}
		if h.Name <= last { // it repeats itself
			return heads, nil
		}
		heads, last = append(heads, a.Heads...), h.Name
	}
	return heads, nil
}
