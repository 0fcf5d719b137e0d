package domain_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/jobspec"
)

// A newcomer needs the token and nothing else; both ends then have one key, and
// each finds the other to be a member.
func TestJoin(t *testing.T) {
	a, am := founded(t, "lab")
	b := newNode(t)
	if _, err := b.Born(b.key.ID(), "host", now); err != nil {
		t.Fatal(err)
	}
	token, err := domain.ParseToken(" " + invite(t, a, domain.InviteOptions{}).Text() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if token.DoorPSK() != am.DoorPSK() || token.Domain() != am.ID() {
		t.Error("the token leads to another door")
	}
	bm, err := join(t, a, b, token, now)
	if err != nil {
		t.Fatal(err)
	}
	if bm.PSK() != am.PSK() || bm.ID() != am.ID() || bm.IsAdmin || bm.CanInvite() || len(bm.Addrs) != 1 || len(bm.Doors) != 1 {
		t.Errorf("Join = %v, addresses %v, doors %v", bm, bm.Addrs, bm.Doors)
	}
	for _, m := range []domain.Membership{am, bm} {
		roster, err := m.Roster()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(roster.Check(am.Node, am.Proof(), now), roster.Check(bm.Node, bm.Proof(), now)); err != nil {
			t.Errorf("roster of %s: %v", m.Node, err)
		}
	}
	if again, err := b.Born(b.key.ID(), "host", now); err != nil || again.PSK() != am.PSK() {
		t.Errorf("at the next start: %v, %v", again, err)
	}
}

// Z06: only who has an invitation comes in, and each that is wrong in one way
// is refused. The right one works where the wrong one did not.
func TestZ06OnlyByInvitation(t *testing.T) {
	refusal.Produces(t, jobspec.KindPNet)
	a, m := founded(t, "lab")
	stranger, other := newKey(t), newNode(t)
	if _, err := other.Create("lab", other.key.ID(), false, now); err != nil {
		t.Fatal(err)
	}
	used := invite(t, a, domain.InviteOptions{})
	if _, err := join(t, a, newNode(t), used, now); err != nil {
		t.Fatal(err)
	}
	same := func(tok domain.Token) domain.Token { return tok }
	for _, tt := range []struct {
		name  string
		token func(domain.Token) domain.Token
		at    time.Time
		says  string // "" = let in
	}{
		{"right", same, now, ""},
		{"in its last second", same, now.Add(domain.DefaultExpiry), ""},
		{"a second too late", same, now.Add(domain.DefaultExpiry + time.Second), "has ended"},
		{"used by another", func(domain.Token) domain.Token { return used }, now, "was used by"},
		{"made up", func(tok domain.Token) domain.Token {
			return tok.Forge(stranger, func(f *domain.Token) {
				*f = domain.Token{Name: m.Name, Admin: m.Admin, Issuer: a.key.ID(), Addrs: someAddrs}
			})
		}, now, "a code or a certificate"},
		{"of another domain", func(domain.Token) domain.Token { return invite(t, other, domain.InviteOptions{}) }, now, "answers where"},
		{"of another domain, bent to here", func(domain.Token) domain.Token {
			return invite(t, other, domain.InviteOptions{}).Forge(stranger, func(f *domain.Token) { f.Issuer = a.key.ID() })
		}, now, "another domain"},
		{"with the code of another domain", func(domain.Token) domain.Token {
			return invite(t, other, domain.InviteOptions{}).Forge(stranger, func(f *domain.Token) { f.Issuer, f.Name, f.Admin = a.key.ID(), m.Name, m.Admin })
		}, now, "unknown here"},
	} {
		b := newNode(t)
		got, err := join(t, a, b, tt.token(invite(t, a, domain.InviteOptions{})), tt.at)
		switch {
		case tt.says == "" && (err != nil || got.PSK() != m.PSK()):
			t.Errorf("%s: Join = %v, %v, want to be let in", tt.name, got, err)
		case tt.says != "" && (!refusal.Is(t, err, jobspec.KindPNet) || !says(err, tt.says)):
			t.Errorf("%s: Join = %v, %v, want E_PNET with %q", tt.name, got, err, tt.says)
		}
		if tt.says != "" && len(tree(t, b.Dir)) > 1 { // the lock
			t.Errorf("%s: the refused node has files of a domain", tt.name)
		}
	}
}

// A token says on paper what it says inside, and nothing in it can be changed.
func TestToken(t *testing.T) {
	a, m := founded(t, "lab")
	text := invite(t, a, domain.InviteOptions{}).Text()
	if len(text) > 600 {
		t.Errorf("a token has %d characters", len(text))
	}
	for i := range text {
		for _, c := range []byte{'a', '7', 'A', '='} {
			if text[i] == c {
				continue
			}
			bad := []byte(text)
			bad[i] = c
			if tok, err := domain.ParseToken(string(bad)); err == nil {
				t.Fatalf("with character %d changed it still reads: %v", i, tok)
			}
		}
	}
	if _, err := domain.ParseToken(text); err != nil {
		t.Errorf("control: %v", err)
	}
	good, err := domain.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*domain.Token){
		"name":       func(f *domain.Token) { f.Name = "../x" },
		"admin":      func(f *domain.Token) { f.Admin = "me" },
		"issuer":     func(f *domain.Token) { f.Issuer = m.Admin },
		"no address": func(f *domain.Token) { f.Addrs = nil },
		"shell":      func(f *domain.Token) { f.Addrs = []domain.Addr{"$(id)"} },
		"quic":       func(f *domain.Token) { f.Addrs = []domain.Addr{"/ip4/192.0.2.1/udp/1/quic-v1"} },
		"nine":       func(f *domain.Token) { f.Addrs = slices9() },
		"long address": func(f *domain.Token) {
			f.Addrs = []domain.Addr{domain.Addr("/dns4/" + string(make([]byte, 500)) + "/tcp/1")}
		},
	} {
		if tok, err := domain.ParseToken(good.Forge(a.key, change).Text()); err == nil {
			t.Errorf("%s: ParseToken = %v, want an error", name, tok)
		}
	}
	if _, err := domain.ParseToken(good.Forge(a.key, func(f *domain.Token) { f.Name = "fine" }).Text()); err != nil {
		t.Errorf("control: %v", err)
	}
}

