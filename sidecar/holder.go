package sidecar

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// A node holds copies for other members: DAGs that are pinned here under
// held/<owner>/<name>, with name that of the owner's own pin. The pins are all
// that is kept of them. Nobody but the owner touches them: its id is in the
// name, and the bus proves it.

const (
	copiesAtOnce = 4             // that are fetched
	copiesInLine = 64            // that are fetched or wait for it
	copyAnswer   = time.Second   // for a copy that is soon there; else the owner asks again
	copyLease    = time.Minute   // an owner that does not ask for so long does not want it any more
	maxCopies    = wire.MaxHolds // of one owner
	maxCopyName  = 256           // bytes
	noteAudits   = time.Hour     // between two notes of one owner's audits
	heldPrefix   = "held/"       //
	metaAudited  = "audited/"    // and the owner: when it last said what is wanted
	errCopyGone  = "nobody asks for it any more"
)

func heldPin(owner identity.ID, name string) string { return heldPrefix + owner.String() + "/" + name }

// copying is a copy that is being fetched.
type copying struct {
	root   jobspec.CID
	done   chan struct{} // closed when err is set
	err    error
	cancel context.CancelCauseFunc
	lease  *time.Timer
}

// keepCopy answers a member that wants something of its own held here.
func (s *Sidecar) keepCopy(ctx context.Context, l bus.Letter, q wire.Hold) (wire.Holding, error) {
	if err := checkCopy(q); err != nil {
		return wire.Holding{}, err
	}
	pin := heldPin(l.From, q.Name)
	if q.Keep {
		pin = api.UserPin(api.TenantLocal, q.Root)
	}
	if held, err := s.pinnedAs(ctx, pin, q.Root); held || err != nil {
		return wire.Holding{Done: held}, err
	}
	c, err := s.copying(ctx, l.From, pin, q)
	if err != nil {
		return wire.Holding{}, err
	}
	soon := time.NewTimer(copyAnswer)
	defer soon.Stop()
	select {
	case <-c.done:
		s.copied(pin, c)
		return wire.Holding{Done: c.err == nil}, c.err
	case <-soon.C:
	case <-ctx.Done():
	}
	return wire.Holding{}, nil
}

func checkCopy(q wire.Hold) error {
	odd := func(r rune) bool { return r < '!' || r > '~' }
	switch {
	case !q.Root.Defined() || q.Bytes < 0:
		return jobspec.KindSpec.Errorf("a copy of %s with %d bytes is asked for", q.Root, q.Bytes)
	case len(q.Name) > maxCopyName || strings.ContainsFunc(q.Name, odd) || !strings.HasPrefix(q.Name, "job/") && !strings.HasPrefix(q.Name, "user/"):
		return jobspec.KindSpec.Errorf("%.300q is not the name of a copy", q.Name)
	}
	return nil
}

func (s *Sidecar) pinnedAs(ctx context.Context, name string, root jobspec.CID) (bool, error) {
	pins, err := s.cfg.IPFS.Pins(ctx, name)
	return len(pins) > 0 && pins[0].Name == name && pins[0].Root == root, err
}

// copying returns the fetch of a copy, and begins it when there is room.
func (s *Sidecar) copying(ctx context.Context, owner identity.ID, pin string, q wire.Hold) (*copying, error) {
	if c := s.underWay(pin); c != nil && c.root == q.Root {
		return c, nil
	}
	if err := s.idle(); err != nil {
		return nil, err
	}
	if err := s.cfg.Room(ctx, q.Bytes); err != nil {
		return nil, err
	}
	pins, err := s.cfg.IPFS.Pins(ctx, heldPin(owner, ""))
	if err != nil {
		return nil, err
	}
	if len(pins) >= maxCopies {
		return nil, jobspec.KindLimit.Errorf("%d DAGs are held for %s, at most %d are", len(pins), owner.Short(), maxCopies)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.copies.fetched[pin]; c != nil && c.root == q.Root {
		return c, nil
	}
	if n := len(s.copies.fetched); n >= copiesInLine {
		return nil, jobspec.KindLimit.Errorf("%d copies are being made here, at most %d at a time", n, copiesInLine)
	}
	if err := s.begun(); err != nil {
		return nil, err
	}
	run, cancel := context.WithCancelCause(s.base)
	c := &copying{root: q.Root, done: make(chan struct{}), cancel: cancel}
	c.lease = time.AfterFunc(copyLease, func() { s.copied(pin, c) })
	s.copies.fetched[pin] = c
	s.work.Go(func() {
		defer close(c.done)
		turn := &turn{of: s.copies.slots}
		if c.err = turn.take(run); c.err != nil {
			return
		}
		defer turn.leave()
		c.err = causeOr(run, s.cfg.IPFS.Pin(run, pin, q.Root))
		if c.err == nil {
			s.log.Info("holds a copy", "for", owner.Short(), "name", q.Name, "cid", q.Root)
		}
	})
	return c, nil
}

// underWay returns a fetch, which goes on for as long as it is asked for.
func (s *Sidecar) underWay(pin string) *copying {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.copies.fetched[pin]
	if c != nil {
		c.lease.Reset(copyLease)
	}
	return c
}

// copied forgets a fetch, and ends it.
func (s *Sidecar) copied(pin string, c *copying) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.lease.Stop()
	c.cancel(errors.New(errCopyGone))
	if s.copies.fetched[pin] == c {
		delete(s.copies.fetched, pin)
	}
}

