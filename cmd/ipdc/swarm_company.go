package main

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/internal/p2phost"
	"github.com/ipdc/ipdc/jobspec"
)

const (
	companyEvery = 2 * time.Second
	enough       = 8  // members that are connected: the host finds the others by itself, in a minute
	many         = 64 // likewise, for one that is new here: what it has no other may have
	dials        = 8  // at once
	dialTime     = 15 * time.Second
	firstTry     = 4 * time.Second // between two tries, doubled up to lastTry
	lastTry      = 5 * time.Minute
	bookEvery    = time.Minute
	rejoinTime   = 4 * time.Second
	rejoinEvery  = 200 * time.Millisecond
	renewEvery   = 20 * time.Minute
	expectFor    = 12 * time.Second // a member that is new here, to be connected
)

// company keeps this node connected: to members that it was told of by an
// invitation or on the bus, and, when it slept through a change of the secret,
// by asking for that at a door.
func (s *swarm) company(ctx context.Context) error {
	tick := time.NewTicker(companyEvery)
	defer tick.Stop()
	var dialing sync.WaitGroup
	defer dialing.Wait()
	saved := time.Now().Add(-bookEvery)
	for {
		s.connect(ctx, &dialing)
		select {
		case <-ctx.Done():
			return nil
		case <-s.met:
			continue
		case <-tick.C:
		}
		s.renew(ctx)
		if h := s.current(); h != nil && time.Since(saved) >= bookEvery && len(h.Peers()) > 0 {
			saved = time.Now()
			if err := s.writeBook(h.Book()); err != nil {
				s.log.Warn("addresses of members are not saved", "err", err)
			}
		}
	}
}

// meet has a member that was heard for the first time dialled at once.
func (s *swarm) meet(id identity.ID) {
	s.mu.Lock()
	delete(s.tries, "dial "+id)
	s.mu.Unlock()
	poke(s.met)
}

// connect tries those that this node was told of, some at a time. It does not
// wait: one that is away for good is silent for long.
func (s *swarm) connect(ctx context.Context, dialing *sync.WaitGroup) {
	h := s.current()
	if h == nil {
		return
	}
	n, fresh := len(h.Peers()), s.fresh()
	for id, addrs := range s.away(h) {
		if n >= many || n >= enough && !fresh[id] || !s.mayDial(id) {
			continue
		}
		dialing.Go(func() {
			defer s.dialled(id)
			ctx, cancel := context.WithTimeout(ctx, dialTime)
			defer cancel()
			if err := h.Connect(ctx, id, addrs); err != nil {
				s.log.Debug("member not reached", "node", id.Short(), "err", err)
			}
		})
	}
}

// away are the members that this node was told of and that are not connected.
func (s *swarm) away(h *p2phost.Host) map[identity.ID][]string {
	all := s.told()
	for _, p := range h.Peers() {
		delete(all, p.ID)
	}
	return all
}

func (s *swarm) mayDial(id identity.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dialing[id] || len(s.dialing) >= dials || !s.tries.due("dial "+id, firstTry, lastTry) {
		return false
	}
	s.dialing[id] = true
	return true
}

func (s *swarm) dialled(id identity.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.dialing, id)
}

// expects reports whether members that are new to this node, or all of them as
// it is new itself, are not connected yet.
func (s *swarm) expects() bool {
	h := s.current()
	if h == nil {
		return false
	}
	away := s.away(h)
	if (len(away) > 0 || h.Dialling()) && time.Since(h.Since()) < expectFor {
		return true
	}
	fresh := s.fresh()
	for id := range away {
		if fresh[id] {
			return true
		}
	}
	return false
}

// fresh are the members that were heard for the first time just now.
func (s *swarm) fresh() map[identity.ID]bool {
	ids := map[identity.ID]bool{}
	for _, m := range s.fleet.Members() {
		if time.Since(m.Since) < expectFor {
			ids[m.ID] = true
		}
	}
	return ids
}

// rejoin connects to members that change to the same secret at this moment.
func (s *swarm) rejoin(ctx context.Context, h *p2phost.Host, members map[identity.ID][]string) {
	ctx, cancel := context.WithTimeout(ctx, rejoinTime)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(enough)
	for id, addrs := range members {
		g.Go(func() error {
			for ctx.Err() == nil && h.Connect(ctx, id, addrs) != nil {
				select {
				case <-ctx.Done():
				case <-time.After(rejoinEvery):
				}
			}
			return nil
		})
	}
	_ = g.Wait() // never fails
}

// told are the addresses of other members by what an invitation and the bus say.
func (s *swarm) told() map[identity.ID][]string {
	all := map[identity.ID][]string{}
	for _, a := range s.membership().Addrs {
		if addr, id := a.Split(); id != "" {
			all[id] = append(all[id], string(addr))
		}
	}
	for _, m := range s.fleet.Members() {
		if len(m.Addrs) > 0 {
			all[m.ID] = m.Addrs
		}
	}
	delete(all, s.key.ID())
	return all
}

// renew asks at a door for the newest secret and, when it is time, a new
// certificate: at the start and from time to time, as members that were revoked
// can keep a node that was away in the network of the old secret; and when this
// node is alone, knows that it is behind, or has lost a member, which may have
// gone to the network of a new secret.
func (s *swarm) renew(ctx context.Context) {
	h, m := s.current(), s.membership()
	if h == nil || !s.otherDoors(m) || len(h.Peers()) > 0 && !s.behind(m) && !s.lost.Load() && time.Now().Before(s.renewAt) || !s.mayTry("door") {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	lost := s.lost.Swap(false)
	_, changed, err := refresh(ctx, s.doorway.files, s.key)
	switch {
	case err == nil:
		s.renewAt = time.Now().Add(renewEvery/2 + rand.N(renewEvery))
	case errors.Is(err, jobspec.KindPNet.Error()):
		s.log.Error("the domain refuses this node", "err", err)
	default:
		s.lost.CompareAndSwap(false, lost) // asked again
		s.log.Debug("no door answers", "err", err)
	}
	if changed {
		poke(s.look)
	}
}

func (s *swarm) behind(m domain.Membership) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.heard {
		if g > m.List.Generation {
			return true
		}
	}
	return false
}

func (s *swarm) otherDoors(m domain.Membership) bool {
	return slices.ContainsFunc(m.Doors, func(a domain.Addr) bool { _, id := a.Split(); return id != s.key.ID() })
}

func (s *swarm) mayTry(what identity.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries.due(what, firstTry, lastTry)
}

// tries are what is tried again and again, ever more rarely.
type tries map[identity.ID]again

type again struct {
	next  time.Time
	pause time.Duration
}

const maxTried = 4096

// due reports whether it is time to try something, and notes that it is tried.
func (t tries) due(what identity.ID, first, last time.Duration) bool {
	now := time.Now()
	a := t[what]
	if now.Before(a.next) {
		return false
	}
	if now.Sub(a.next) > 2*last {
		a.pause = 0 // long ago
	}
	if len(t) >= maxTried {
		clear(t)
	}
	a.pause = min(max(2*a.pause, first), last)
	a.next = now.Add(a.pause)
	t[what] = a
	return true
}

const bookFile = "p2p.book"

// readBook returns the members that an earlier run knew. A book that is damaged
// is worth no more than none.
func (s *swarm) readBook() []byte {
	b, err := os.ReadFile(filepath.Join(s.set.Path, bookFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("addresses of members", "err", err)
	}
	return b
}

func (s *swarm) writeBook(b []byte) error {
	return durable.WriteFile(filepath.Join(s.set.Path, bookFile), b, 0o600)
}
