package domain_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/jobspec"
)

var someAddrs = []domain.Addr{"/ip4/192.0.2.1/tcp/4001"}

func invite(t testing.TB, n node, o domain.InviteOptions) domain.Token {
	t.Helper()
	o.Addrs = someAddrs
	token, err := n.Invite(n.key, o, now)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// door is a's door at a time.
func door(a node, at time.Time) *domain.Door {
	return domain.NewDoor(domain.DoorConfig{
		Files: a.Files, Key: a.key, Now: func() time.Time { return at },
		Members: func() []domain.Addr { return []domain.Addr{"/ip4/192.0.2.1/tcp/4002"} },
		Doors:   func() []domain.Addr { return []domain.Addr{someAddrs[0].At(a.key.ID())} },
	})
}

// talk joins a client to a door over a pipe and returns the client's error.
func talk(t testing.TB, d *domain.Door, peer identity.ID, client func(io.ReadWriteCloser) error) error {
	t.Helper()
	here, there := net.Pipe()
	var g errgroup.Group
	g.Go(func() error {
		_ = d.Serve(t.Context(), peer, there) // what it refuses shows at the client
		return nil
	})
	err := client(here)
	here.Close()
	if e := g.Wait(); e != nil {
		t.Error(e)
	}
	return err
}

func join(t testing.TB, a, b node, token domain.Token, at time.Time) (m domain.Membership, err error) {
	t.Helper()
	err = talk(t, door(a, at), b.key.ID(), func(s io.ReadWriteCloser) (err error) {
		m, err = domain.Join(t.Context(), b.Files, b.key.ID(), token, a.key.ID(), s, at)
		return err
	})
	return m, err
}

func letIn(t testing.TB, a, b node) domain.Membership {
	t.Helper()
	m, err := join(t, a, b, invite(t, a, domain.InviteOptions{}), now)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func refresh(t testing.TB, a, b node, at time.Time) (m domain.Membership, changed bool, err error) {
	t.Helper()
	err = talk(t, door(a, at), b.key.ID(), func(s io.ReadWriteCloser) (err error) {
		m, changed, err = domain.Refresh(t.Context(), b.Files, a.key.ID(), s, at)
		return err
	})
	return m, changed, err
}

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

// Who is revoked gets nothing at the door; the others get the newest secret.
func TestRefresh(t *testing.T) {
	a, _ := founded(t, "lab")
	b, c := newNode(t), newNode(t)
	letIn(t, a, b)
	letIn(t, a, c)
	if _, changed, err := refresh(t, a, b, now); err != nil || changed {
		t.Errorf("nothing new: %v, %v", changed, err)
	}
	am, err := a.Revoke(now, c.key.ID())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		bm, _, err := refresh(t, a, b, now)
		if err != nil || bm.PSK() != am.PSK() || bm.List.Generation != 2 {
			t.Errorf("Refresh = %v, %v, want the new secret", bm, err)
		}
	}
	if cm, changed, err := refresh(t, a, c, now); !isPNet(err) || changed || cm.PSK() == am.PSK() {
		t.Errorf("Refresh of the revoked = %v, %v, %v, want E_PNET", cm, changed, err)
	}
	if _, err := join(t, a, c, invite(t, a, domain.InviteOptions{}), now); !isPNet(err) || !says(err, "was revoked") {
		t.Errorf("Join of the revoked = %v, want E_PNET", err)
	}
	// Any member hands the newest on, also one that may invite nobody.
	d := newNode(t)
	letIn(t, a, d)
	if _, err := a.Revoke(now, newKey(t).ID()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := refresh(t, a, d, now); err != nil {
		t.Fatal(err)
	}
	if bm, changed, err := refresh(t, d, b, now); err != nil || !changed || bm.List.Generation != 3 {
		t.Errorf("from a member: %v, %v, %v", bm, changed, err)
	}
	// A member that is behind takes nobody back.
	if dm, changed, err := refresh(t, c, d, now); err == nil && (changed || dm.List.Generation != 3) {
		t.Errorf("from one that is behind: %v, %v, %v", dm, changed, err)
	}
}

// A certificate is renewed when a third is left, not before and not too late.
func TestRenew(t *testing.T) {
	for _, tt := range []struct {
		after  time.Duration
		change bool
		ok     bool
	}{{domain.Lifetime / 2, false, true}, {domain.Lifetime * 3 / 4, true, true}, {domain.Lifetime + time.Hour, false, false}} {
		a, _ := founded(t, "lab")
		b := newNode(t)
		before := letIn(t, a, b)
		m, changed, err := refresh(t, a, b, now.Add(tt.after))
		if changed != tt.change || (err == nil) != tt.ok || m.Certificate.NotAfter.After(before.Certificate.NotAfter) != tt.change {
			t.Errorf("after %s: changed %v until %s, %v", tt.after, changed, m.Certificate.NotAfter, err)
		}
	}
}

// A member cannot make up a secret: the admin key has signed its hash.
func TestSecretMadeUp(t *testing.T) {
	a, am := founded(t, "lab")
	b := newNode(t)
	letIn(t, a, b)
	// The member's file with another secret, and the checksum of it.
	file := filepath.Join(a.Dir, "domains", am.ID().String(), "membership")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := bytes.Count(raw, am.Secrets()[0]); got != 1 {
		t.Fatalf("control: the secret stands %d times in its file", got)
	}
	err = talkRaw(t, a, b, func(answer []byte) []byte {
		return bytes.Replace(answer, am.Secrets()[0], make([]byte, 31), 1) // shorter, to be sure
	})
	if err == nil {
		t.Error("a secret of 31 bytes was taken")
	}
	other := domain.NewSecret()
	if err := talkRaw(t, a, b, func(answer []byte) []byte { return bytes.Replace(answer, am.Secrets()[0], other[:], 1) }); !isPNet(err) || !says(err, "not the one that the domain's admin signed") {
		t.Errorf("another secret: %v, want E_PNET", err)
	}
	if err := talkRaw(t, a, b, func(answer []byte) []byte { return answer }); err != nil {
		t.Errorf("control: %v", err)
	}
}

// talkRaw refreshes b at a with an answer that was changed on the way.
func talkRaw(t *testing.T, a, b node, change func([]byte) []byte) error {
	t.Helper()
	var reply []byte
	err := talk(t, door(a, now), b.key.ID(), func(s io.ReadWriteCloser) error {
		_, _, err := domain.Refresh(t.Context(), b.Files, a.key.ID(), recorder{s, &reply}, now)
		return err
	})
	if err != nil {
		return err
	}
	_, _, err = domain.Refresh(t.Context(), b.Files, a.key.ID(), replay{bytes.NewReader(change(reply))}, now)
	return err
}

type recorder struct {
	io.ReadWriteCloser
	got *[]byte
}

func (r recorder) Read(b []byte) (int, error) {
	n, err := r.ReadWriteCloser.Read(b)
	*r.got = append(*r.got, b[:n]...)
	return n, err
}

type replay struct{ io.Reader }

func (replay) Write(b []byte) (int, error) { return len(b), nil }
func (replay) Close() error                { return nil }

// What is no request is answered by nothing at all, and costs no memory.
func TestDoorHostile(t *testing.T) {
	a, _ := founded(t, "lab")
	frame := func(n uint32, body string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, n), body...)
	}
	for name, sent := range map[string][]byte{
		"nothing":     {},
		"half a head": {0, 0},
		"4 GiB":       frame(1<<32-1, ""),
		"one over":    frame(domain.MaxRequest+1, ""),
		"zero":        frame(0, ""),
		"half":        frame(100, "abc"),
		"no CBOR":     frame(3, "abc"),
		"HTTP":        []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
	} {
		s := &fake{in: bytes.NewReader(sent)}
		if err := door(a, now).Serve(t.Context(), newKey(t).ID(), s); err == nil || s.out.Len() > 0 || !s.closed {
			t.Errorf("%s: Serve = %v, wrote %d bytes, closed %v, want an error, nothing and closed", name, err, s.out.Len(), s.closed)
		}
	}
}