// audit answers an owner that says all that is to be held for it: which of
// that is, and the rest goes. What came after its words were sent stays.
func (s *Sidecar) audit(ctx context.Context, l bus.Letter, q wire.Audit) (wire.Audited, error) {
	ctx, cancel := context.WithTimeout(ctx, readWork)
	defer cancel()
	var list []wire.Copy
	if err := s.readJSON(ctx, q.List, &list); err != nil {
		return wire.Audited{}, err
	}
	if len(list) > maxCopies {
		return wire.Audited{}, jobspec.KindLimit.Errorf("%d copies are asked for, at most %d are held", len(list), maxCopies)
	}
	pins, err := s.cfg.IPFS.Pins(ctx, heldPin(l.From, ""))
	if err != nil {
		return wire.Audited{}, err
	}
	at := make(map[string]int, len(list))
	for i, c := range list {
		at[heldPin(l.From, c.Name)] = i
	}
	held, made := newBitmap(len(list)), time.UnixMilli(q.At)
	for _, p := range pins {
		switch i, wanted := at[p.Name]; {
		case wanted && p.Root == list[i].Root:
			held.set(i)
		case !p.Created.After(made):
			err = errors.Join(err, s.cfg.IPFS.Unpin(ctx, p.Name))
		}
	}
	return wire.Audited{Bits: held}, errors.Join(err, s.noteAudit(ctx, l.From))
}

// noteAudit writes down, now and then, that an owner has said what it wants.
func (s *Sidecar) noteAudit(ctx context.Context, owner identity.ID) error {
	now := s.now()
	s.mu.Lock()
	s.copies.audited[owner] = now
	due := now.Sub(s.copies.noted[owner]) >= noteAudits
	if due {
		s.copies.noted[owner] = now
	}
	s.mu.Unlock()
	if !due {
		return nil
	}
	return s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		return tx.PutMeta(metaAudited+owner.String(), now.Format(time.RFC3339))
	})
}

// sweepCopies looks after the copies that are held here: an owner that has not
// said for long what it wants is asked to, and what one that is gone for good
// has left is let go at last.
func (s *Sidecar) sweepCopies(ctx context.Context, live map[identity.ID]Peer) error {
	pins, err := s.cfg.IPFS.Pins(ctx, heldPrefix)
	if err != nil {
		return err
	}
	newest := map[identity.ID]time.Time{} // of each owner's copies
	for _, p := range pins {
		owner, _, _ := strings.Cut(strings.TrimPrefix(p.Name, heldPrefix), "/")
		if id := identity.ID(owner); p.Created.After(newest[id]) {
			newest[id] = p.Created
		}
	}
	for owner, last := range newest {
		heard, herr := s.heardOf(ctx, owner)
		if heard.After(last) {
			last = heard
		}
		_, there := live[owner]
		switch {
		case herr != nil:
			err = errors.Join(err, herr)
		case there && s.now().Sub(last) > 2*s.auditEvery():
			_ = s.cfg.Post.Send(ctx, owner, typeUnaudited, wire.Unaudited{}) // again with the next round
		case !there && s.now().Sub(last) > s.cfg.Orphans:
			err = errors.Join(err, s.orphaned(ctx, owner, last))
		}
	}
	return err
}

// heardOf returns when an owner last said what it wants, as far as was noted.
func (s *Sidecar) heardOf(ctx context.Context, owner identity.ID) (last time.Time, err error) {
	s.mu.Lock()
	last, known := s.copies.audited[owner]
	s.mu.Unlock()
	if known {
		return last, nil
	}
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		text, ok, err := tx.Meta(metaAudited + owner.String())
		if err != nil || !ok {
			return err
		}
		last, err = time.Parse(time.RFC3339, text)
		return err
	})
	return last, err
}

// orphaned lets go of all copies of an owner.
func (s *Sidecar) orphaned(ctx context.Context, owner identity.ID, last time.Time) error {
	pins, err := s.cfg.IPFS.Pins(ctx, heldPin(owner, ""))
	s.log.Warn("copies are let go: their owner has not been heard of for long", "owner", owner, "since", last, "count", len(pins))
	for _, p := range pins {
		err = errors.Join(err, s.cfg.IPFS.Unpin(ctx, p.Name))
	}
	if err != nil {
		return fmt.Errorf("let go of copies of %s: %w", owner.Short(), err)
	}
	return nil
}
