package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

type mergeInput struct {
	Type    string `header:"Content-Type" hidden:"true"`
	RawBody []byte `contentType:"application/json"`
	Ref     string `path:"ref" example:"@last" doc:"Job id, a unique prefix of one, a job's name, or @last"`
}

var merges = []jobspec.Merge{jobspec.MergeUnion, jobspec.MergeShards, jobspec.MergeConcat, jobspec.MergeNone}

func (a *API) registerMerge(h huma.API) {
	register(a, h, takesJSON(a, h, wire.MergeWish{Merge: jobspec.MergeShards}, huma.Operation{
		OperationID: "merge-job", Method: http.MethodPost, Path: "/v1/jobs/{ref}/merge",
		Summary:     "Merge the outputs of a job's tasks in another way",
		Description: "The job has succeeded, or failed because its outputs clash, and stays so. `merge` is union, shards, concat, or none, which only lists the outputs.",
		Parameters:  []*huma.Param{queryParam(tenantParam, tenantDoc, huma.TypeString)},
	}), func(ctx context.Context, in *mergeInput) (*answer[wire.Merging], error) {
		if err := checkRef(in.Ref); err != nil {
			return nil, err
		}
		w, err := decode[wire.MergeWish](&jsonInput{in.Type, in.RawBody})
		if err == nil && !slices.Contains(merges, w.Merge) {
			err = refuseSpec("merge", fmt.Sprintf("is not one of %v", merges))
		}
		if err != nil {
			return nil, err
		}
		m, err := a.cfg.Service.Merge(ctx, tenantOf(ctx), in.Ref, w.Merge)
		return &answer[wire.Merging]{m}, err
	})
}
