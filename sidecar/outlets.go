package sidecar

import (
	"context"
	"fmt"
	"slices"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// permits refuses a spec that names outlets which this node does not permit to
// the tenant. It is asked when a job is submitted, so that nobody learns of it
// after hours of work; the courier asks again.
func (s *Sidecar) permits(tenant string, spec jobspec.Spec) error {
	switch {
	case len(spec.Publish)+len(spec.Notify) == 0:
		return nil
	case s.cfg.Courier == nil:
		return jobspec.KindPolicy.Errorf("this node sends nothing anywhere")
	}
	return s.cfg.Courier.Permits(tenant, spec)
}

// putDeliveries stores what is to be done at the end of a job, in the
// transaction that ends it.
func putDeliveries(tx *store.Tx, job jobspec.Job) error {
	if job.Origin != nil || job.Failure != nil && job.Failure.Kind == jobspec.KindLeaseLost {
		return nil // a task of somebody else's job, or a job that goes on at another member
	}
	for n, d := range job.Deliveries() {
		if err := tx.PutDelivery(job.ID, n, d); err != nil {
			return err
		}
	}
	return nil
}

// sendOff wakes the courier when a job has ended that has something for it.
func (s *Sidecar) sendOff(job jobspec.Job) {
	if s.cfg.Courier != nil && job.State.Final() && len(job.Spec.Publish)+len(job.Spec.Notify) > 0 {
		s.cfg.Courier.Wake()
	}
}

// Publish has the result of a job sent to outlets, or, without any, tries again
// what has failed.
func (s *Sidecar) Publish(ctx context.Context, tenant, ref string, to []string) (res wire.Deliveries, err error) {
	if err := s.permits(tenant, jobspec.Spec{Publish: to}); err != nil {
		return res, err
	}
	err = s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		id, err := tx.FindJob(tenant, ref)
		if err != nil {
			return err
		}
		job, err := tx.Job(id)
		if err != nil {
			return err
		}
		list, err := tx.Deliveries(id)
		if err != nil {
			return err
		}
		res, err = s.republish(tx, job, list, to)
		return err
	})
	if err == nil && s.cfg.Courier != nil {
		s.cfg.Courier.Wake()
	}
	return res, err
}

func (s *Sidecar) republish(tx *store.Tx, job jobspec.Job, list []jobspec.Delivery, to []string) (wire.Deliveries, error) {
	res := wire.Deliveries{Job: job.ID}
	again, err := s.toDeliver(job, list, to)
	if err != nil {
		return res, err
	}
	for _, d := range again {
		d = jobspec.Delivery{Kind: d.Kind, To: d.To, State: jobspec.DeliveryWaiting, Next: s.now()}
		n := slices.IndexFunc(list, func(x jobspec.Delivery) bool { return x.Kind == d.Kind && x.To == d.To })
		if n < 0 {
			n, list = len(list), append(list, d)
		}
		list[n] = d
		if err := tx.PutDelivery(job.ID, n, d); err != nil {
			return res, err
		}
	}
	res.Deliveries = list
	return res, nil
}

// toDeliver returns the deliveries that to asks for: new ones, or with none those
// that have failed.
func (s *Sidecar) toDeliver(job jobspec.Job, list []jobspec.Delivery, to []string) ([]jobspec.Delivery, error) {
	refused := func(detail, hint string) error {
		return jobspec.Failure{Kind: jobspec.KindConflict, Where: "job " + job.ID.String(), Detail: detail, Hint: hint}.Error()
	}
	if len(to) == 0 {
		failed := slices.DeleteFunc(slices.Clone(list), func(d jobspec.Delivery) bool { return d.State != jobspec.DeliveryFailed })
		if len(failed) == 0 {
			return nil, refused(fmt.Sprintf("none of its %d deliveries has failed", len(list)), "say where to send the result: ipdc job publish JOB s3://BUCKET/PREFIX")
		}
		return failed, nil
	}
	if job.State != jobspec.JobSucceeded {
		return nil, refused("is "+string(job.State)+" and has no result to send", "wait for it with ipdc job wait, or get what is there with ipdc job get")
	}
	job.Spec.Publish, job.Spec.Notify = to, nil
	again := job.Deliveries()
	if most := 4 * jobspec.MaxOutlets; len(list)+len(again) > most {
		return nil, jobspec.KindLimit.Errorf("job %s has %d deliveries, %d more are over the limit of %d", job.ID, len(list), len(again), most)
	}
	for _, d := range again {
		for _, old := range list {
			if old.To == d.To && old.Kind == d.Kind && old.State == jobspec.DeliveryWaiting {
				return nil, refused("is being sent to "+d.To+" already", "see how far it is: ipdc job describe "+job.ID.String())
			}
		}
	}
	return again, nil
}
