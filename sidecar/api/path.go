package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/wire"
)

type pathInput struct {
	Path string `query:"path" required:"true" doc:"CID, CID/a/b, /ipfs/CID/a, ipfs://CID/a, or the same below a dataset: NAME, NAME@VERSION/a" example:"bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"`
}

func (a *API) registerPaths(h huma.API) {
	register(a, h, huma.Operation{
		OperationID: "ls", Method: http.MethodGet, Path: "/v1/ls", Summary: "List a directory or describe a file",
	}, a.list)
	register(a, h, huma.Operation{
		OperationID: "resolve", Method: http.MethodGet, Path: "/v1/resolve", Summary: "Follow a path to its CID",
	}, func(ctx context.Context, in *pathInput) (*answer[wire.Resolved], error) {
		c, err := a.resolve(ctx, in.Path)
		return &answer[wire.Resolved]{wire.Resolved{Path: in.Path, CID: c}}, err
	})
}

func (a *API) list(ctx context.Context, in *pathInput) (*answer[wire.Listing], error) {
	c, err := a.resolve(ctx, in.Path)
	if err != nil {
		return nil, err
	}
	l, err := tree.List(ctx, a.cfg.IPFS, c, a.cfg.Budget)
	if err != nil {
		return nil, err
	}
	out := wire.Listing{CID: l.CID, Dir: l.Kind == tree.Dir, Size: l.Size, Entries: make([]wire.Entry, 0, len(l.Entries))}
	for _, e := range l.Entries {
		out.Entries = append(out.Entries, wire.Entry{Name: e.Name, CID: e.CID, Dir: e.Kind == tree.Dir, Size: e.Size})
	}
	return &answer[wire.Listing]{out}, nil
}
