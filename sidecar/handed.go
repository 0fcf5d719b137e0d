package sidecar

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// Handed implements api.Errands: it finds out whether a ref means a job that
// another member has.
func (s *Sidecar) Handed(ctx context.Context, tenant, ref string) (h api.Handed, ok bool, err error) {
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		list, err := tx.FindHanded(tenant, ref)
		if err != nil || len(list) == 0 {
			return err
		}
		id, err := tx.FindJob(tenant, ref)
		switch {
		case errors.Is(err, jobspec.KindNotFound.Error()):
			if len(list) > 1 {
				return ambiguousHanded(ref, list)
			}
		case err != nil, id.String() == ref:
			return nil // the job here; its own refusal is said there
		default:
			job, err := tx.Job(id)
			if err != nil || !job.Submitted.Before(list[0].Asked) && (ref == store.Last || job.Spec.Name == ref) {
				return err
			}
			if ref != store.Last && job.Spec.Name != ref && ref != list[0].Job.ID.String() {
				return ambiguousHanded(ref, append(list, store.Handed{Job: job}))
			}
		}
		h, ok = api.Handed{Tenant: list[0].Tenant, Key: list[0].Key, Member: list[0].Member, Job: list[0].Job.ID}, true
		return nil
	})
	return h, ok, err
}

func ambiguousHanded(ref string, list []store.Handed) error {
	f := jobspec.Failure{Kind: jobspec.KindConflict, Detail: "\"" + ref + "\" is the beginning of several job ids:", Hint: "type more characters of the id"}
	for _, h := range list[:min(len(list), 5)] {
		f.Detail += " " + h.Job.ID.String()
	}
	return f.Error()
}

// Learn implements api.Errands.
func (s *Sidecar) Learn(ctx context.Context, h api.Handed, j wire.Job) error {
	return s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		row, err := tx.Handed(h.Tenant, h.Key)
		if err != nil || row.Job.State == j.State && row.Job.ItemsDone == j.ItemsDone {
			return err
		}
		row.Job = told(row.Job, j.Job)
		return tx.PutHanded(row)
	})
}

// told is a job as it is known here, with what its owner says of it.
func told(old, now jobspec.Job) jobspec.Job {
	old.State, old.Result, old.Partial = now.State, now.Result, now.Partial
	old.Started, old.Finished = now.Started, now.Finished
	old.ItemsTotal, old.ItemsDone = now.ItemsTotal, now.ItemsDone
	return old
}

// Forget implements api.Errands.
func (s *Sidecar) Forget(ctx context.Context, h api.Handed) error {
	return s.forgetHanded(ctx, store.Handed{Tenant: h.Tenant, Key: h.Key})
}

// withHanded adds the jobs that other members have to a list of jobs, the
// newest first.
func (s *Sidecar) withHanded(tx *store.Tx, tenant string, f api.JobFilter, list []wire.Job) ([]wire.Job, error) {
	handed, err := tx.HandedJobs(tenant, false, 0)
	if err != nil || len(handed) == 0 {
		return list, err
	}
	for _, h := range handed {
		if f.Selects(h.Job) {
			list = append(list, wire.Job{Job: h.Job, Member: h.Member.String()})
		}
	}
	slices.SortStableFunc(list, func(a, b wire.Job) int { return b.Submitted.Compare(a.Submitted) })
	if f.Limit > 0 {
		list = list[:min(len(list), f.Limit)]
	}
	return list, nil
}

// pruneHanded forgets jobs of other members that are known to have ended; what
// the members keep of them is theirs.
func (s *Sidecar) pruneHanded(ctx context.Context, tenant string, f api.PruneFilter, res *wire.Pruned) error {
	return s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		list, err := tx.HandedJobs(tenant, false, 0)
		for _, h := range slices.Backward(list) {
			j := h.Job
			if !j.State.Final() || f.OlderThan > 0 && s.now().Sub(j.Finished) < f.OlderThan || !(api.JobFilter{States: f.States, Labels: f.Labels}).Selects(j) {
				continue
			}
			res.Jobs = append(res.Jobs, wire.PrunedJob{ID: j.ID, Name: j.Spec.Name, State: j.State, Finished: j.Finished, Result: j.Result})
			if !f.DryRun && err == nil {
				err = tx.DeleteHanded(h.Tenant, h.Key)
			}
		}
		return err
	})
}

// askHandedFor bounds the questions of one round.
const askHandedFor = 5 * time.Second

// forgetAsked is when an offer that was never answered is forgotten.
const forgetAsked = time.Hour

// refreshHanded asks members how the jobs do that are not known to have ended,
// so that lists of jobs tell.
func (s *Sidecar) refreshHanded(ctx context.Context) error {
	if s.cfg.Post == nil {
		return nil
	}
	by := map[identity.ID][]store.Handed{}
	err := s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.DeleteUnanswered(s.now().Add(-forgetAsked)); err != nil {
			return err
		}
		list, err := tx.HandedJobs("", true, 0)
		for _, h := range list {
			if len(by[h.Member]) < wire.MaxHandedStates {
				by[h.Member] = append(by[h.Member], h)
			}
		}
		return err
	})
	if err != nil || len(by) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askHandedFor)
	defer cancel()
	var asked sync.WaitGroup
	for member, list := range by {
		asked.Go(func() { s.askHanded(ctx, member, list) })
	}
	asked.Wait()
	return nil
}

// askHanded asks one member. One that does not answer is asked again in the
// next round.
func (s *Sidecar) askHanded(ctx context.Context, member identity.ID, list []store.Handed) {
	q := wire.HandedState{}
	for _, h := range list {
		q.Jobs = append(q.Jobs, h.Job.ID)
	}
	ans, err := bus.Request[wire.HandedStates](ctx, s.cfg.Post, member, typeHandedState, q)
	if err != nil {
		s.log.Debug("ask for jobs that were handed over", "member", member.Short(), "err", err)
		return
	}
	for i, b := range ans.States[:min(len(ans.States), len(list))] {
		if b.State == "" {
			continue // `job describe` says so, with what to do
		}
		h, j := list[i], wire.Job{Job: jobspec.Job{
			State: b.State, Result: b.Result, Partial: b.Partial, Started: b.Started, Finished: b.Finished,
			ItemsTotal: b.ItemsTotal, ItemsDone: b.ItemsDone,
		}}
		if err := s.Learn(ctx, api.Handed{Tenant: h.Tenant, Key: h.Key}, j); err != nil && ctx.Err() == nil {
			s.log.Warn("record of a job that was handed over", "job", h.Job.ID, "err", err)
		}
	}
}

// handedState answers how the jobs of the asking member do.
func (s *Sidecar) handedState(ctx context.Context, l bus.Letter, q wire.HandedState) (ans wire.HandedStates, err error) {
	if len(q.Jobs) > wire.MaxHandedStates {
		return ans, jobspec.KindLimit.Errorf("%d jobs are asked for, at most %d are looked up", len(q.Jobs), wire.MaxHandedStates)
	}
	tenant := api.MemberTenant(l.From)
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		for _, id := range q.Jobs {
			j, err := tx.Job(id)
			if err != nil && !errors.Is(err, jobspec.KindNotFound.Error()) {
				return err
			}
			var b wire.JobBrief
			if err == nil && j.Tenant == tenant {
				b = wire.JobBrief{
					State: j.State, Result: j.Result, Partial: j.Partial, Started: j.Started, Finished: j.Finished,
					ItemsTotal: j.ItemsTotal, ItemsDone: j.ItemsDone,
				}
			}
			ans.States = append(ans.States, b)
		}
		return nil
	})
	return ans, err
}
