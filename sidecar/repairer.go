package sidecar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// Bounds of one round.
const (
	repairs      = 32 // copies that are asked for
	repairAtOnce = 2  // of them
)

// auditEvery is how often a holder is told what to hold: often enough that a
// copy that was lost there is noticed within the time of a repair.
func (s *Sidecar) auditEvery() time.Duration { return s.cfg.Repair / 4 }

// repairer keeps copies whole until ctx ends.
func (s *Sidecar) repairer(ctx context.Context) {
	if s.cfg.Post == nil || s.cfg.Crew == nil {
		return
	}
	tick := time.NewTicker(s.cfg.SweepEvery)
	defer tick.Stop()
	for {
		if err := s.repair(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("repair copies", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// repair is one round: rows are brought in line with pins and with who lives,
// missing copies are asked for, and holders are told what is wanted.
func (s *Sidecar) repair(ctx context.Context) error {
	live := s.others()
	err := s.review(ctx, live)
	if err == nil {
		err = s.mend(ctx, live)
	}
	if err == nil {
		err = s.tellHolders(ctx, live)
	}
	return errors.Join(err, s.sweepCopies(ctx, live))
}

func (s *Sidecar) holdings(ctx context.Context) (rows []store.Holding, err error) {
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		rows, err = tx.Holdings()
		return err
	})
	return rows, err
}

// changeHolding changes a row as it is now; one without holders that nobody is
// to have goes.
func (s *Sidecar) changeHolding(tx *store.Tx, name string, change func(*store.Holding)) error {
	h, err := tx.Holding(name)
	if errors.Is(err, jobspec.KindNotFound.Error()) {
		return nil
	}
	if err != nil {
		return err
	}
	change(&h)
	if h.Want == 0 && len(h.Holders) == 0 {
		return tx.DeleteHolding(name)
	}
	return tx.PutHolding(h)
}

// review finds rows whose pin is gone, which all holders are to let go, and
// holders that are away for too long, which do not count any more.
func (s *Sidecar) review(ctx context.Context, live map[identity.ID]Peer) error {
	rows, err := s.holdings(ctx) // before the pins: each row was written after its pin
	if err != nil {
		return err
	}
	gone := s.gone(live, rows)
	if len(rows) == 0 {
		return nil
	}
	pins, err := s.cfg.IPFS.Pins(ctx, "")
	if err != nil {
		return err
	}
	roots := make(map[string]jobspec.CID, len(pins))
	for _, p := range pins {
		roots[p.Name] = p.Root
	}
	var over []store.Holding
	for _, h := range rows {
		if roots[h.Name] != h.Root && h.Want > 0 || slices.ContainsFunc(h.Holders, gone) {
			over = append(over, h)
		}
	}
	if len(over) == 0 {
		return nil
	}
	return s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		for _, old := range over {
			err := s.changeHolding(tx, old.Name, func(h *store.Holding) {
				if h.Root == old.Root && roots[h.Name] != h.Root {
					h.Want = 0
				}
				h.Holders = slices.DeleteFunc(h.Holders, gone)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// gone notes who lives, and says of a holder whether it was not heard of for
// the time of a repair. After a restart of this node that time begins anew.
func (s *Sidecar) gone(live map[identity.ID]Peer, rows []store.Holding) func(identity.ID) bool {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.copies.seen
	for id := range live {
		seen[id] = now
	}
	for _, h := range rows {
		for _, id := range h.Holders {
			if _, known := seen[id]; !known {
				seen[id] = now
			}
		}
	}
	over := map[identity.ID]bool{}
	for id, at := range seen {
		over[id] = now.Sub(at) > s.cfg.Repair
	}
	return func(id identity.ID) bool { return over[id] }
}

// mend asks for some of the copies that are missing. Those of a member that
// drains do not count.
func (s *Sidecar) mend(ctx context.Context, live map[identity.ID]Peer) error {
	rows, err := s.holdings(ctx)
	if err != nil {
		return err
	}
	leaves := func(id identity.ID) bool { return live[id].Draining }
	s.mu.Lock()
	first, _ := slices.BinarySearchFunc(rows, s.copies.from, func(h store.Holding, name string) int { return cmp.Compare(h.Name, name) })
	s.mu.Unlock()
	var g errgroup.Group
	g.SetLimit(repairAtOnce)
	asked := 0
	for _, h := range slices.Concat(rows[first:], rows[:first]) {
		leaving := slices.DeleteFunc(slices.Clone(h.Holders), func(id identity.ID) bool { return !leaves(id) })
		h.Want += min(h.Want, 1) * len(leaving)
		if h.Missing() == 0 || len(s.candidates(h)) == 0 {
			continue
		}
		if asked++; asked > repairs {
			s.mu.Lock()
			s.copies.from = h.Name
			s.mu.Unlock()
			break
		}
		g.Go(func() error { return s.mendOne(ctx, h) })
	}
	return g.Wait()
}

func (s *Sidecar) mendOne(ctx context.Context, h store.Holding) error {
	defer s.asking(h)()
	ctx, cancel := context.WithTimeout(ctx, awaitCopy)
	defer cancel()
	got, why := s.replicate(ctx, h, false)
	more := got.Holders[len(h.Holders):]
	if len(more) == 0 {
		s.log.Debug("copy is still missing", "name", h.Name, "err", why)
		return nil
	}
	s.log.Info("another member holds a copy", "name", h.Name, "members", more)
	return s.cfg.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		return s.changeHolding(tx, h.Name, func(now *store.Holding) {
			for _, id := range more {
				if now.Root == h.Root && !slices.Contains(now.Holders, id) {
					now.Holders = append(now.Holders, id)
				}
			}
		})
	})
}

// unaudited notes a member that holds something for this node and was not told
// for long what is wanted.
func (s *Sidecar) unaudited(_ context.Context, l bus.Letter, _ wire.Unaudited) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.copies.poked[l.From] = true
}

// tellHolders tells members what they are to hold: those whose time it is,
// those that ask, and at once those that are to let go of something.
func (s *Sidecar) tellHolders(ctx context.Context, live map[identity.ID]Peer) error {
	rows, err := s.holdings(ctx)
	if err != nil {
		return err
	}
	by := map[identity.ID][]store.Holding{}
	over := map[identity.ID]bool{}
	for _, h := range rows {
		for _, id := range h.Holders {
			by[id] = append(by[id], h)
			over[id] = over[id] || h.Want == 0
		}
	}
	now := s.now()
	for id := range live {
		s.mu.Lock()
		due := s.copies.poked[id] || over[id] || len(by[id]) > 0 && now.Sub(s.copies.told[id]) >= s.auditEvery()
		s.mu.Unlock()
		if due {
			if terr := s.tell(ctx, id); terr != nil {
				err = errors.Join(err, fmt.Errorf("tell %s what to hold: %w", id.Short(), terr))
			}
		}
	}
	return err
}

// auditPins begin the names of lists that members are told, each until it has
// answered.
const auditPins = "audit/"

// dropLists unpins what an earlier process was about to tell: nobody may ever
// tell that member anything again.
func (s *Sidecar) dropLists(ctx context.Context) error {
	pins, err := s.cfg.IPFS.Pins(ctx, auditPins)
	for _, p := range pins {
		err = errors.Join(err, s.cfg.IPFS.Unpin(ctx, p.Name))
	}
	return err
}

// tell tells one member what it is to hold, and takes what it has lost, and has
// let go, off its rows.
func (s *Sidecar) tell(ctx context.Context, id identity.ID) error {
	at := s.now()
	s.mu.Lock()
	asked := slices.Collect(maps.Keys(s.copies.asked)) // before the rows: a copy goes from here to there
	s.mu.Unlock()
	rows, err := s.holdings(ctx)
	if err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(h store.Holding) bool { return !slices.Contains(h.Holders, id) })
	list := []wire.Copy{}
	for _, h := range rows {
		if h.Want > 0 && len(list) < maxCopies {
			list = append(list, wire.Copy{Name: h.Name, Root: h.Root})
		}
	}
	n := len(list)
	list = append(list, asked...) // it may be this member's in a moment
	pin := auditPins + id.String()
	file, err := s.publishJSON(ctx, pin, list)
	if err != nil {
		return err
	}
	once, cancel := context.WithTimeout(ctx, askCopy)
	defer cancel()
	got, err := bus.Request[wire.Audited](once, s.cfg.Post, id, typeAudit, wire.Audit{List: file, At: at.UnixMilli()})
	if err = errors.Join(err, s.cfg.IPFS.Unpin(ctx, pin)); err != nil {
		return err
	}
	s.mu.Lock()
	s.copies.told[id] = s.now()
	delete(s.copies.poked, id)
	s.mu.Unlock()
	held := map[string]bool{}
	for i, c := range list[:n] {
		held[c.Name] = bitmap(got.Bits).has(i)
	}
	rows = slices.DeleteFunc(rows, func(h store.Holding) bool { return held[h.Name] })
	if len(rows) == 0 {
		return nil
	}
	return s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		for _, old := range rows {
			err := s.changeHolding(tx, old.Name, func(h *store.Holding) { *h = h.Without(id) })
			if err != nil {
				return err
			}
		}
		return nil
	})
}
