package domain

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ipdc/ipdc/identity"
)

// MaxTokenAddrs is how many addresses an invitation can name.
const MaxTokenAddrs = 8

const (
	tokenPrefix  = "ipdc-join-"
	tokenPurpose = "ipdc/invite/v1"
	tokenVersion = 1
	maxTokenText = 4096 // characters; with three addresses it has some 500
	codeBytes    = 16
)

// Token is an invitation: all that a newcomer needs to find one member of a
// domain, to know it again, and to be let in once. Whoever has it first may use
// it, so it is handled like a password.
type Token struct {
	Name   Name
	Admin  identity.ID // of the domain
	Issuer identity.ID // the member that lets in
	Addrs  []Addr      // where the issuer's door listens
	Expiry time.Time
	door   Secret // of the domain
	code   []byte // one-time
	text   string
}

// tokenRecord is what is signed by the issuer. The domain's id is not in it, as
// it follows from name and admin.
type tokenRecord struct {
	_      struct{} `cbor:",toarray"`
	V      int
	Name   string
	Admin  identity.ID
	Issuer identity.ID
	Addrs  []string
	Door   []byte
	Code   []byte
	Expiry time.Time
}

// Domain returns the id of the domain that the token leads to.
func (t Token) Domain() ID { return NewID(t.Name, t.Admin) }

// DoorPSK returns the pre-shared key of the issuer's door.
func (t Token) DoorPSK() Secret { return t.door.doorPSK(t.Domain()) }

// String hides the code and the key; see [Token.Text].
func (t Token) String() string {
	return fmt.Sprintf("invitation to %s by %s until %s", t.Name, t.Issuer, t.Expiry.UTC().Format(time.RFC3339))
}

// Format writes t without its secrets, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// Text returns the token as it is handed on: "ipdc-join-" and base32. It is a
// secret.
func (t Token) Text() string { return t.text }

func (t Token) sign(key identity.Key) Token {
	t.text = tokenPrefix + base32Lower.EncodeToString(sign(key, tokenPurpose, tokenRecord{
		V: tokenVersion, Name: string(t.Name), Admin: t.Admin, Issuer: t.Issuer, Addrs: texts(t.Addrs),
		Door: t.door[:], Code: t.code, Expiry: t.Expiry,
	}))
	return t
}

// ParseToken reads an invitation. Only white space around it is forgiven. Its
// signature by the issuer holds, which also finds what was mistyped; whether
// the issuer may invite is shown by the certificate that it gives.
func ParseToken(s string) (Token, error) {
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, tokenPrefix) {
		return Token{}, fmt.Errorf("%.20q is no invitation: one begins with %s and is made by: ipdc domain invite", s, tokenPrefix)
	}
	if len(s) > maxTokenText {
		return Token{}, fmt.Errorf("invitation has %d characters, at most %d are possible", len(s), maxTokenText)
	}
	b, err := base32Lower.DecodeString(s[len(tokenPrefix):])
	if err != nil || base32Lower.EncodeToString(b) != s[len(tokenPrefix):] {
		return Token{}, fmt.Errorf("invitation is damaged: copy all of its line, once more")
	}
	var r tokenRecord
	if err := openSigned(b, maxTokenText, tokenPurpose, &r, func() identity.ID { return r.Issuer }); err != nil {
		return Token{}, fmt.Errorf("invitation is damaged, copy all of its line once more: it %w", err)
	}
	t, err := r.token()
	if err != nil {
		return Token{}, fmt.Errorf("invitation: %w", err)
	}
	t.text = s
	return t, nil
}

func (r tokenRecord) token() (t Token, err error) {
	if r.V != tokenVersion {
		return t, fmt.Errorf("version %d, this ipdc knows %d: use the same version on both machines", r.V, tokenVersion)
	}
	t = Token{Admin: r.Admin, Issuer: r.Issuer, Expiry: r.Expiry.UTC(), code: r.Code}
	if t.Name, err = ParseName(r.Name); err != nil {
		return t, err
	}
	if _, err = identity.ParseID(string(r.Admin)); err != nil {
		return t, err
	}
	if t.Addrs, err = parseAddrs(r.Addrs, MaxTokenAddrs); err != nil {
		return t, err
	}
	var ok bool
	if t.door, ok = secretFrom(r.Door); !ok || len(r.Code) != codeBytes || len(t.Addrs) == 0 {
		return t, fmt.Errorf("has %d addresses, a key of %d bytes and a code of %d", len(t.Addrs), len(r.Door), len(r.Code))
	}
	return t, nil
}

// codeHash is what is kept of a code.
func codeHash(code []byte) []byte {
	sum := sha256.Sum256(append([]byte("ipdc/code/v1\x00"), code...))
	return sum[:]
}
