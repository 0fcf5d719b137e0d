package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func (a *API) registerDrain(h huma.API) {
	register(a, h, takesJSON(a, h, wire.DrainWish{Timeout: jobspec.Duration(10 * time.Minute)}, huma.Operation{
		OperationID: "drain-node", Method: http.MethodPost, Path: "/v1/node/drain",
		Summary: "Take nothing new, and hand over what is here. Only over the unix socket",
	}), a.drain)
	register(a, h, huma.Operation{
		OperationID: "drained", Method: http.MethodGet, Path: "/v1/node/drain",
		Summary: "Say how far the node is with draining. Only for its own user",
	}, func(ctx context.Context, _ *nothing) (*answer[wire.Drain], error) {
		if err := adminOnly(ctx); err != nil { // it names others' jobs
			return nil, err
		}
		d, err := a.cfg.Service.Drained(ctx)
		return &answer[wire.Drain]{d}, err
	})
}

func (a *API) drain(ctx context.Context, in *jsonInput) (*answer[wire.Drain], error) {
	if err := ownUser(ctx, "drained", "drain"); err != nil {
		return nil, err
	}
	w, err := decode[wire.DrainWish](in)
	if err != nil {
		return nil, err
	}
	d, err := a.cfg.Service.Drain(ctx, w)
	return &answer[wire.Drain]{d}, err
}
