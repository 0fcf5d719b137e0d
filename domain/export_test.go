package domain

import "github.com/ipdc/ipdc/identity"

// WithSteps makes f call step between any two of its steps, as a crash would.
func (f Files) WithSteps(step func(name string) error) Files {
	f.step = step
	return f
}

// Secrets of a membership and an invitation, to look for where they must not be.
func (m Membership) Secrets() [][]byte { return [][]byte{m.secret[:], m.door[:]} }
func (t Token) Code() []byte           { return t.code }

// RawList is the list as it is handed on.
func (m Membership) RawList() []byte { return m.rawList }

// Issue signs a certificate as who has the key and, unless it is the admin key,
// that certificate.
func Issue(key identity.Key, cert []byte, c Certificate) []byte {
	c.V, c.Issuer, c.Chain = certVersion, key.ID(), cert
	return sign(key, certPurpose, c)
}

// SignList signs a list.
func SignList(key identity.Key, l List) []byte { return sign(key, listPurpose, l) }

// Forge is t as somebody with another key, or another domain, would sign it.
func (t Token) Forge(key identity.Key, change func(*Token)) Token {
	change(&t)
	return t.sign(key)
}

// PSKOf derives the key of a secret in some other domain or generation.
func (m Membership) PSKOf(id ID, generation uint64) Secret { return m.secret.psk(id, generation) }

// Bounds of the protocol.
const (
	MaxRequest = maxRequest
	MaxTries   = maxTries
	MaxRevoked = maxRevoked
	MaxDoors   = maxDoors
	AtOnce     = atOnce
)
