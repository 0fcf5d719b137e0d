package sidecar

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// drainEvery is how often a draining node looks what is left.
const drainEvery = time.Second

// errGivenBack ends a task of another member's job: it is tried elsewhere.
var errGivenBack = jobspec.Failure{Kind: jobspec.KindLost, Where: "task", Detail: "was given back, as the node drains"}.Error()

// drainer empties a node: it takes nothing new, its tasks come to an end, and
// what only it holds gets another holder.
type drainer struct {
	wish   wire.DrainWish
	began  time.Time
	cancel context.CancelFunc
	handed map[string]bool // pins that have another holder, by name

	now wire.Drain // guarded by Sidecar.mu
}

func errDraining() error {
	return jobspec.Failure{
		Kind: jobspec.KindConflict, Where: "node", Detail: "this node drains: it takes nothing new", Hint: "use another node, or let this one take work again: ipdc node drain --undo",
	}.Error()
}

// Draining says whether the node takes nothing new.
func (s *Sidecar) Draining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drainer != nil
}

// open refuses new work while the node takes none, or has no room for it.
func (s *Sidecar) open(ctx context.Context) error {
	if err := s.idle(); err != nil {
		return err
	}
	return s.cfg.Admit(ctx)
}

// idle returns why the node takes nothing new: it drains, or another process
// has its identity.
func (s *Sidecar) idle() error {
	if s.Draining() {
		return errDraining()
	}
	return s.cfg.Twin()
}

// Drain begins to empty the node, or ends that. The node drains until it is
// undone, or started again.
func (s *Sidecar) Drain(_ context.Context, w wire.DrainWish) (wire.Drain, error) {
	if w.Timeout < 0 {
		return wire.Drain{}, jobspec.KindSpec.Errorf("a timeout of %s", w.Timeout)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begun(); err != nil {
		return wire.Drain{}, err
	}
	if s.drainer != nil {
		s.drainer.cancel()
		s.drainer = nil
	}
	if w.Undo {
		s.log.Info("takes work again")
		return wire.Drain{State: wire.DrainNo}, nil
	}
	ctx, cancel := context.WithCancel(s.base)
	d := &drainer{wish: w, began: s.now(), cancel: cancel, handed: map[string]bool{}, now: wire.Drain{State: wire.Draining}}
	s.drainer = d
	s.work.Go(func() { s.drain(ctx, d) })
	s.log.Info("drains", "timeout", w.Timeout, "leave", w.Leave)
	return d.now, nil
}

// Drained says how far that is.
func (s *Sidecar) Drained(context.Context) (wire.Drain, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drainer == nil {
		return wire.Drain{State: wire.DrainNo}, nil
	}
	return s.drainer.now, nil
}

// drain works until ctx ends: jobs that end meanwhile leave results.
func (s *Sidecar) drain(ctx context.Context, d *drainer) {
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for {
		now, err := s.drainOnce(ctx, d)
		if err != nil && ctx.Err() == nil {
			now.State, now.Problem = wire.Draining, err.Error()
			s.log.Warn("drain", "err", err)
		}
		s.mu.Lock()
		if now.State != d.now.State {
			s.log.Info("drain", "state", now.State, "left", now.Pins)
		}
		d.now = now
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Sidecar) drainOnce(ctx context.Context, d *drainer) (now wire.Drain, err error) {
	now.State = wire.Draining
	var jobs []jobspec.Job
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		jobs, err = tx.Jobs(store.Filter{Live: true})
		return err
	})
	if err != nil {
		return now, err
	}
	if err := s.passSchedules(ctx); err != nil && ctx.Err() == nil {
		s.log.Debug("schedules are not handed on", "err", err)
	}
	late := !s.now().Before(d.began.Add(d.wish.Timeout.Std()))
	for _, j := range jobs {
		switch {
		case j.Origin == nil:
			now.Jobs = append(now.Jobs, j.ID)
			if late {
				s.passLate(ctx, j)
			}
			continue
		case late:
			s.stopDriver(j.ID, errGivenBack)
		}
		now.Tasks++
	}
	why, err := s.handOverPins(ctx, d, &now)
	if err != nil {
		return now, err
	}
	alone := len(s.others()) == 0 && !s.awaitCrew(ctx)
	if now.Problem = ""; why != nil {
		now.Problem = jobspec.AsFailure(why).Detail
	}
	if now.Tasks == 0 && len(now.Jobs) == 0 && (now.Pins == 0 || alone) {
		now.State = wire.Drained
	}
	return now, nil
}

