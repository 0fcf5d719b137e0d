package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// PruneFilter selects final jobs. Zero values select all of them.
type PruneFilter struct {
	States    []jobspec.JobState
	Labels    map[string]string // all must be equal
	OlderThan time.Duration     // since the job ended
	DryRun    bool              // remove nothing
}

func (a *API) registerPrune(h huma.API) {
	register(a, h, takesJSON(a, h, wire.PruneWish{States: []jobspec.JobState{jobspec.JobFailed}, DryRun: true}, huma.Operation{
		OperationID: "prune-jobs", Method: http.MethodPost, Path: "/v1/jobs/prune", Summary: "Remove jobs that have ended",
		Description: "`older_than` counts from a job's end; of `labels` all must be equal; without a state all jobs that have ended.",
		Parameters:  []*huma.Param{queryParam(tenantParam, tenantDoc, huma.TypeString)},
	}), a.prune)
}

func (a *API) prune(ctx context.Context, in *jsonInput) (*answer[wire.Pruned], error) {
	w, err := decode[wire.PruneWish](in)
	if err != nil {
		return nil, err
	}
	for _, s := range w.States {
		if !s.Final() {
			return nil, refuseSpec("states", "a job is removed when it has ended: succeeded, failed or stopped")
		}
	}
	res, err := a.cfg.Service.Prune(ctx, tenantOf(ctx), PruneFilter{
		States: w.States, Labels: w.Labels, OlderThan: w.OlderThan.Std(), DryRun: w.DryRun,
	})
	if res.Jobs == nil {
		res.Jobs = []wire.PrunedJob{}
	}
	return &answer[wire.Pruned]{res}, err
}
