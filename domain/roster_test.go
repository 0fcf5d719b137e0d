package domain_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/identity"
)

// lab is a domain whose keys the test has.
type lab struct {
	domain.ID
	admin  identity.Key
	roster *domain.Roster
}

func newLab(t testing.TB, revoked ...domain.Revocation) lab {
	t.Helper()
	l := lab{admin: newKey(t)}
	l.ID = domain.NewID("lab", l.admin.ID())
	var err error
	if l.roster, err = domain.NewRoster(l.ID, l.admin.ID(), l.list(1, now, revoked...)); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l lab) list(generation uint64, issued time.Time, revoked ...domain.Revocation) []byte {
	return domain.SignList(l.admin, domain.List{V: 1, Domain: l.ID, Generation: generation, Secret: make([]byte, 32), Issued: issued, Revoked: revoked})
}

// cert is a certificate that holds, but for what change does to it.
func (l lab) cert(by identity.Key, chain []byte, subject identity.ID, change func(*domain.Certificate)) []byte {
	c := domain.Certificate{Domain: l.ID, Subject: subject, Role: domain.RoleMember, NotBefore: now, NotAfter: now.Add(24 * time.Hour)}
	if change != nil {
		change(&c)
	}
	return domain.Issue(by, chain, c)
}

func admin(c *domain.Certificate) { c.Role = domain.RoleAdmin }

// Each certificate that is wrong in one way is refused; the one that is right
// in that way is let through.
func TestRosterCheck(t *testing.T) {
	l := newLab(t)
	subject, helper, stranger := newKey(t), newKey(t), newKey(t)
	id := subject.ID()
	helperCert := l.cert(l.admin, nil, helper.ID(), admin)
	right := l.cert(l.admin, nil, id, nil)
	for _, tt := range []struct {
		name string
		cert []byte
		at   time.Time
		says string // "" = a member
	}{
		{"by the admin key", right, now, ""},
		{"by an admin", l.cert(helper, helperCert, id, nil), now, ""},
		{"clock two minutes behind", right, now.Add(-domain.Skew), ""},
		{"just before its end", right, now.Add(24*time.Hour + domain.Skew - time.Second), ""},

		{"too early", right, now.Add(-domain.Skew - time.Second), "holds from"},
		{"too late", right, now.Add(24*time.Hour + domain.Skew), "has ended"},
		{"none", nil, now, "0 bytes"},
		{"of somebody else", l.cert(l.admin, nil, helper.ID(), nil), now, "shows the certificate of"},
		{"by itself", l.cert(subject, nil, id, nil), now, "not the domain's admin key"},
		{"by a stranger", l.cert(stranger, nil, id, nil), now, "not the domain's admin key"},
		{"by a member", l.cert(helper, l.cert(l.admin, nil, helper.ID(), nil), id, nil), now, "has not made an admin"},
		{"by an admin of itself", l.cert(stranger, l.cert(stranger, nil, stranger.ID(), admin), id, nil), now, "has not made an admin"},
		{"with the certificate of another admin", l.cert(stranger, helperCert, id, nil), now, "has not made an admin"},
		{"admin by an admin", l.cert(helper, helperCert, id, admin), now, "not the domain's admin key"},
		{"three links", l.cert(stranger, l.cert(helper, helperCert, stranger.ID(), admin), id, nil), now, "has not made an admin"},
		{"issuer's has ended", l.cert(helper, l.cert(l.admin, nil, helper.ID(), func(c *domain.Certificate) { c.Role = domain.RoleAdmin; c.NotAfter = now.Add(time.Minute) }), id, nil), now.Add(time.Hour), "has ended"},
		{"another domain", l.cert(l.admin, nil, id, func(c *domain.Certificate) { c.Domain = domain.NewID("other", l.admin.ID()) }), now, "is of domain"},
		{"issuer's of another domain", l.cert(helper, l.cert(l.admin, nil, helper.ID(), func(c *domain.Certificate) { c.Role = domain.RoleAdmin; c.Domain = domain.NewID("other", l.admin.ID()) }), id, nil), now, "has not made an admin"},
		{"unknown role", l.cert(l.admin, nil, id, func(c *domain.Certificate) { c.Role = "root" }), now, "unknown role"},
		{"for ever", l.cert(l.admin, nil, id, func(c *domain.Certificate) { c.NotAfter = now.Add(domain.Lifetime + time.Second) }), now, "at most"},
		{"ends before it begins", l.cert(l.admin, nil, id, func(c *domain.Certificate) { c.NotAfter = now.Add(-time.Second) }), now, "at most"},
		{"cut", right[:len(right)-1], now, "malformed"},
		{"with a tail", append(bytes.Clone(right), 0), now, "malformed"},
		{"huge", make([]byte, 1<<20), now, "1048576 bytes"},
	} {
		for range 2 { // the second time from what is remembered
			err := l.roster.Check(id, tt.cert, tt.at)
			switch {
			case tt.says == "" && err != nil:
				t.Errorf("%s: Check = %v, want a member", tt.name, err)
			case tt.says != "" && (!isPNet(err) || !says(err, tt.says)):
				t.Errorf("%s: Check = %v, want E_PNET with %q", tt.name, err, tt.says)
			}
		}
	}
	for i := range right {
		bad := bytes.Clone(right)
		bad[i] ^= 1
		if err := l.roster.Check(id, bad, now); err == nil {
			t.Fatalf("with byte %d of %d changed it still holds", i, len(right))
		}
	}
	if n := len(l.cert(helper, helperCert, id, nil)); n > domain.MaxCertificate*3/4 {
		t.Errorf("a chain of two has %d bytes of %d", n, domain.MaxCertificate)
	}
}

