package domain

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/ipdc/ipdc/identity"
)

// maxKnown bounds the certificates whose signatures are remembered. Only the
// domain's issuers can make one that is.
const maxKnown = 4096

// Roster answers who belongs to a domain now. Its methods may be called from
// any goroutine.
type Roster struct {
	domain ID
	admin  identity.ID

	mu    sync.RWMutex
	list  List
	raw   []byte                      // of list
	known map[[sha256.Size]byte]chain // by hash of the certificate
}

// NewRoster returns the roster of a domain by its newest list.
func NewRoster(domain ID, admin identity.ID, list []byte) (*Roster, error) {
	l, err := readList(list, domain, admin)
	if err != nil {
		return nil, err
	}
	return &Roster{domain: domain, admin: admin, list: l, raw: list, known: map[[sha256.Size]byte]chain{}}, nil
}

// Check reports why id, which shows cert, does not belong to the domain at now:
// the certificate is of another domain or node, of nobody who may issue it, not
// yet or no more valid, or id or its issuer was revoked. The error's kind is
// E_PNET. Signatures are checked once for each certificate.
func (r *Roster) Check(id identity.ID, cert []byte, now time.Time) error {
	ch, err := r.chain(cert)
	if err != nil {
		return refuse("let it in first: ipdc domain invite", "%s is no member: %v", id, err)
	}
	if ch[0].Subject != id {
		return refuse("", "%s shows the certificate of %s", id, ch[0].Subject)
	}
	if err := ch.at(now); err != nil {
		return err
	}
	for _, c := range ch {
		if at, ok := r.Revoked(c.Subject); ok {
			return refuse("ask the domain's admin; it can come back with a new identity and a new invitation",
				"%s was revoked on %s%s", c.Subject, at.UTC().Format(time.RFC3339), letIn(c.Subject, id))
		}
	}
	return nil
}

func letIn(revoked, id identity.ID) string {
	if revoked == id {
		return ""
	}
	return ", and " + string(id) + " was let in by it"
}

func (r *Roster) chain(cert []byte) (chain, error) {
	if len(cert) > MaxCertificate {
		return readChain(cert, r.domain, r.admin) // refuses it for its size
	}
	sum := sha256.Sum256(cert)
	r.mu.RLock()
	ch, ok := r.known[sum]
	r.mu.RUnlock()
	if ok {
		return ch, nil
	}
	ch, err := readChain(cert, r.domain, r.admin)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= maxKnown {
		clear(r.known)
	}
	r.known[sum] = ch
	return ch, nil
}

// Revoked returns when id was revoked.
func (r *Roster) Revoked(id identity.ID) (at time.Time, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.list.revoked(id)
}

// Update takes a list over when it is newer, and reports whether it was. Older
// ones and the same again change nothing, in any order.
func (r *Roster) Update(list []byte) (changed bool, err error) {
	l, err := readList(list, r.domain, r.admin)
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !newer(l, r.list, list, r.raw) {
		return false, nil
	}
	r.list, r.raw = l, list
	return true, nil
}

// List returns the list that holds now, decoded and as it is handed on.
func (r *Roster) List() (List, []byte) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.list, r.raw
}
