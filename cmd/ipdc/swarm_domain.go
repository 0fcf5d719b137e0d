package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/identity"
)

const (
	typeGeneration  bus.Type     = "generation"
	refreshProtocol bus.Protocol = "refresh/1"

	stampEvery   = time.Second      // between two looks at the domain's file
	unreadAfter  = 3                // so many looks that fail in a row are told of
	tellEvery    = 10 * time.Minute // between two announcements of the same generation
	tellLifetime = time.Hour
	handOver     = 10 * time.Second // that members have to fetch a new secret before this node uses it
	askEvery     = 10 * time.Second // one member is asked
)

// generation announces which list of revoked members its sender has.
type generation struct {
	Generation uint64 `json:"generation"`
}

// follow does what a change of the domain's file asks for, whoever made it: a
// command in another process, or this node.
func (s *swarm) follow(ctx context.Context) error {
	stamp, err := s.doorway.files.Stamp()
	if err != nil {
		return err
	}
	tick := time.NewTicker(stampEvery)
	defer tick.Stop()
	var told time.Time
	for first := true; ; first = false {
		if time.Since(told) > tellEvery || first {
			s.tell(ctx)
			told = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.look:
		}
		now, err := s.doorway.files.Stamp()
		if err == nil && now == stamp && !first {
			s.reads(nil)
			continue
		}
		var m domain.Membership
		if err == nil {
			m, err = s.doorway.files.Load()
		}
		if s.reads(err); err != nil {
			continue // a command may be at work
		}
		stamp = now
		if m.ID() != s.member.ID() {
			s.leaveRecord(ctx)
			return errMoved
		}
		s.take(ctx, m)
	}
}

// reads notes whether the domain's file can be read. One look may fall between
// two steps of a command that enters another domain.
func (s *swarm) reads(err error) {
	was := s.unread.Load().(unread)
	is := unread{why: err}
	if err != nil {
		is.looks = was.looks + 1
	}
	s.unread.Store(is)
	switch {
	case is.looks == unreadAfter:
		s.log.Error("the domain's file cannot be read; the node goes on with what it knows", "err", err)
	case err == nil && was.looks >= unreadAfter:
		s.log.Info("the domain's file can be read again")
	}
}

// unread is why a file cannot be read, in so many looks; nil = it can.
type unread struct {
	why   error
	looks int
}

// degraded says what cannot be read again, or holds no more. The node goes on
// with what it knew, and asks for a new certificate by itself where it can.
func (n *node) degraded() (list []string) {
	if _, err := outletsFile(n.set.outlets()).read(); err != nil {
		list = append(list, "outlets: "+err.Error())
	}
	if _, err := readToken(n.set.ownTokenFile()); err != nil {
		list = append(list, "token: "+err.Error())
	}
	if n.swarm == nil {
		return list
	}
	if u := n.swarm.unread.Load().(unread); u.looks >= unreadAfter {
		list = append(list, "domain: "+u.why.Error())
	}
	if end := n.swarm.membership().Certificate.NotAfter; time.Now().After(end) {
		list = append(list, fmt.Sprintf("certificate: of this node, it expired at %s, and no other member believes it; ask a member for an invitation: ipdc domain join", end.Format(time.RFC3339)))
	}
	return list
}

// take uses what is new in the domain: who is revoked is dropped at once, the
// secret is changed when all that are connected have it, or after a while.
func (s *swarm) take(ctx context.Context, m domain.Membership) {
	theirs, err := m.Roster()
	if err != nil {
		s.log.Error("list of revoked members", "err", err)
		return
	}
	s.mu.Lock()
	old := s.is
	s.is = m
	s.mu.Unlock()
	_, raw := theirs.List()
	changed, err := s.roster.Update(raw)
	if err != nil || !changed {
		return
	}
	moved := m.PSK() != old.PSK()
	if moved {
		s.exchange.hold()
	}
	s.log.Info("the domain has a new secret and list", "generation", m.List.Generation, "revoked", len(m.List.Revoked))
	s.drop()
	s.tell(ctx)
	if moved {
		near := s.near()
		s.handOver(ctx, m.List.Generation)
		s.reopen(ctx, near)
	}
}