type fake struct {
	in     io.Reader
	out    bytes.Buffer
	closed bool
}

func (f *fake) Read(b []byte) (int, error)  { return f.in.Read(b) }
func (f *fake) Write(b []byte) (int, error) { return f.out.Write(b) }
func (f *fake) Close() error                { f.closed = true; return nil }

// A peer that says nothing is left when the context ends.
func TestDoorSilence(t *testing.T) {
	a, _ := founded(t, "lab")
	ctx, cancel := context.WithCancel(t.Context())
	here, there := net.Pipe()
	defer here.Close()
	var g errgroup.Group
	g.Go(func() error { return door(a, now).Serve(ctx, newKey(t).ID(), there) })
	cancel()
	if err := g.Wait(); err == nil {
		t.Error("Serve = nil, want an error")
	}
}

// Wrong codes of one peer are bounded, those of another are not counted there.
func TestTriesAreBounded(t *testing.T) {
	a, m := founded(t, "lab")
	at := now
	d := domain.NewDoor(domain.DoorConfig{Files: a.Files, Key: a.key, Now: func() time.Time { return at }})
	b, c := newNode(t), newNode(t)
	good := invite(t, a, domain.InviteOptions{})
	other, _ := founded(t, "lab")
	wrong := invite(t, other, domain.InviteOptions{}).Forge(newKey(t), func(f *domain.Token) { f.Issuer, f.Name, f.Admin = a.key.ID(), m.Name, m.Admin })
	try := func(n node, token domain.Token) error {
		return talk(t, d, n.key.ID(), func(s io.ReadWriteCloser) error {
			_, err := domain.Join(t.Context(), n.Files, n.key.ID(), token, a.key.ID(), s, at)
			return err
		})
	}
	for i := range domain.MaxTries {
		if err := try(b, wrong); !isPNet(err) {
			t.Fatalf("try %d = %v, want E_PNET", i, err)
		}
	}
	if err := try(b, good); !errors.Is(err, jobspec.KindLimit.Error()) {
		t.Errorf("after %d wrong ones = %v, want E_LIMIT", domain.MaxTries, err)
	}
	if err := try(c, wrong); !isPNet(err) {
		t.Errorf("another peer = %v, want E_PNET", err)
	}
	at = at.Add(10 * time.Minute)
	if err := try(b, good); err != nil {
		t.Errorf("ten minutes later = %v", err)
	}
}