// P03: one secret in two domains makes two keys, and neither certificate nor
// list of one is good in the other.
func TestP03SecretSharedByDomains(t *testing.T) {
	_, m := founded(t, "lab")
	other := domain.NewID("other", m.Admin)
	if m.PSKOf(m.ID(), 1) != m.PSK() {
		t.Fatal("control: the key of the same domain and generation differs")
	}
	for what, psk := range map[string]domain.Secret{"name": m.PSKOf(other, 1), "generation": m.PSKOf(m.ID(), 2), "door": m.DoorPSK(), "use": m.KuboPSK()} {
		if psk == m.PSK() {
			t.Errorf("another %s has the same key", what)
		}
	}
	if _, err := domain.NewRoster(other, m.Admin, m.RawList()); err == nil {
		t.Error("the list of one domain holds in the other")
	}
	roster, err := m.Roster()
	if err != nil || roster.Check(m.Node, m.Proof(), now) != nil {
		t.Fatalf("control: %v", err)
	}
}

// P08: a thousand peers that have no certificate of the domain stay outside,
// whatever they show, and nothing is remembered of them.
func TestP08Sybil(t *testing.T) {
	l := newLab(t)
	member, false1 := newKey(t), newKey(t)
	memberCert := l.cert(l.admin, nil, member.ID(), nil)
	for i := range 1000 {
		key := newKey(t)
		var cert []byte
		switch i % 4 {
		case 0: // what the member shows
			cert = memberCert
		case 1: // issued by itself
			cert = l.cert(key, nil, key.ID(), admin)
		case 2: // by an admin of its own making
			cert = l.cert(false1, l.cert(false1, nil, false1.ID(), admin), key.ID(), nil)
		}
		if err := l.roster.Check(key.ID(), cert, now); !isPNet(err) {
			t.Fatalf("peer %d: Check = %v, want E_PNET", i, err)
		}
	}
	if err := l.roster.Check(member.ID(), memberCert, now); err != nil {
		t.Errorf("control: the member: %v", err)
	}
}

