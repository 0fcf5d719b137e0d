package domain

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// Refresh asks a member for the newest secret and, when it is time, a new
// certificate. It reports whether anything is new. Refresh closes s.
func Refresh(ctx context.Context, f Files, peer identity.ID, s io.ReadWriteCloser, now time.Time) (m Membership, changed bool, err error) {
	stop := closeAfter(ctx, s)
	defer stop()
	if m, err = f.Load(); err != nil {
		return m, false, err
	}
	g, err := ask(ctx, s, peer, request{V: enrolVersion, Domain: m.ID(), Certificate: m.rawChain})
	if err != nil {
		return m, false, err
	}
	theirs, err := g.membership(m.record(), now)
	if err != nil {
		return m, false, refuse("ask another member", "the answer of %s does not hold: %v", peer, err)
	}
	m, err = f.update(func(m *Membership) error {
		if m.ID() != theirs.ID() {
			return conflict("see: ipdc domain show", "this node went to another domain meanwhile")
		}
		changed = m.take(peer, theirs, now)
		return nil
	})
	return m, changed && err == nil, err
}

// Ask opens a stream to the door of a member at one of its addresses, gives it
// to talk, and returns the error of either.
type Ask func(ctx context.Context, member identity.ID, addrs []Addr, talk func(io.ReadWriteCloser) error) error

// asksAtOnce is how many doors are asked at a time.
const asksAtOnce = 4

// RefreshAll asks at all doors that are known, as the first to answer may be
// the one that has slept longest, and keeps the newest of all answers. It fails
// when nobody grants anything; refusals come first in that error.
func RefreshAll(ctx context.Context, f Files, at Ask, now func() time.Time) (m Membership, changed bool, err error) {
	if m, err = f.Load(); err != nil {
		return m, false, err
	}
	doors := m.others()
	if len(doors) == 0 {
		return m, false, refuse("where this node is the domain's only one there is nothing to ask for; else ask for an invitation", "no door of another member is known here")
	}
	var mu sync.Mutex
	var failed []error
	var g errgroup.Group
	g.SetLimit(asksAtOnce)
	for id, addrs := range doors {
		g.Go(func() error {
			var news bool
			err := at(ctx, id, addrs, func(s io.ReadWriteCloser) (err error) {
				_, news, err = Refresh(ctx, f, id, s, now())
				return err
			})
			mu.Lock()
			defer mu.Unlock()
			if changed = changed || news; err != nil {
				failed = append(failed, err)
			}
			return nil
		})
	}
	g.Wait() // every error is in failed
	if len(failed) == len(doors) {
		slices.SortStableFunc(failed, func(a, b error) int { return cmp.Compare(rank(a), rank(b)) })
		return m, false, errors.Join(failed...)
	}
	m, err = f.Load()
	return m, changed, err
}

// rank puts what a member has said before what nobody answered.
func rank(err error) int {
	if errors.Is(err, jobspec.KindPNet.Error()) {
		return 0
	}
	return 1
}

// others are the doors of other members, by member.
func (m Membership) others() map[identity.ID][]Addr {
	doors := map[identity.ID][]Addr{}
	for _, d := range m.Doors {
		addr, id := d.Split()
		if _, out := m.List.revoked(id); id != "" && id != m.Node && !out {
			doors[id] = append(doors[id], addr)
		}
	}
	return doors
}

// take takes over what is newer in theirs, which peer has told, and reports
// whether anything was.
func (m *Membership) take(peer identity.ID, theirs Membership, now time.Time) (changed bool) {
	if newer(theirs.List, m.List, theirs.rawList, m.rawList) {
		m.secret, m.List, m.rawList = theirs.secret, theirs.List, theirs.rawList
		changed = true
	}
	if m.prefers(theirs, now) {
		m.Certificate, m.rawChain = theirs.Certificate, theirs.rawChain
		changed = true
	}
	m.Addrs = told(peer, m.Addrs, theirs.Addrs, m.List, maxMembers)
	m.Doors = told(peer, m.Doors, theirs.Doors, m.List, maxDoors)
	return changed
}

// prefers reports whether the certificate of theirs is to take the place of
// m's. It has to hold under the newest list that is known, not only under the
// one of who told it; while m's holds, too, it has to hold longer and allow no
// less.
func (m Membership) prefers(theirs Membership, now time.Time) bool {
	roster, err := m.Roster()
	if err != nil || roster.Check(m.Node, theirs.rawChain, now) != nil {
		return false
	}
	if roster.Check(m.Node, m.rawChain, now) != nil {
		return true
	}
	return theirs.Certificate.NotAfter.After(m.Certificate.NotAfter) && (theirs.Certificate.Role == RoleAdmin || m.Certificate.Role == RoleMember)
}

// maxTold is how many addresses of itself, and as many of others, one answer
// may add.
const maxTold = MaxTokenAddrs

// told are the addresses that are known once peer has told theirs. What it says
// of itself comes first, in place of what was known of it. Ours stay, and those
// of others come after them while there is room: nobody who answers can push
// out all the others. Who was revoked is left out.
func told(peer identity.ID, own, theirs []Addr, l List, limit int) []Addr {
	var self, others []Addr
	for _, a := range theirs {
		if _, id := a.Split(); id == peer && len(self) < maxTold {
			self = append(self, a)
		} else if id != peer && len(others) < maxTold {
			others = append(others, a)
		}
	}
	kept := own
	if len(self) > 0 {
		kept = slices.DeleteFunc(slices.Clone(own), func(a Addr) bool { _, id := a.Split(); return id == peer })
	}
	return unrevoked(joined(self, joined(kept, others, limit), limit), l)
}

// unrevoked are the addresses of those who were not revoked.
func unrevoked(addrs []Addr, l List) []Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a Addr) bool {
		_, id := a.Split()
		_, out := l.revoked(id)
		return out
	})
}
