package bus

import (
	"errors"
	"fmt"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
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
	if why, err := p.cfg.address(e, d, p.self); err != nil {
		return e, why, err
	}
	now := p.cfg.Now()
	if why, err := p.cfg.believe(e, s, now); err != nil {
		if why == DropStale || why == DropEarly {
			p.suspect(e, s, now)
		}
		return e, why, err
	}
	if !p.seen.take(e, now.UnixMilli(), e.Expiry+p.cfg.Skew.Milliseconds()) {
		return e, DropReplay, errors.New("seen before")
	}
	return e, 0, nil
}

// Vouch returns nil for an announcement that members would believe now, but
// for replays, which the medium knows best. It is for a medium whose members
// pass announcements on: without it one of them could send all others what
// anybody made up.
func (c Config) Vouch(d Delivery) error {
	c = c.withDefaults()
	e, s, err := unseal(d.Payload)
	if err == nil {
		_, err = c.address(e, d, "")
	}
	if err == nil {
		_, err = c.believe(e, s, c.Now())
	}
	return err
}

// believe checks when e was sealed and by whom.
func (c Config) believe(e Envelope, s sealed, now time.Time) (Drop, error) {
	skew := c.Skew.Milliseconds()
	switch ms := now.UnixMilli(); {
	case e.Expiry+skew < ms:
		return DropStale, jobspec.KindClock.Errorf("expired %d ms ago", ms-e.Expiry)
	case e.Time-skew > ms:
		return DropEarly, jobspec.KindClock.Errorf("from %d ms ahead; is this clock right?", e.Time-ms)
	}
	return c.prove(e, s, now)
}

// prove checks that a member sealed e.
func (c Config) prove(e Envelope, s sealed, now time.Time) (Drop, error) {
	if err := identity.Verify(e.From, envelopePurpose, s.Envelope, s.Signature); err != nil {
		return DropSignature, err
	}
	if err := c.Roster.Check(e.From, s.Certificate, now); err != nil {
		return DropCertificate, err
	}
	return 0, nil
}

// address checks the way: whose, from whom, for whom. self is "" when it is for
// all only.
func (c Config) address(e Envelope, d Delivery, self identity.ID) (Drop, error) {
	switch {
	case e.V != envelopeVersion:
		return DropForm, fmt.Errorf("version %d, want %d", e.V, envelopeVersion)
	case e.Domain != c.Domain:
		return DropDomain, fmt.Errorf("domain %s", e.Domain)
	case e.From == self:
		return DropSelf, errors.New("this node's own")
	case d.From != "" && d.From != e.From:
		return DropFrom, fmt.Errorf("signed as %s, came from %s", e.From, d.From)
	case e.Topic != d.Topic, e.To != "" && e.To != self:
		return DropTo, fmt.Errorf("for %s%s", e.To, e.Topic)
	}
	return 0, nil
}