func TestRevoked(t *testing.T) {
	l := newLab(t)
	gone, stays, helper := newKey(t), newKey(t), newKey(t)
	helperCert := l.cert(l.admin, nil, helper.ID(), admin)
	byHelper := l.cert(helper, helperCert, gone.ID(), nil)
	certs := map[identity.ID][]byte{gone.ID(): byHelper, stays.ID(): l.cert(l.admin, nil, stays.ID(), nil), helper.ID(): helperCert}
	check := func(want map[identity.ID]string) {
		t.Helper()
		for id, cert := range certs {
			if err := l.roster.Check(id, cert, now); want[id] == "" && err != nil || want[id] != "" && !says(err, want[id]) {
				t.Errorf("Check(%s) = %v, want %q", id, err, want[id])
			}
		}
	}
	check(nil)
	if changed, err := l.roster.Update(l.list(2, now, domain.Revocation{ID: gone.ID(), At: now})); !changed || err != nil {
		t.Fatalf("Update = %v, %v", changed, err)
	}
	check(map[identity.ID]string{gone.ID(): "was revoked on 2026-11-21"})
	// Whom a revoked admin let in goes with it.
	if _, err := l.roster.Update(l.list(3, now, domain.Revocation{ID: helper.ID(), At: now})); err != nil {
		t.Fatal(err)
	}
	check(map[identity.ID]string{gone.ID(): "was let in by it", helper.ID(): "was revoked"})
	// Nobody but the admin key makes a list, and no older one comes back.
	if changed, err := l.roster.Update(l.list(2, now)); changed || err != nil {
		t.Errorf("Update with an older list = %v, %v, want no change", changed, err)
	}
	forged := domain.SignList(helper, domain.List{V: 1, Domain: l.ID, Generation: 9, Secret: make([]byte, 32), Issued: now})
	if changed, err := l.roster.Update(forged); changed || err == nil {
		t.Errorf("Update with a list by a member = %v, %v, want an error", changed, err)
	}
	two := []domain.Revocation{{ID: helper.ID(), At: now}, {ID: helper.ID(), At: now}}
	if changed, err := l.roster.Update(l.list(9, now, two...)); changed || err == nil {
		t.Errorf("Update with an entry twice = %v, %v, want an error", changed, err)
	}
	check(map[identity.ID]string{gone.ID(): "was let in by it", helper.ID(): "was revoked"})
}

// Lists may come in any order and any number of times: all members end with
// the same.
func TestUpdateConverges(t *testing.T) {
	l := newLab(t)
	rapid.Check(t, func(rt *rapid.T) {
		var lists [][]byte
		for i := range rapid.IntRange(1, 6).Draw(rt, "lists") {
			generation := rapid.Uint64Range(1, 4).Draw(rt, "generation")
			issued := now.Add(time.Duration(rapid.IntRange(0, 1).Draw(rt, "issued")) * time.Second)
			lists = append(lists, l.list(generation, issued, domain.Revocation{ID: l.admin.ID(), At: now.Add(time.Duration(i) * time.Second)}))
		}
		start := l.list(1, now)
		var want []byte
		for range 3 {
			r, err := domain.NewRoster(l.ID, l.admin.ID(), start)
			if err != nil {
				rt.Fatal(err)
			}
			order := rapid.Permutation(append(lists, lists...)).Draw(rt, "order")
			for _, list := range order {
				if _, err := r.Update(list); err != nil {
					rt.Fatal(err)
				}
			}
			_, got := r.List()
			if want == nil {
				want = got
			}
			if !bytes.Equal(got, want) {
				rt.Fatalf("two orders end with different lists")
			}
		}
	})
}