// passLate hands a job of this node's own on, where keepers know of it.
func (s *Sidecar) passLate(ctx context.Context, j jobspec.Job) {
	if _, err := s.passOn(ctx, j); err != nil && !isLeaseLost(err) && ctx.Err() == nil {
		s.log.Info("job is not handed on", "job", j.ID, "err", err)
	}
}

// handOverPins finds another holder for what users have pinned here and for
// results, and counts what has none. why is the reason for one of them.
func (s *Sidecar) handOverPins(ctx context.Context, d *drainer, now *wire.Drain) (why, err error) {
	list, err := s.ownPins(ctx, d)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(repairAtOnce)
	for _, h := range list {
		g.Go(func() error {
			hand := s.secondHolder
			if d.wish.Leave {
				hand = s.newOwner
			}
			herr := hand(ctx, h)
			mu.Lock()
			defer mu.Unlock()
			if herr != nil {
				why = herr
				now.Pins++
				return nil
			}
			d.handed[h.Name] = true
			return nil
		})
	}
	err = g.Wait()
	now.Handed = len(d.handed)
	return why, err
}

// ownPins are the pins that are not handed over yet, as rows: those of users,
// and results. Of a task of another member's job the owner has all.
func (s *Sidecar) ownPins(ctx context.Context, d *drainer) (list []store.Holding, err error) {
	pins, err := s.cfg.IPFS.Pins(ctx, "user/")
	if err != nil {
		return nil, err
	}
	ofJobs, err := s.cfg.IPFS.Pins(ctx, "job/")
	if err != nil {
		return nil, err
	}
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		for _, p := range slices.Concat(pins, ofJobs) {
			if d.handed[p.Name] {
				continue
			}
			if rest, ok := strings.CutPrefix(p.Name, "job/"); ok {
				id, what, _ := strings.Cut(rest, "/")
				j, err := tx.Job(jobspec.JobID(id))
				if what != "result" || err != nil || j.Origin != nil || !j.State.Final() {
					continue
				}
			}
			h, err := tx.Holding(p.Name)
			if err != nil && !errors.Is(err, jobspec.KindNotFound.Error()) {
				return err
			}
			if err != nil || h.Root != p.Root {
				h = store.Holding{Name: p.Name, Root: p.Root}
			}
			list = append(list, h)
		}
		return nil
	})
	return list, err
}

// here are those of some members that live and stay.
func (s *Sidecar) here(ids []identity.ID) []identity.ID {
	live := s.others()
	return slices.DeleteFunc(slices.Clone(ids), func(id identity.ID) bool {
		p, there := live[id]
		return !there || p.Draining
	})
}

// secondHolder makes sure that another member that is there holds h, too.
func (s *Sidecar) secondHolder(ctx context.Context, h store.Holding) error {
	there := s.here(h.Holders)
	if len(there) > 0 {
		return nil
	}
	_, why, err := s.copyTo(ctx, h, max(h.Want, 2), 2+len(h.Holders))
	return cmp.Or(err, why)
}

// newOwner makes h another member's own, one that holds it already before
// others.
func (s *Sidecar) newOwner(ctx context.Context, h store.Holding) (err error) {
	err = jobspec.KindNotFound.Errorf("no other member is there to take it")
	first := s.here(h.Holders)
	h.Holders = first
	for _, id := range slices.Concat(first, s.candidates(h)) {
		if err = s.askForCopy(ctx, id, h, true); err == nil {
			return nil
		}
	}
	return err
}
