package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

type publishInput struct {
	Type    string `header:"Content-Type" hidden:"true"`
	RawBody []byte `contentType:"application/json"`
	Ref     string `path:"ref" example:"@last" doc:"Job id, a unique prefix of one, a job's name, or @last"`
}

func (a *API) registerPublish(h huma.API) {
	register(a, h, takesJSON(a, h, wire.PublishWish{To: []string{"s3://results/nightly"}}, huma.Operation{
		OperationID: "publish-job", Method: http.MethodPost, Path: "/v1/jobs/{ref}/publish",
		Summary:     "Send the result of a job somewhere",
		Description: "Each outlet in `to` must be permitted by the node's administrator. Without any, what has failed is tried again. It answers at once; the job's `deliveries` say how far it is.",
		Parameters:  []*huma.Param{queryParam(tenantParam, tenantDoc, huma.TypeString)},
	}), func(ctx context.Context, in *publishInput) (*answer[wire.Deliveries], error) {
		if err := checkRef(in.Ref); err != nil {
			return nil, err
		}
		w, err := decode[wire.PublishWish](&jsonInput{in.Type, in.RawBody})
		if err != nil {
			return nil, err
		}
		if len(w.To) > jobspec.MaxOutlets {
			return nil, refuseSpec("to", fmt.Sprintf("has %d entries, at most %d are taken", len(w.To), jobspec.MaxOutlets))
		}
		for i, text := range w.To {
			if _, err := jobspec.ParsePublish(text); err != nil {
				return nil, refuseSpec(fmt.Sprintf("to[%d]", i), jobspec.AsFailure(err).Detail)
			}
		}
		d, err := a.cfg.Service.Publish(ctx, tenantOf(ctx), in.Ref, w.To)
		return &answer[wire.Deliveries]{d}, err
	})
}
