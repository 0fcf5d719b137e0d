package domain

import (
	"fmt"
	"time"

	"github.com/ipdc/ipdc/identity"
)

// Role is what a certificate allows.
type Role string

// The roles.
const (
	RoleMember Role = "member" // belongs to the domain
	RoleAdmin  Role = "admin"  // may also let members in; may not revoke
)

const (
	// Lifetime is how long a certificate holds. A member renews it by
	// [Refresh] when a third is left.
	Lifetime = 365 * 24 * time.Hour
	// Skew is by how much two members' clocks may differ.
	Skew = 2 * time.Minute
	// MaxCertificate is the size of the largest certificate in bytes, that of
	// its issuer included; a real one has 300 to 650.
	MaxCertificate = 1024

	certPurpose = "ipdc/member/v1"
	certVersion = 1
)

// Certificate says that Subject belongs to Domain. It is signed by the domain's
// admin key, or by a member with RoleAdmin, whose own certificate it carries
// then: a chain has one or two links.
type Certificate struct {
	V         int         `cbor:"v"`
	Domain    ID          `cbor:"domain"`
	Subject   identity.ID `cbor:"subject"`
	Role      Role        `cbor:"role"`
	NotBefore time.Time   `cbor:"not_before"` // whole seconds
	NotAfter  time.Time   `cbor:"not_after"`
	Issuer    identity.ID `cbor:"issuer"`
	Chain     []byte      `cbor:"chain,omitempty"` // the issuer's certificate
}

// issuer signs certificates: the admin key, with no certificate, or a member
// with RoleAdmin.
type issuer struct {
	key  identity.Key
	cert []byte
	till time.Time // NotAfter of cert
}

// issue returns a certificate. It never outlives its issuer's.
func (i issuer) issue(domain ID, subject identity.ID, role Role, now time.Time) []byte {
	now = now.UTC().Truncate(time.Second)
	c := Certificate{
		V: certVersion, Domain: domain, Subject: subject, Role: role,
		NotBefore: now, NotAfter: now.Add(Lifetime), Issuer: i.key.ID(), Chain: i.cert,
	}
	if i.cert != nil && i.till.Before(c.NotAfter) {
		c.NotAfter = i.till
	}
	return sign(i.key, certPurpose, c)
}

// ReadCertificate decodes a certificate and checks that whom it names as its
// issuer has signed it. It says nothing about whether the issuer may: ask a
// [Roster].
func ReadCertificate(b []byte) (Certificate, error) {
	var c Certificate
	if err := openSigned(b, MaxCertificate, certPurpose, &c, func() identity.ID { return c.Issuer }); err != nil {
		return c, fmt.Errorf("certificate: %w", err)
	}
	return c, c.check()
}

func (c Certificate) check() error {
	if c.V != certVersion {
		return fmt.Errorf("certificate: version %d, known is %d", c.V, certVersion)
	}
	if _, err := identity.ParseID(string(c.Subject)); err != nil {
		return fmt.Errorf("certificate: subject: %w", err)
	}
	if c.Role != RoleMember && c.Role != RoleAdmin {
		return fmt.Errorf("certificate: unknown role %.20q", c.Role)
	}
	if life := c.NotAfter.Sub(c.NotBefore); life <= 0 || life > Lifetime {
		return fmt.Errorf("certificate: holds for %s, at most %s are possible", life, Lifetime)
	}
	return nil
}

// chain is a certificate and, unless the admin key issued it, its issuer's.
type chain []Certificate

// readChain decodes a certificate and follows it to the domain's admin key.
func readChain(b []byte, domain ID, admin identity.ID) (chain, error) {
	leaf, err := ReadCertificate(b)
	if err != nil {
		return nil, err
	}
	if leaf.Domain != domain {
		return nil, fmt.Errorf("certificate is of domain %s, this is %s", leaf.Domain, domain)
	}
	if leaf.Issuer == admin {
		if leaf.Chain != nil {
			return nil, fmt.Errorf("certificate by the admin key carries another one")
		}
		return chain{leaf}, nil
	}
	if leaf.Role != RoleMember || leaf.Chain == nil {
		return nil, fmt.Errorf("certificate for the role %s by %s, which is not the domain's admin key", leaf.Role, leaf.Issuer)
	}
	up, err := ReadCertificate(leaf.Chain)
	switch {
	case err != nil:
		return nil, fmt.Errorf("issuer's %w", err)
	case up.Domain != domain, up.Issuer != admin, up.Subject != leaf.Issuer, up.Role != RoleAdmin, up.Chain != nil:
		return nil, fmt.Errorf("certificate by %s, which the domain's admin key has not made an admin", leaf.Issuer)
	}
	return chain{leaf, up}, nil
}

// at reports whether every link holds at a time.
func (ch chain) at(now time.Time) error {
	for _, c := range ch {
		switch {
		case now.Before(c.NotBefore.Add(-Skew)):
			return refuse("set both machines' clocks", "the certificate of %s holds from %s, here it is %s",
				c.Subject, c.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		case !now.Before(c.NotAfter.Add(Skew)):
			return refuse("ask an admin of the domain for a new invitation: ipdc domain invite", "the certificate of %s has ended on %s",
				c.Subject, c.NotAfter.UTC().Format(time.RFC3339))
		}
	}
	return nil
}
