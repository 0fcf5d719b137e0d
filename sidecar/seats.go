package sidecar

import (
	"context"
	"fmt"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// seats is room that this node holds for tasks of a gang until they come. It is
// in memory only: a node that is killed holds nothing, and its owner asks anew.
type seats struct {
	owner   identity.ID
	each    jobspec.Resources
	left    int           // tasks that have not come
	ticket  *ticket       // in the placer's line, for all of them
	place   *standing     // why the ticket is where it is
	since   time.Time     // they are held; zero = they wait. Guarded by Sidecar.mu
	renewed chan struct{} // holds one
	over    chan struct{} // closed when they are given up
}

const (
	// maxGangsOf bounds for how many gangs of one other member a node holds room
	// at once.
	maxGangsOf = 16
	// holdMost bounds how long room is held for one generation before its tasks
	// come: its owner needs a round for all others, and assigns then.
	holdMost = roundMost + assignFor + 30*time.Second
)

// seatKey names seats.
func seatKey(owner identity.ID, gang string) string { return string(owner) + "/" + gang }

// seated answers a member that wants room for tasks of its gang.
func (s *Sidecar) seated(ctx context.Context, l bus.Letter, q wire.Reserve) (wire.Reserved, error) {
	job, err := jobspec.ParseJobID(q.Job)
	if err != nil || q.Gang == "" || len(q.Gang) > maxGangID || q.Tasks < 0 || q.Tasks > jobspec.MaxGang || q.Generation < 1 {
		return wire.Reserved{}, jobspec.KindSpec.Errorf("a malformed wish for room for gang %.64q", q.Gang)
	}
	if q.Tasks > 0 {
		if err := q.Each.Check(); err != nil {
			return wire.Reserved{}, err
		}
	}
	left, err := s.endEarlier(ctx, l.From, job, q.Generation)
	if err != nil || left > 0 || q.Tasks == 0 {
		return wire.Reserved{Held: err == nil && left == 0, Waiting: fmt.Sprintf("ends %d tasks of an earlier generation", left)}, err
	}
	if err := s.open(ctx); err != nil {
		return wire.Reserved{}, err
	}
	return s.holdSeats(l.From, job, q)
}

// endEarlier ends what runs here of earlier generations of a gang, and reports
// how many of its tasks have not ended yet.
func (s *Sidecar) endEarlier(ctx context.Context, owner identity.ID, job jobspec.JobID, generation int) (left int, err error) {
	err = s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		jobs, err := tx.Jobs(store.Filter{Live: true, Tenant: originTenant(owner.String())})
		if err != nil {
			return err
		}
		for _, j := range jobs {
			o := j.Origin
			if o == nil || o.Peers == nil || o.Peers.Generation >= generation {
				continue
			}
			if id, err := jobspec.ParseAttemptID(o.Attempt); err != nil || id.Job != job {
				continue
			}
			left++
			if j.Stopping {
				continue
			}
			j.Stopping = true
			if err := tx.PutJob(j); err != nil {
				return err
			}
			defer s.stopDriver(j.ID, errStopped)
		}
		return nil
	})
	return left, err
}

