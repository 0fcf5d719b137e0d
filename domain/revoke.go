package domain

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/ipdc/ipdc/identity"
)

const (
	listPurpose = "ipdc/revoked/v1"
	listVersion = 1
	// maxRevoked bounds a list: 4,096 nodes that left within a year.
	maxRevoked = 4096
	// maxList is the size of the largest list in bytes.
	maxList = 512 << 10
)

// List is what an admin says about one generation of a domain: the hash of its
// secret and who was revoked. It is signed by the domain's admin key, so that
// any member may hand list and secret on, and none can make them up.
type List struct {
	V          int          `cbor:"v"`
	Domain     ID           `cbor:"domain"`
	Generation uint64       `cbor:"generation"` // from 1
	Secret     []byte       `cbor:"secret"`     // hash of the generation's secret
	Issued     time.Time    `cbor:"issued"`     // whole seconds
	Revoked    []Revocation `cbor:"revoked"`    // by id, each once
}

// Revocation is a node that belongs no more. It stays on the list until every
// certificate that it can have has ended.
type Revocation struct {
	ID identity.ID `cbor:"id"`
	At time.Time   `cbor:"at"`
}

// readList decodes a list of this domain.
func readList(b []byte, domain ID, admin identity.ID) (List, error) {
	var l List
	if err := openSigned(b, maxList, listPurpose, &l, func() identity.ID { return admin }); err != nil {
		return l, fmt.Errorf("list of revoked members: %w", err)
	}
	return l, l.check(domain)
}

func (l List) check(domain ID) error {
	switch {
	case l.V != listVersion:
		return fmt.Errorf("list of revoked members: version %d, known is %d", l.V, listVersion)
	case l.Domain != domain:
		return fmt.Errorf("list of revoked members is of domain %s, this is %s", l.Domain, domain)
	case l.Generation == 0 || len(l.Secret) != sha256.Size || len(l.Revoked) > maxRevoked:
		return fmt.Errorf("list of revoked members: generation %d, %d bytes of hash, %d entries", l.Generation, len(l.Secret), len(l.Revoked))
	}
	for i, r := range l.Revoked {
		if _, err := identity.ParseID(string(r.ID)); err != nil {
			return fmt.Errorf("list of revoked members: %w", err)
		}
		if i > 0 && l.Revoked[i-1].ID >= r.ID {
			return fmt.Errorf("list of revoked members is not sorted")
		}
	}
	return nil
}

// next is the list of the generation after l, with some more revoked and those
// left out whose certificates must have ended.
func (l List) next(secret Secret, now time.Time, ids ...identity.ID) (List, error) {
	now = now.UTC().Truncate(time.Second)
	n := List{V: listVersion, Domain: l.Domain, Generation: l.Generation + 1, Secret: secret.hash(), Issued: now, Revoked: []Revocation{}}
	for _, r := range l.Revoked {
		if now.Before(r.At.Add(Lifetime+Skew)) && !slices.Contains(ids, r.ID) {
			n.Revoked = append(n.Revoked, Revocation{r.ID, r.At.UTC()})
		}
	}
	for _, id := range ids {
		n.Revoked = append(n.Revoked, Revocation{id, now})
	}
	slices.SortFunc(n.Revoked, func(a, b Revocation) int { return cmp.Compare(a.ID, b.ID) })
	n.Revoked = slices.CompactFunc(n.Revoked, func(a, b Revocation) bool { return a.ID == b.ID })
	if len(n.Revoked) > maxRevoked {
		return n, refuse("create a new domain and invite who is to stay", "%d revoked members are on the list, at most %d fit", len(n.Revoked), maxRevoked)
	}
	return n, nil
}

// revoked returns when id was revoked.
func (l List) revoked(id identity.ID) (time.Time, bool) {
	i, found := slices.BinarySearchFunc(l.Revoked, id, func(r Revocation, id identity.ID) int { return cmp.Compare(r.ID, id) })
	if !found {
		return time.Time{}, false
	}
	return l.Revoked[i].At, true
}

// newer orders lists of one domain. An admin makes one list per generation;
// two of one generation come from a restored backup, and all members have to
// choose the same.
func newer(a, b List, rawA, rawB []byte) bool {
	return cmp.Or(cmp.Compare(a.Generation, b.Generation), a.Issued.Compare(b.Issued), bytes.Compare(rawA, rawB)) > 0
}

// Revoke takes nodes out of the domain: their certificates hold no more, and
// the domain gets a new secret, both in one step. Only where the domain's admin
// key is.
func (f Files) Revoke(now time.Time, ids ...identity.ID) (Membership, error) {
	return f.update(func(m *Membership) error {
		if !m.IsAdmin {
			return refuse("run it on the node on which the domain was created", "revoking takes the admin key of domain %s, which is not on this node", m.Name)
		}
		if slices.Contains(ids, m.Node) {
			return conflict("to go away from it: ipdc domain leave", "%s is this node itself", m.Node)
		}
		admin, err := identity.Load(f.path(m.ID(), adminFile))
		if err != nil {
			return err
		}
		secret := NewSecret()
		list, err := m.List.next(secret, now, ids...)
		if err != nil {
			return err
		}
		m.secret, m.rawList = secret, sign(admin, listPurpose, list)
		return nil
	})
}
