package domain

import (
	"time"

	"github.com/ipdc/ipdc/identity"
)

// Renew gives a node that has the domain's admin key a new certificate when it
// is time, as there is nobody else of whom it could get one, and reports
// whether it did. Others ask at a door: see [RefreshAll].
func (f Files) Renew(now time.Time) (m Membership, changed bool, err error) {
	if m, err = f.Load(); err != nil || !m.isDue(now) {
		return m, false, err
	}
	unlock, err := f.lock()
	if err != nil {
		return m, false, err
	}
	defer unlock()
	if m, err = f.Load(); err != nil {
		return m, false, err
	}
	return f.renew(m, now)
}

// renew is Renew under the lock.
func (f Files) renew(m Membership, now time.Time) (Membership, bool, error) {
	if !m.isDue(now) {
		return m, false, nil
	}
	admin, err := identity.Load(f.path(m.ID(), adminFile))
	if err != nil {
		return m, false, err
	}
	r := m.record()
	r.Certificate = issuer{key: admin}.issue(m.ID(), m.Node, RoleAdmin, now)
	n, err := r.membership()
	if err != nil {
		return m, false, err
	}
	n.IsAdmin = true
	return n, true, f.write(f.path(m.ID(), ""), membershipFile, seal(n.record()))
}

// isDue reports whether the node is to renew its certificate itself: when less
// than a third is left, or when it was made by a clock that ran ahead.
func (m Membership) isDue(now time.Time) bool {
	c := m.Certificate
	return m.IsAdmin && (c.NotAfter.Sub(now) < Lifetime/3 || now.Before(c.NotBefore.Add(-Skew)))
}