// holdSeats puts tasks of a gang into the line for this node's capacity, and
// says whether they hold it. The order is that of standings.
func (s *Sidecar) holdSeats(owner identity.ID, job jobspec.JobID, q wire.Reserve) (wire.Reserved, error) {
	if why := s.placer.never(q.Each, q.Tasks); why != "" {
		return wire.Reserved{}, jobspec.KindPolicy.Errorf("%d tasks of the gang do not fit: %s", q.Tasks, why)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begun(); err != nil {
		return wire.Reserved{}, err
	}
	h, err := s.seatsOf(owner, job, q)
	if err != nil {
		return wire.Reserved{}, err
	}
	select {
	case h.renewed <- struct{}{}:
	default:
	}
	if isClosed(h.ticket.granted) {
		return wire.Reserved{Held: true}, nil
	}
	return wire.Reserved{Waiting: s.placer.lacks(h.ticket.need)}, nil
}

// seatsOf returns the seats of a generation, which it puts into the line when
// there are none. The lock is held.
func (s *Sidecar) seatsOf(owner identity.ID, job jobspec.JobID, q wire.Reserve) (*seats, error) {
	key := seatKey(owner, q.Gang)
	if h := s.seats[key]; h != nil {
		return h, nil
	}
	has := 0
	for _, h := range s.seats {
		if h.owner == owner {
			has++
		}
	}
	if owner != s.id && has >= maxGangsOf {
		return nil, jobspec.KindLimit.Errorf("room is held for %d gangs of this member, at most %d", has, maxGangsOf)
	}
	place := s.standingOf(owner, job)
	h := &seats{
		owner: owner, each: q.Each, left: q.Tasks, place: place, renewed: make(chan struct{}, 1), over: make(chan struct{}),
		ticket: s.placer.queue(jobspec.AttemptID{Job: place.id, Try: q.Generation}, times(q.Each, q.Tasks)),
	}
	s.seats[key] = h
	base := s.base
	s.work.Go(func() { s.keepSeats(base, key, h) })
	return h, nil
}

// keepSeats gives seats back when nobody has asked for them for a lease, or they
// were held for too long.
func (s *Sidecar) keepSeats(base context.Context, key string, h *seats) {
	lease := time.NewTimer(s.cfg.Lease)
	defer lease.Stop()
	granted, most := h.ticket.granted, (<-chan time.Time)(nil)
	for {
		select {
		case <-granted:
			granted, most = nil, time.After(holdMost)
			s.mu.Lock()
			h.since = s.now()
			s.mu.Unlock()
		case <-h.renewed:
			lease.Reset(s.cfg.Lease)
		case <-h.over:
			return
		case <-most:
			s.log.Info("room that was held for a gang is given back", "owner", h.owner.Short(), "after", holdMost)
			s.dropSeats(key)
			return
		case <-lease.C:
			s.dropSeats(key)
			return
		case <-base.Done():
			return
		}
	}
}

// dropSeats gives back the seats that no task has taken.
func (s *Sidecar) dropSeats(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.seats[key]
	if h == nil {
		return
	}
	s.endSeats(key, h)
	s.placer.leave(h.ticket, times(h.each, h.left))
}

// endSeats forgets seats. The lock is held.
func (s *Sidecar) endSeats(key string, h *seats) {
	delete(s.seats, key)
	close(h.over)
	if !h.since.IsZero() {
		h.place.held += s.now().Sub(h.since)
	}
}

// takeSeat hands one seat over to the caller, who gives its resources back to
// the placer. It reports false when there is none.
func (s *Sidecar) takeSeat(key string, each jobspec.Resources) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.seats[key]
	if h == nil || h.left == 0 || h.each != each || !isClosed(h.ticket.granted) {
		return false
	}
	if h.left--; h.left == 0 {
		s.endSeats(key, h)
	}
	return true
}

// unseat gives seats back at whoever holds them. What does not hear it does so
// by itself a lease later.
func (s *Sidecar) unseat(_ context.Context, l bus.Letter, u wire.Unreserve) {
	s.dropSeats(seatKey(l.From, u.Gang))
}

// errNoSeat ends an attempt of a gang for which no room is held any more.
func errNoSeat() error { return jobspec.KindLost.Errorf("no room is held for it any more") }

// seatFor takes the seat of a task of another node's gang for its job.
func (s *Sidecar) seatFor(owner identity.ID, job jobspec.Job) error {
	p := job.Origin.Peers
	if p == nil {
		return nil
	}
	if !s.takeSeat(seatKey(owner, p.Gang), job.Spec.Resources) {
		return errNoSeat()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sitting[job.ID] = job.Spec.Resources
	return nil
}

// sit hands the seat of a job over to the caller, who gives it back.
func (s *Sidecar) sit(id jobspec.JobID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.sitting[id]
	delete(s.sitting, id)
	return ok
}

// stand gives the seat of a job back, unless its task has it.
func (s *Sidecar) stand(job jobspec.Job) {
	if s.sit(job.ID) {
		s.placer.release(job.Spec.Resources)
	}
}

// times is what n tasks need, where placer.never says that there is so much.
func times(r jobspec.Resources, n int) jobspec.Resources {
	k := int64(n)
	return jobspec.Resources{CPU: r.CPU * jobspec.CPU(k), Memory: r.Memory * jobspec.Bytes(k), Disk: r.Disk * jobspec.Bytes(k), GPU: r.GPU * n}
}
