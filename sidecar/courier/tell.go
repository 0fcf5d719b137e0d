package courier

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ipdc/ipdc/delivery"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// tell tells a receiver that the job has ended.
func (c *Courier) tell(ctx context.Context, d store.Due, job jobspec.Job) error {
	to, err := jobspec.ParseNotify(d.To)
	if err != nil {
		return err
	}
	r, err := c.cfg.Outlets.Receiver(whose(job), to)
	if err != nil {
		return err
	}
	body, err := json.Marshal(wire.Notice{
		Type: "job." + string(job.State), Timestamp: job.Finished,
		Data: wire.NoticeOfJob{
			ID: job.ID, Name: job.Spec.Name, Labels: job.Spec.Labels, State: job.State, Result: job.Result, Partial: job.Partial,
			Failure: job.Failure, SpecCID: job.SpecCID, Submitted: job.Submitted, Started: job.Started, Finished: job.Finished, Node: c.cfg.Node,
		},
	})
	if err != nil {
		return err
	}
	return r.Tell(ctx, delivery.Message{ID: fmt.Sprintf("msg_%s_%s_%d", job.ID, job.State, d.N), Time: c.cfg.Now(), Body: body})
}
