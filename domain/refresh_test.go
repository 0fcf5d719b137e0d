package domain_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/identity"
)

// after is a time within the life of a certificate that was made now.
func after(part float64) time.Time { return now.Add(time.Duration(part * float64(domain.Lifetime))) }

// letInAt lets b in at a time.
func letInAt(t *testing.T, a, b node, role domain.Role, at time.Time) domain.Membership {
	t.Helper()
	token, err := a.Invite(a.key, domain.InviteOptions{Role: role, Addrs: someAddrs}, at)
	if err != nil {
		t.Fatal(err)
	}
	m, err := join(t, a, b, token, at)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What a revoked admin issues replaces no certificate that everybody takes,
// whether it comes as a renewal or by an invitation.
func TestCertificateHoldsUnderNewestList(t *testing.T) {
	for _, revoked := range []bool{false, true} {
		a, _ := founded(t, "lab")
		b, d := newNode(t), newNode(t)
		before := letInAt(t, a, b, domain.RoleMember, now)
		letInAt(t, a, d, domain.RoleAdmin, after(0.5))
		if revoked {
			if _, err := a.Revoke(after(0.5), d.key.ID()); err != nil {
				t.Fatal(err)
			}
			if _, _, err := refresh(t, a, b, after(0.6)); err != nil {
				t.Fatal(err)
			}
		}
		m, _, err := refresh(t, d, b, after(0.75)) // d has not heard of it
		if err != nil {
			t.Fatal(err)
		}
		if renewed := m.Certificate.NotAfter.After(before.Certificate.NotAfter); renewed == revoked {
			t.Errorf("admin revoked: %v; its renewal was taken: %v", revoked, renewed)
		}
		token, err := d.Invite(d.key, domain.InviteOptions{Addrs: someAddrs}, after(0.8))
		if err != nil {
			t.Fatal(err)
		}
		if m, err = join(t, d, b, token, after(0.8)); err != nil {
			t.Fatal(err)
		}
		roster, err := m.Roster()
		if err != nil {
			t.Fatal(err)
		}
		if err := roster.Check(b.key.ID(), m.Proof(), after(0.8)); err != nil {
			t.Errorf("admin revoked: %v; what the member has now: %v", revoked, err)
		}
		if !revoked {
			continue
		}
		// Its own has ended by now, and what it gets does not hold.
		if token, err = d.Invite(d.key, domain.InviteOptions{Addrs: someAddrs}, after(1.1)); err != nil {
			t.Fatal(err)
		}
		if m, err := join(t, d, b, token, after(1.1)); !isPNet(err) {
			t.Errorf("let in by a revoked admin that is known to be: %v, %v, want E_PNET", m, err)
		}
	}
}

// An invited admin does not become a mere member because another one renews it.
func TestRoleIsKept(t *testing.T) {
	a, _ := founded(t, "lab")
	b, d := newNode(t), newNode(t)
	letInAt(t, a, b, domain.RoleAdmin, now)
	letInAt(t, a, d, domain.RoleAdmin, after(0.5))
	token, err := d.Invite(d.key, domain.InviteOptions{Addrs: someAddrs}, after(0.6))
	if err != nil {
		t.Fatal(err)
	}
	if m, err := join(t, d, b, token, after(0.6)); err != nil || m.Certificate.Role != domain.RoleAdmin {
		t.Errorf("as a member by another admin: role %s, %v", m.Certificate.Role, err)
	}
	// The control: who is a member becomes an admin by an invitation.
	c := newNode(t)
	letInAt(t, a, c, domain.RoleMember, now)
	if m := letInAt(t, a, c, domain.RoleAdmin, now.Add(time.Minute)); m.Certificate.Role != domain.RoleAdmin {
		t.Errorf("as an admin by the domain's: role %s", m.Certificate.Role)
	}
}

// One member's answer pushes out no door that is known, however many it names.
func TestDoorsAreNotPushedOut(t *testing.T) {
	a, _ := founded(t, "lab")
	b, c := newNode(t), newNode(t)
	letIn(t, a, b)
	letIn(t, a, c)
	mine := domain.Addr("/ip4/192.0.2.3/tcp/4001").At(c.key.ID())
	evil := []domain.Addr{mine}
	for i := range domain.MaxDoors - 1 {
		evil = append(evil, domain.Addr(fmt.Sprintf("/ip4/198.51.100.%d/tcp/1", i+1)).At(newKey(t).ID()))
	}
	d := domain.NewDoor(domain.DoorConfig{Files: c.Files, Key: c.key, Now: func() time.Time { return now }, Doors: func() []domain.Addr { return evil }})
	var m domain.Membership
	for range 20 {
		err := talk(t, d, b.key.ID(), func(s io.ReadWriteCloser) (err error) {
			m, _, err = domain.Refresh(t.Context(), b.Files, c.key.ID(), s, now)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Contains(m.Doors, someAddrs[0].At(a.key.ID())) {
		t.Errorf("the door of the domain's admin was pushed out: %v", m.Doors)
	}
	if len(m.Doors) > 2+domain.MaxTokenAddrs {
		t.Errorf("one member has named %d doors", len(m.Doors))
	}
	if !slices.Contains(m.Doors, mine) {
		t.Errorf("what a member says of itself is not kept: %v", m.Doors) // the control
	}
	// It moves, and is gone once it is revoked.
	evil = []domain.Addr{domain.Addr("/ip4/192.0.2.4/tcp/4001").At(c.key.ID())}
	err := talk(t, d, b.key.ID(), func(s io.ReadWriteCloser) (err error) {
		m, _, err = domain.Refresh(t.Context(), b.Files, c.key.ID(), s, now)
		return err
	})
	if err != nil || slices.Contains(m.Doors, mine) || !slices.Contains(m.Doors, evil[0]) {
		t.Errorf("after it has moved: %v, %v", m.Doors, err)
	}
	if _, err := a.Revoke(now, c.key.ID()); err != nil {
		t.Fatal(err)
	}
	if m, _, err = refresh(t, a, b, now); err != nil || slices.Contains(m.Doors, evil[0]) {
		t.Errorf("after it was revoked: %v, %v", m.Doors, err)
	}
}

// The newest of all answers counts, not the first; who cannot be reached or has
// gone wrong stops nobody.
func TestRefreshAll(t *testing.T) {
	a, _ := founded(t, "lab")
	b, behind, broken := newNode(t), newNode(t), newNode(t)
	for _, n := range []node{b, behind, broken} {
		letInAt(t, a, n, domain.RoleMember, now)
	}
	nodes := map[identity.ID]node{a.key.ID(): a, behind.key.ID(): behind}
	for _, n := range []node{behind, broken} { // b knows all their doors
		d := domain.NewDoor(domain.DoorConfig{Files: n.Files, Key: n.key, Now: func() time.Time { return now },
			Doors: func() []domain.Addr { return []domain.Addr{someAddrs[0].At(n.key.ID())} }})
		err := talk(t, d, b.key.ID(), func(s io.ReadWriteCloser) error {
			_, _, err := domain.Refresh(t.Context(), b.Files, n.key.ID(), s, now)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	asked := make(chan identity.ID, 10)
	ask := func(_ context.Context, id identity.ID, _ []domain.Addr, client func(io.ReadWriteCloser) error) error {
		asked <- id
		n, ok := nodes[id]
		if !ok {
			return errors.New("nobody there")
		}
		return talk(t, door(n, now), b.key.ID(), client)
	}
	at := func() time.Time { return now }
	am, err := a.Revoke(now, newKey(t).ID())
	if err != nil {
		t.Fatal(err)
	}
	m, changed, err := domain.RefreshAll(t.Context(), b.Files, ask, at)
	if err != nil || !changed || m.PSK() != am.PSK() || len(asked) != 3 {
		t.Errorf("RefreshAll = %v, %v, %v after %d doors, want the newest of 3", m, changed, err, len(asked))
	}
	if _, err := a.Revoke(now, b.key.ID()); err != nil {
		t.Fatal(err)
	}
	delete(nodes, behind.key.ID())
	if _, _, err := domain.RefreshAll(t.Context(), b.Files, ask, at); !isPNet(err) || !says(err, "was revoked") || !says(err, "nobody there") {
		t.Errorf("RefreshAll of a revoked node = %v, want E_PNET and who was not reached", err)
	}
	if _, _, err := domain.RefreshAll(t.Context(), a.Files, ask, at); !isPNet(err) || !says(err, "no door") {
		t.Errorf("RefreshAll of a lone node = %v, want E_PNET", err)
	}
}

// Who founded a domain renews its own certificate, as there is nobody to ask.
func TestFounderRenewsItself(t *testing.T) {
	for _, tt := range []struct {
		at     time.Time
		change bool
	}{{after(0.5), false}, {after(0.7), true}, {after(3), true}, {now.Add(-time.Hour), true}} {
		for name, renew := range map[string]func(n node) (domain.Membership, error){
			"at its start": func(n node) (domain.Membership, error) { return n.Born(n.key.ID(), "host", tt.at) },
			"while it runs": func(n node) (domain.Membership, error) {
				m, changed, err := n.Renew(tt.at)
				if err == nil && changed != tt.change {
					err = fmt.Errorf("changed %v", changed)
				}
				return m, err
			},
		} {
			n, before := founded(t, "lab")
			if _, err := renew(n); err != nil {
				t.Fatal(err)
			}
			m, err := n.Load()
			if err != nil || m.PSK() != before.PSK() || !m.IsAdmin || m.Certificate.Role != domain.RoleAdmin {
				t.Fatalf("%s %s: %v, %v", tt.at, name, m, err)
			}
			if changed := !m.Certificate.NotAfter.Equal(before.Certificate.NotAfter); changed != tt.change {
				t.Errorf("%s %s: new certificate %v, want %v", tt.at, name, changed, tt.change)
			}
			roster, err := m.Roster()
			if err != nil {
				t.Fatal(err)
			}
			if err := roster.Check(m.Node, m.Proof(), tt.at); err != nil {
				t.Errorf("%s %s: %v", tt.at, name, err)
			}
		}
	}
	// Who was let in cannot: only a door renews it.
	a, _ := founded(t, "lab")
	b := newNode(t)
	letInAt(t, a, b, domain.RoleAdmin, now)
	if m, changed, err := b.Renew(after(0.9)); err != nil || changed {
		t.Errorf("an invited admin renews itself: %v, %v, %v", m, changed, err)
	}
}
