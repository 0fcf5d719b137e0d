package domain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ipdc/ipdc/identity"
)

// Join asks for entry by an invitation, on a stream to its issuer, and puts
// node into the domain. peer is who is at the other end, as the transport has
// authenticated it. Join closes s. After any failure the same invitation may be
// tried again by the same node, also when it was spent already.
func Join(ctx context.Context, f Files, node identity.ID, t Token, peer identity.ID, s io.ReadWriteCloser, now time.Time) (Membership, error) {
	stop := closeAfter(ctx, s)
	defer stop()
	if peer != t.Issuer {
		return Membership{}, refuse("ask for a new invitation", "%s answers where %s has invited from", peer, t.Issuer)
	}
	if err := f.MayJoin(t); err != nil {
		return Membership{}, err // before the code is spent
	}
	g, err := ask(ctx, s, peer, request{V: enrolVersion, Domain: t.Domain(), Code: t.code})
	if err != nil {
		return Membership{}, err
	}
	m, err := g.membership(membershipRecord{Name: string(t.Name), Admin: t.Admin, Node: node, Door: t.door[:]}, now)
	if err != nil {
		return m, refuse("do not trust this invitation", "%s lets in, but its answer does not hold: %v", peer, err)
	}
	return f.join(peer, m, now)
}

// ask sends a request and returns what was granted.
func ask(ctx context.Context, s io.ReadWriter, peer identity.ID, req request) (grant, error) {
	var ans answer
	err := writeMessage(s, req)
	if err == nil {
		err = readMessage(s, maxAnswer, &ans)
	}
	switch {
	case err != nil:
		return grant{}, fmt.Errorf("ask %s: %w", peer, errors.Join(context.Cause(ctx), err))
	case ans.V != enrolVersion:
		return grant{}, refuse("use the same version of ipdc on both machines", "version %d is spoken there, %d here", ans.V, enrolVersion)
	case ans.Refusal != nil:
		return grant{}, ans.Refusal.error(peer)
	case ans.Grant == nil:
		return grant{}, refuse("", "%s answers nothing", peer)
	}
	return *ans.Grant, nil
}

// membership is what g makes of base, once all of it is checked.
func (g grant) membership(base membershipRecord, now time.Time) (Membership, error) {
	base.V = membershipVersion
	base.Certificate, base.Secret, base.List, base.Addrs, base.Doors = g.Certificate, g.Secret, g.List, g.Addrs, g.Doors
	m, err := base.membership()
	if err != nil {
		return m, err
	}
	roster, err := m.Roster()
	if err != nil {
		return m, err
	}
	return m, roster.Check(m.Node, m.rawChain, now)
}

// MayJoin reports why the node may not go where the invitation leads: it is in
// another domain, which it has to leave first.
func (f Files) MayJoin(t Token) error {
	m, err := f.Load()
	if errors.Is(err, ErrNone) || err == nil && m.ID() == t.Domain() {
		return nil
	}
	if err != nil {
		return err
	}
	return f.mayGo(false)
}

// join puts the node into the domain into which peer let it. When it is there
// already only what is newer is taken, and what peer gave has to hold by what is
// known here, too.
func (f Files) join(peer identity.ID, m Membership, now time.Time) (Membership, error) {
	unlock, err := f.lock()
	if err != nil {
		return m, err
	}
	defer unlock()
	if old, err := f.Load(); err == nil && old.ID() == m.ID() {
		old.take(peer, m, now)
		m = old
		roster, err := m.Roster()
		if err == nil {
			err = roster.Check(m.Node, m.rawChain, now)
		}
		if err != nil {
			return m, err
		}
	}
	tmp, err := f.newDir()
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(tmp)
	if err := f.enter(m, tmp); err != nil {
		return m, err
	}
	return f.Load()
}