// Revoking takes effect as one: list and secret, and again from disk.
func TestRevoke(t *testing.T) {
	a, m := founded(t, "lab")
	b := newNode(t)
	theirs := letIn(t, a, b)
	if _, err := b.Revoke(now, a.key.ID()); !isPNet(err) {
		t.Errorf("revoking without the admin key = %v, want E_PNET", err)
	}
	if _, err := a.Revoke(now, a.key.ID()); !isConflict(err) {
		t.Errorf("revoking oneself = %v, want a conflict", err)
	}
	after, err := a.Revoke(now, b.key.ID())
	if err != nil || after.List.Generation != 2 || after.PSK() == m.PSK() || after.DoorPSK() != m.DoorPSK() {
		t.Fatalf("Revoke = %v, %v, want generation 2 and another key", after, err)
	}
	roster, err := after.Roster()
	if err != nil {
		t.Fatal(err)
	}
	if err := roster.Check(b.key.ID(), theirs.Proof(), now); !says(err, "was revoked") {
		t.Errorf("Check of the revoked = %v", err)
	}
	if err := roster.Check(a.key.ID(), after.Proof(), now); err != nil {
		t.Errorf("control: Check of the other = %v", err)
	}
	// A year later no certificate of its can hold, and it leaves the list.
	later, err := a.Revoke(now.Add(domain.Lifetime+time.Hour), newKey(t).ID())
	if err != nil || len(later.List.Revoked) != 1 {
		t.Errorf("a year later %v, %v, want one entry", later.List.Revoked, err)
	}
}

// A crash while revoking leaves the old generation or the new one, never a
// secret without its list.
func TestCrashWhileRevoking(t *testing.T) {
	for at := 0; ; at++ {
		a, m := founded(t, "lab")
		gone, seen := newKey(t).ID(), 0
		_, err := a.WithSteps(crashAt(at, &seen)).Revoke(now, gone)
		if err == nil {
			if seen < 3 {
				t.Errorf("%d steps, want at least 3", seen)
			}
			break
		}
		got, err := a.Load()
		if err != nil {
			t.Fatalf("crash at step %d: %v", at, err)
		}
		if changed := got.PSK() != m.PSK(); changed != (len(got.List.Revoked) == 1) || changed != (got.List.Generation == 2) {
			t.Fatalf("crash at step %d: changed key %v, %v", at, changed, got.List)
		}
	}
}

func TestManyRevoked(t *testing.T) {
	a, _ := founded(t, "lab")
	ids := make([]identity.ID, domain.MaxRevoked+1)
	for i := range ids {
		ids[i] = newKey(t).ID()
	}
	if _, err := a.Revoke(now, ids...); !isPNet(err) || !says(err, "at most 4096") {
		t.Errorf("Revoke of %d = %v, want E_PNET", len(ids), err)
	}
	if m, err := a.Revoke(now, ids[1:]...); err != nil || len(m.List.Revoked) != domain.MaxRevoked {
		t.Errorf("control: Revoke of %d = %d entries, %v", len(ids)-1, len(m.List.Revoked), err)
	}
}

// No way of printing shows a secret.
func TestNothingPrintsSecrets(t *testing.T) {
	n, m := founded(t, "lab")
	token, err := n.Invite(n.key, domain.InviteOptions{Addrs: []domain.Addr{"/ip4/192.0.2.1/tcp/1"}}, now)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	log := slog.New(slog.NewJSONHandler(&b, nil))
	log.Info("x", "psk", m.PSK(), "m", m, "token", token)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		fmt.Fprintf(&b, verb+verb+verb+"\n", m.PSK(), m, token)
	}
	psk := m.PSK()
	for _, secret := range append(m.Secrets(), psk[:], token.Code()) {
		for _, form := range []string{string(secret), fmt.Sprintf("%x", secret), fmt.Sprint(secret), strings.Trim(fmt.Sprint(secret), "[]")} {
			if strings.Contains(b.String(), form) {
				t.Errorf("a secret is in:\n%s", b.String())
			}
		}
	}
	if strings.Contains(b.String(), token.Text()) {
		t.Errorf("the token is in:\n%s", b.String())
	}
}
