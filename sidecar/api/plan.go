package api

import (
	"bytes"
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

type planInput struct {
	Type    string `header:"Content-Type" hidden:"true"`
	RawBody []byte `contentType:"application/yaml"`
}

// exampleSpec is the least that a spec needs.
var exampleSpec = jobspec.Spec{Version: jobspec.Version, Run: jobspec.Run{Image: "shell", Command: []string{"echo", "hello"}}}

func (a *API) registerPlan(h huma.API) {
	register(a, h, takesJSON(a, h, exampleSpec, huma.Operation{
		OperationID: "plan-job", Method: http.MethodPost, Path: "/v1/jobs/plan",
		Summary: "Say what a submit would do, and do nothing", Description: "The body is the spec, as of a submit.",
	}), func(ctx context.Context, in *planInput) (*answer[wire.Plan], error) {
		if err := checkSpecType(in.Type, in.RawBody); err != nil {
			return nil, err
		}
		spec, err := jobspec.Parse(bytes.Clone(in.RawBody)) // the buffer goes back to a pool after this
		if err != nil {
			return nil, err
		}
		p, err := a.cfg.Service.Plan(ctx, Submission{Tenant: tenantOf(ctx), Spec: spec})
		return &answer[wire.Plan]{p}, err
	})
}