func slices9() []domain.Addr {
	list := make([]domain.Addr, 9)
	for i := range list {
		list[i] = someAddrs[0]
	}
	return list
}

// Codes are kept as hashes only.
func TestCodesAreHashed(t *testing.T) {
	a, _ := founded(t, "lab")
	token := invite(t, a, domain.InviteOptions{})
	for file, content := range tree(t, a.Dir) {
		if bytes.Contains([]byte(content), token.Code()) {
			t.Errorf("%s has the code", file)
		}
	}
}

func TestInviteRefused(t *testing.T) {
	a, _ := founded(t, "lab")
	b := newNode(t)
	letIn(t, a, b)
	for name, tt := range map[string]struct {
		n    node
		o    domain.InviteOptions
		says string
	}{
		"a member":     {b, domain.InviteOptions{Addrs: someAddrs}, "may not invite"},
		"nowhere":      {a, domain.InviteOptions{}, "listens nowhere"},
		"a year":       {a, domain.InviteOptions{Addrs: someAddrs, Expires: domain.Lifetime}, "holds for"},
		"a second":     {a, domain.InviteOptions{Addrs: someAddrs, Expires: time.Second}, "holds for"},
		"unknown role": {a, domain.InviteOptions{Addrs: someAddrs, Role: "root"}, "unknown role"},
		"nine":         {a, domain.InviteOptions{Addrs: slices9()}, "9 addresses"},
	} {
		if tok, err := tt.n.Invite(tt.n.key, tt.o, now); !says(err, tt.says) {
			t.Errorf("%s: Invite = %v, %v, want an error with %q", name, tok, err, tt.says)
		}
	}
}

