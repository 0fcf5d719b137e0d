// Package domain says who belongs to a private network and how one gets in and
// out. A domain has a name, an admin key that signs who belongs to it, and a
// secret of which the network's pre-shared key is made. Two factors are asked
// of everybody: the secret, and a membership certificate.
//
//	files := domain.Files{Dir: statePath}
//	m, err := files.Born(key.ID(), host, time.Now()) // made now, or as it was
//	psk := m.PSK()                          // for the libp2p host
//	roster, err := m.Roster()               // Check(id, certificate, now)
//	token, err := files.Invite(key, domain.InviteOptions{Addrs: addrs}, time.Now())
//
// A newcomer and a member speak the enrolment protocol over any authenticated
// stream: [Door] at the member, [Join] and [Refresh] at the other end. This
// package knows no network.
//
// Invariants: a domain's id is a hash of its name and its admin key, and enters
// every key, certificate and list, so that nothing made for one domain holds in
// another. A node without its domain's file refuses to start; it never makes up
// a new secret. Codes of invitations are kept as hashes only.
package domain

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// ID names a domain: 26 characters of base32 in lower case, the first 16 bytes
// of SHA-256 over its name and its admin's peer id.
type ID string

const idBytes = 16

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewID returns the id of the domain that has this name and admin key.
func NewID(name Name, admin identity.ID) ID {
	sum := sha256.Sum256([]byte("ipdc/domain/v1\x00" + string(name) + "\x00" + string(admin)))
	return ID(base32Lower.EncodeToString(sum[:idBytes]))
}

// ParseID reads an id.
func ParseID(s string) (ID, error) {
	if b, err := base32Lower.DecodeString(s); err != nil || len(b) != idBytes || base32Lower.EncodeToString(b) != s {
		return "", fmt.Errorf("%.40q is no domain id: that has 26 characters a-z and 2-7", s)
	}
	return ID(s), nil
}

// String returns the id.
func (id ID) String() string { return string(id) }

// refuse is a refusal of this domain, with what to do about it.
func refuse(hint, format string, a ...any) error {
	return jobspec.Failure{Kind: jobspec.KindPNet, Detail: fmt.Sprintf(format, a...), Hint: hint}.Error()
}
