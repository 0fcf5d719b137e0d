package sidecar

import (
	"context"
	"errors"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// Job returns a job with its attempts.
func (s *Sidecar) Job(ctx context.Context, tenant, ref string) (j wire.Job, err error) {
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		id, err := tx.FindJob(tenant, ref)
		if err != nil {
			return err
		}
		if j.Job, err = tx.Job(id); err != nil {
			return err
		}
		if j.Attempts, err = tx.Attempts(id); err != nil {
			return err
		}
		if err := showTasks(tx, &j); err != nil {
			return err
		}
		if j.Deliveries, err = tx.Deliveries(id); err != nil {
			return err
		}
		j.Replicas, err = s.replicasOf(tx, pinName(id, "result"))
		return err
	})
	if errors.Is(err, jobspec.KindNotFound.Error()) {
		if e, ok, rerr := s.inRecord(ctx, tenant, ref); ok || rerr != nil {
			return e, rerr
		}
	}
	j.Waiting = s.waitsFor(j.ID)
	s.asTold(j.Attempts)
	return j, err
}

// Jobs returns jobs without their attempts, newest first.
func (s *Sidecar) Jobs(ctx context.Context, tenant string, f api.JobFilter) (list []wire.Job, err error) {
	if tenant == api.AllTenants {
		tenant = ""
	}
	now, err := s.namedNow(ctx, tenant, f.Dataset)
	if err != nil {
		return nil, err
	}
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		jobs, err := tx.Jobs(store.Filter{Tenant: tenant, States: f.States, Labels: f.Labels, Dataset: f.Dataset, NamedNow: now, OfUser: !f.All, Limit: f.Limit})
		for _, j := range jobs {
			list = append(list, wire.Job{Job: j, Waiting: s.waitsFor(j.ID)})
		}
		if err == nil {
			list, err = s.withHanded(tx, tenant, f, list)
		}
		return err
	})
	return list, err
}

// waitsFor returns why nothing of a job runs, or "".
func (s *Sidecar) waitsFor(id jobspec.JobID) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.drivers[id]; d != nil {
		return d.waiting
	}
	return ""
}

// Events yields a job's history from after on.
func (s *Sidecar) Events(ctx context.Context, tenant, ref string, after int64, follow bool, yield func(jobspec.Event) error) error {
	var id jobspec.JobID
	err := s.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		id, err = tx.FindJob(tenant, ref)
		return err
	})
	if err != nil {
		return s.orAtOwner(ctx, tenant, ref, err)
	}
	for {
		var wake <-chan struct{}
		if follow {
			wake = s.hub.next(id)
		}
		page, state, err := s.eventPage(ctx, id, after)
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := yield(e); err != nil {
				return err
			}
			after = e.Seq
		}
		if len(page) > 0 {
			continue
		}
		if !follow {
			return nil
		}
		if state.Final() {
			s.hub.notify(id) // nobody else will
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// eventPage returns a job's next events, or its state when there are none.
func (s *Sidecar) eventPage(ctx context.Context, id jobspec.JobID, after int64) (page []jobspec.Event, state jobspec.JobState, err error) {
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		if page, err = tx.Events(id, after, 500); err != nil || len(page) > 0 {
			return err
		}
		job, err := tx.Job(id)
		state = job.State
		return err
	})
	return page, state, err
}
