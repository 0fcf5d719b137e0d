package layout

import (
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// pass is the password that a member makes for the embedded broker each time it
// connects: it signs the time, so that no password is stored anywhere. Whoever
// gets to see it, as another broker does, can use it for as long as it holds.
type pass struct {
	Time        int64  `cbor:"t"` // in s since 1970
	Signature   []byte `cbor:"s"` // over the domain and Time
	Certificate []byte `cbor:"c"`
}

const (
	passPurpose = "ipdc/mqtt-pass/v1"
	passHolds   = 5 * time.Minute // either way, for clocks that differ
	passSize    = 8 << 10
)

// NewPass returns a password that holds for some minutes.
func NewPass(d bus.DomainID, key identity.Key, certificate []byte, now time.Time) (string, error) {
	p := pass{Time: now.Unix(), Certificate: certificate}
	p.Signature = key.Sign(passPurpose, p.message(d))
	b, err := jobspec.EncodeCBOR(p)
	return base64.RawURLEncoding.EncodeToString(b), err
}

// CheckPass returns the certificate of id, a member, who has made password now.
func CheckPass(d bus.DomainID, roster bus.Roster, id identity.ID, password []byte, now time.Time) (certificate []byte, err error) {
	if len(password) > passSize {
		return nil, errors.New("the password is too long")
	}
	b, err := base64.RawURLEncoding.DecodeString(string(password))
	var p pass
	if err == nil {
		err = cbor.Unmarshal(b, &p)
	}
	if err != nil {
		return nil, errors.New("the password is none that a member makes")
	}
	if age := now.Sub(time.Unix(p.Time, 0)).Abs(); age > passHolds {
		return nil, fmt.Errorf("the password is off by %v, more than %v; are both clocks right?", age.Round(time.Second), passHolds)
	}
	if err := identity.Verify(id, passPurpose, p.message(d), p.Signature); err != nil {
		return nil, err
	}
	return p.Certificate, roster.Check(id, p.Certificate, now)
}

func (p pass) message(d bus.DomainID) []byte { return fmt.Appendf(nil, "%s\x00%d", d, p.Time) }