// An admin that was invited lets members in, but no admins, and revokes nobody.
func TestInvitedAdmin(t *testing.T) {
	a, am := founded(t, "lab")
	b, c, d := newNode(t), newNode(t), newNode(t)
	if _, err := join(t, a, b, invite(t, a, domain.InviteOptions{Role: domain.RoleAdmin}), now); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Invite(b.key, domain.InviteOptions{Role: domain.RoleAdmin, Addrs: someAddrs}, now); !isPNet(err) {
		t.Errorf("an admin invites an admin = %v, want E_PNET", err)
	}
	if _, err := b.Revoke(now, a.key.ID()); !isPNet(err) {
		t.Errorf("an admin revokes = %v, want E_PNET", err)
	}
	cm, err := join(t, b, c, invite(t, b, domain.InviteOptions{}), now)
	if err != nil || cm.PSK() != am.PSK() || cm.Certificate.Issuer != b.key.ID() {
		t.Fatalf("let in by an admin = %v, %v", cm, err)
	}
	// Once it is revoked, it lets in nobody whom others would take.
	if _, err := a.Revoke(now, b.key.ID()); err != nil {
		t.Fatal(err)
	}
	if _, err := join(t, b, d, invite(t, b, domain.InviteOptions{}), now); err != nil {
		t.Fatal(err) // it has not heard of it yet
	}
	if _, _, err := refresh(t, a, d, now); !isPNet(err) || !says(err, "was let in by it") {
		t.Errorf("let in by a revoked admin: Refresh = %v, want E_PNET", err)
	}
}

// Whoever dies, and wherever: the same node with the same invitation gets in,
// with the same certificate, and nobody else does.
func TestCrashWhileEnrolling(t *testing.T) {
	for _, side := range []string{"member", "newcomer"} {
		steps := 0
		for at := 0; ; at++ {
			a, am := founded(t, "lab")
			b := newNode(t)
			if _, err := b.Born(b.key.ID(), "host", now); err != nil {
				t.Fatal(err)
			}
			token := invite(t, a, domain.InviteOptions{})
			seen := 0
			fa, fb := a, b
			if side == "member" {
				fa.Files = a.WithSteps(crashAt(at, &seen))
			} else {
				fb.Files = b.WithSteps(crashAt(at, &seen))
			}
			_, err := join(t, fa, fb, token, now)
			if err == nil {
				steps = seen
				break
			}
			if _, err := b.Load(); err != nil {
				t.Fatalf("%s, crash at step %d: the newcomer's files: %v", side, at, err)
			}
			first, err := join(t, a, b, token, now)
			if err != nil || first.PSK() != am.PSK() {
				t.Fatalf("%s, again after a crash at step %d: %v, %v", side, at, first, err)
			}
			second, err := join(t, a, b, token, now)
			if err != nil || !bytes.Equal(first.Proof(), second.Proof()) {
				t.Fatalf("%s, crash at step %d: another certificate for the same code, %v", side, at, err)
			}
			if got, err := join(t, a, newNode(t), token, now); !says(err, "was used by") {
				t.Fatalf("%s, crash at step %d: another node: %v, %v", side, at, got, err)
			}
		}
		if want := map[string]int{"member": 3, "newcomer": 7}[side]; steps < want {
			t.Errorf("%s: %d steps, want at least %d", side, steps, want)
		}
	}
}

// The answer is lost on its way, after any number of bytes.
func TestAnswerLost(t *testing.T) {
	a, _ := founded(t, "lab")
	b := newNode(t)
	token := invite(t, a, domain.InviteOptions{})
	for _, n := range []int64{0, 3, 4, 100, 300} {
		err := talk(t, door(a, now), b.key.ID(), func(s io.ReadWriteCloser) error {
			_, err := domain.Join(t.Context(), b.Files, b.key.ID(), token, a.key.ID(), lossy{s, io.LimitReader(s, n)}, now)
			return err
		})
		if err == nil {
			t.Fatalf("after %d bytes of the answer: no error", n)
		}
	}
	if _, err := join(t, a, b, token, now); err != nil {
		t.Errorf("with the whole answer: %v", err)
	}
}

type lossy struct {
	io.WriteCloser
	io.Reader
}

func (l lossy) Read(b []byte) (int, error) { return l.Reader.Read(b) }