// drop ends what revoked members have with this node.
func (s *swarm) drop() {
	if h := s.current(); h != nil {
		h.Recheck()
	}
	if s.broker != nil {
		s.broker.Recheck()
	}
	s.fleet.Keep(func(id identity.ID) bool { _, gone := s.roster.Revoked(id); return !gone })
}

// tell announces this node's generation.
func (s *swarm) tell(ctx context.Context) {
	g := generation{s.membership().List.Generation}
	if err := s.post.Announce(ctx, bus.TopicRoster, typeGeneration, g, tellLifetime); err != nil {
		s.log.Debug("generation not announced", "err", err)
	}
}

// hear notes what another member has, and asks for it when that is newer.
func (s *swarm) hear(ctx context.Context, l bus.Letter, g generation) {
	s.note(l.From, g.Generation)
	s.mu.Lock()
	newer := g.Generation > s.is.List.Generation && s.tries.due("ask "+l.From, askEvery, askEvery)
	s.mu.Unlock()
	if newer {
		s.ask(ctx, l.From)
	}
}

// note takes down what another member has.
func (s *swarm) note(id identity.ID, generation uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.heard) >= maxTried {
		clear(s.heard)
	}
	s.heard[id] = max(s.heard[id], generation)
}

// ask gets the newest list and secret of a member.
func (s *swarm) ask(ctx context.Context, from identity.ID) {
	ctx, cancel := context.WithTimeout(ctx, askEvery)
	defer cancel()
	st, err := s.streams.Stream(ctx, from, refreshProtocol)
	if err == nil {
		_, _, err = domain.Refresh(ctx, s.doorway.files, from, st, time.Now())
	}
	if err != nil {
		s.log.Warn("a newer secret is known to a member, and was not got", "node", from.Short(), "err", err)
		return
	}
	poke(s.look)
}

// answerRefresh gives what is newest to a member that asks.
func (s *swarm) answerRefresh(ctx context.Context, st bus.Stream) {
	has := s.membership().List.Generation
	if err := s.doorway.door.Serve(ctx, st.Peer(), st); err != nil {
		s.log.Info("refresh refused", "node", st.Peer().Short(), "err", err)
		return
	}
	s.note(st.Peer(), has)
}

// handOver waits until every member that is connected has a generation.
func (s *swarm) handOver(ctx context.Context, generation uint64) {
	tick := time.NewTicker(rejoinEvery)
	defer tick.Stop()
	for end := time.Now().Add(handOver); ; {
		select { // also when all have it: an announcement is on its way
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		missing := s.without(generation)
		if len(missing) == 0 {
			return
		}
		if time.Now().After(end) {
			s.log.Warn("members have not fetched the new secret in time; they will ask at a door", "members", missing)
			return
		}
	}
}

func (s *swarm) without(generation uint64) (ids []identity.ID) {
	peers := s.streams.Peers()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range peers {
		if s.heard[p.ID] < generation {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

// near are the members that are connected, with their addresses. Some leave
// the network of the old secret before this node does.
func (s *swarm) near() map[identity.ID][]string {
	all, peers := s.told(), s.streams.Peers()
	maps.DeleteFunc(all, func(id identity.ID, _ []string) bool {
		return !slices.ContainsFunc(peers, func(p bus.Peer) bool { return p.ID == id })
	})
	return all
}

// reopen puts the host under the new secret, with those who were near.
func (s *swarm) reopen(ctx context.Context, near map[identity.ID][]string) {
	book, err := s.closeHost()
	if err != nil {
		s.log.Warn("leave the network of the old secret", "err", err)
	}
	for {
		if err := s.openHost(ctx, book, near); err == nil {
			break
		} else if ctx.Err() == nil {
			s.log.Error("the network of the new secret cannot be opened", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(askEvery):
		}
	}
	s.mu.Lock()
	clear(s.heard)
	clear(s.tries)
	s.mu.Unlock()
	s.fleet.Announce()
	s.tell(ctx)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
