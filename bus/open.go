package bus

import (
	"errors"
	"fmt"

	"github.com/ipdc/ipdc/identity"
)

// open reads d and checks all that makes an envelope believed, the cheap before
// the costly, and the replay window last, so that only members fill it.
func (p *Post) open(d Delivery) (Envelope, Drop, error) {
	if d.Kept && !d.Topic.Kept() {
		return Envelope{}, DropKept, errors.New("a kept message on a topic that keeps none")
	}
	e, s, err := unseal(d.Payload)
	if err != nil {
		return e, DropForm, err
	}
	if why, err := p.address(e, d); err != nil {
		return e, why, err
	}
	now := p.cfg.Now()
	skew := p.cfg.Skew.Milliseconds()
	switch ms := now.UnixMilli(); {
	case e.Expiry+skew < ms:
		return e, DropStale, fmt.Errorf("expired %d ms ago", ms-e.Expiry)
	case e.Time-skew > ms:
		return e, DropEarly, fmt.Errorf("from %d ms ahead; is this clock right?", e.Time-ms)
	}
	if err := identity.Verify(e.From, envelopePurpose, s.Envelope, s.Signature); err != nil {
		return e, DropSignature, err
	}
	if err := p.cfg.Roster.Check(e.From, s.Certificate, now); err != nil {
		return e, DropCertificate, err
	}
	if !p.seen.take(e, now.UnixMilli(), e.Expiry+skew) {
		return e, DropReplay, errors.New("seen before")
	}
	return e, 0, nil
}

// address checks the way: whose, from whom, for whom.
func (p *Post) address(e Envelope, d Delivery) (Drop, error) {
	switch {
	case e.V != envelopeVersion:
		return DropForm, fmt.Errorf("version %d, want %d", e.V, envelopeVersion)
	case e.Domain != p.cfg.Domain:
		return DropDomain, fmt.Errorf("domain %s", e.Domain)
	case e.From == p.self:
		return DropSelf, errors.New("this node's own")
	case d.From != "" && d.From != e.From:
		return DropFrom, fmt.Errorf("signed as %s, came from %s", e.From, d.From)
	case e.Topic != d.Topic, e.To != "" && e.To != p.self:
		return DropTo, fmt.Errorf("for %s%s", e.To, e.Topic)
	}
	return 0, nil
}
