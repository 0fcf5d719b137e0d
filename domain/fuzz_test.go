package domain_test

import (
	"testing"

	"github.com/ipdc/ipdc/domain"
)

// What is read as a token has that text and no other, and leads to addresses
// that are addresses.
func FuzzParseToken(f *testing.F) {
	a, _ := founded(f, "lab")
	f.Add(invite(f, a, domain.InviteOptions{}).Text())
	f.Add("ipdc-join-")
	f.Add("ipdc-join-aaaa")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := domain.ParseToken(s)
		if err != nil {
			return
		}
		again, err := domain.ParseToken(tok.Text())
		if err != nil || again.Text() != tok.Text() || again.Domain() != tok.Domain() {
			t.Fatalf("ParseToken(%q) = %v, again %v, %v", s, tok, again, err)
		}
		for _, addr := range tok.Addrs {
			if _, err := domain.ParseAddr(string(addr)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// No bytes but those that an issuer has signed make a member.
func FuzzCheck(f *testing.F) {
	l := newLab(f)
	subject, helper := newKey(f), newKey(f)
	right := l.cert(l.admin, nil, subject.ID(), nil)
	longer := l.cert(helper, l.cert(l.admin, nil, helper.ID(), admin), subject.ID(), nil)
	f.Add(right)
	f.Add(longer)
	f.Add(right[:60])
	f.Fuzz(func(t *testing.T, cert []byte) {
		err := l.roster.Check(subject.ID(), cert, now)
		if ours := string(cert) == string(right) || string(cert) == string(longer); ours != (err == nil) {
			t.Fatalf("Check of %x = %v", cert, err)
		}
	})
}

// A list that is taken is one that the admin signed.
func FuzzUpdate(f *testing.F) {
	l := newLab(f)
	list := l.list(2, now, domain.Revocation{ID: newKey(f).ID(), At: now})
	f.Add(list)
	f.Add(list[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		if changed, err := l.roster.Update(b); changed && string(b) != string(list) {
			t.Fatalf("Update of %x = %v, %v", b, changed, err)
		}
	})
}

// A domain of 2018 is a domain or an error.
func FuzzParseLegacy(f *testing.F) {
	f.Add([]byte(legacyConf))
	f.Add([]byte("DOMAIN_NAME=$(id)"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := domain.ParseLegacy(b)
		if err == nil && !canonical(l.Domain) {
			t.Fatalf("ParseLegacy(%q) = %q", b, l.Domain)
		}
		_ = l.Note()
	})
}
