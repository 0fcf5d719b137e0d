package sidecar

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/peering"
	"github.com/ipdc/ipdc/store"
)

// DialTask opens a stream to a task of the job's gang, as the newest generation
// of it runs.
func (s *Sidecar) DialTask(ctx context.Context, tenant, ref, task string) (*peering.Stream, error) {
	job, peers, err := s.gangOf(ctx, tenant, ref)
	if err != nil {
		return nil, s.orAtOwner(ctx, tenant, ref, err)
	}
	no := jobspec.Failure{Kind: jobspec.KindConflict, Where: "job " + job.ID.String()}
	if peers == nil || job.State.Final() {
		no.Detail = fmt.Sprintf("is %s, and no gang of it runs", job.State)
		no.Hint = "streams lead to the tasks of a gang while they run; ipdc job describe shows them"
		return nil, no.Error()
	}
	g := peering.Of(s.id, *peers).ForOwner()
	if _, ok := g.Nodes[task]; !ok {
		var names []string
		for _, t := range peers.Tasks {
			names = append(names, t.Name)
		}
		no.Kind, no.Detail, no.Hint = jobspec.KindNotFound, fmt.Sprintf("its gang has no task %.40q", task), "they are "+strings.Join(names, ", ")
		return nil, no.Error()
	}
	st, err := s.gangs.Dial(ctx, g, task)
	switch {
	case err == nil:
		return st, nil
	case errors.Is(err, peering.ErrDeaf):
		no.Detail, no.Hint = fmt.Sprintf("the program of task %s does not listen on its port, %d", task, portOf(peers, task)), "try again when it has begun to; ipdc job logs shows how far it is"
	case errors.Is(err, peering.ErrNotThere):
		no.Detail, no.Hint = fmt.Sprintf("task %s does not run now", task), "try again when ipdc job describe shows that it does"
	default:
		no.Kind, no.Detail = jobspec.KindLost, fmt.Sprintf("the member that runs task %s cannot be reached: %v", task, err)
	}
	return nil, no.Error()
}

func portOf(p *jobspec.Peers, task string) int {
	for _, t := range p.Tasks {
		if t.Name == task {
			return t.Port
		}
	}
	return 0
}

// gangOf returns the job and the newest generation of its gang; nil = none.
func (s *Sidecar) gangOf(ctx context.Context, tenant, ref string) (job jobspec.Job, peers *jobspec.Peers, err error) {
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		id, err := tx.FindJob(tenant, ref)
		if err != nil {
			return err
		}
		if job, err = tx.Job(id); err != nil {
			return err
		}
		attempts, err := tx.Attempts(id)
		var newest time.Time
		for _, a := range attempts { // stages come one after the other, and generations of each
			if a.Peers != nil && !a.Leased.Before(newest) {
				newest, peers = a.Leased, a.Peers
			}
		}
		return err
	})
	return job, peers, err
}
