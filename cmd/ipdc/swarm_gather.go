package main

import (
	"context"
	"slices"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/p2phost"
)

const (
	gatherFor   = 5 * time.Second
	gatherEvery = 50 * time.Millisecond
	hearFor     = 10 * time.Second // that a member which is connected may take to be heard
)

// gather waits while members are about to be heard, for some seconds at most,
// and reports whether it did: what is decided without them would be decided
// otherwise a moment later.
func (s *swarm) gather(ctx context.Context) (waited bool) {
	ctx, cancel := context.WithTimeout(ctx, gatherFor)
	defer cancel()
	for s.arriving() {
		waited = true
		select {
		case <-ctx.Done():
			return waited
		case <-time.After(gatherEvery):
		}
	}
	return waited
}

// arriving reports whether members are about to be heard: while the network is
// replaced, while those that are known are dialled by a node that is new, and
// while one that is connected has not told of itself yet, after its connection
// or after a loss.
func (s *swarm) arriving() bool {
	h := s.current()
	if h == nil || s.exchange.replaced() {
		return true
	}
	if time.Since(h.Since()) < gatherFor && (h.Dialling() || s.toDial(h)) {
		return true
	}
	heard := map[identity.ID]bool{}
	for _, m := range s.fleet.Members() {
		heard[m.ID] = true
	}
	parted := time.Since(time.Unix(0, s.parted.Load()))
	return slices.ContainsFunc(h.Peers(), func(p p2phost.Peer) bool {
		return !heard[p.ID] && min(time.Since(p.Since), parted) < hearFor
	})
}

// toDial reports whether some whom this node was told of are being dialled, or
// were not yet.
func (s *swarm) toDial(h *p2phost.Host) bool {
	if len(h.Peers()) >= enough {
		return false
	}
	away := s.away(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range away {
		if _, tried := s.tries["dial "+id]; !tried || s.dialing[id] {
			return true
		}
	}
	return false
}
