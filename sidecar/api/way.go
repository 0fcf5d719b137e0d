package api

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// A pin of a path keeps the directories on the way too: they are few, and
// without them nobody finds what is pinned once the path's source is gone.

// wayPins is the prefix of the pins that keep the ways to what a tenant has
// pinned; behind it stands the path.
func wayPins(tenant string, c jobspec.CID) string { return "way/" + tenant + "/" + c.String() + "/" }

// keepWay pins the directories on a path.
func (a *API) keepWay(ctx context.Context, c jobspec.CID, path jobspec.Path, way []tree.Block) error {
	if len(way) == 0 {
		return nil
	}
	_, err := a.cfg.IPFS.Add(ctx, wayPins(tenantOf(ctx), c)+path.String(), func(s ipfs.Session) (jobspec.CID, error) {
		roots := make([]jobspec.CID, len(way))
		for i, b := range way {
			roots[i] = b.CID
			if err := s.Put(ctx, b.CID, b.Data); err != nil {
				return jobspec.CID{}, err
			}
		}
		return bundle(ctx, s, roots)
	})
	return err
}

// dropWays unpins the ways to what the tenant has pinned.
func (a *API) dropWays(ctx context.Context, c jobspec.CID) error {
	list, err := a.cfg.IPFS.Pins(ctx, wayPins(tenantOf(ctx), c))
	for _, p := range list {
		err = errors.Join(err, a.cfg.IPFS.Unpin(ctx, p.Name))
	}
	return err
}

// withWays takes the pins of ways out of a list, and tells them with the pins
// that they are for.
func withWays(list []ipfs.Pin) (out []wire.Pin) {
	ways := map[string][]string{} // by the name of the user's pin
	for _, p := range list {
		if rest, ok := strings.CutPrefix(p.Name, "way/"); ok {
			tenant, rest, _ := strings.Cut(rest, "/")
			c, path, _ := strings.Cut(rest, "/")
			name := "user/" + tenant + "/" + c
			if tenant == TenantLocal {
				name = "user/" + c
			}
			ways[name] = append(ways[name], path)
		}
	}
	for _, p := range slices.DeleteFunc(list, func(p ipfs.Pin) bool { return strings.HasPrefix(p.Name, "way/") }) {
		w := wirePin(p)
		w.Paths = ways[p.Name]
		out = append(out, w)
	}
	return out
}
