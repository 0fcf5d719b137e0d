package bus

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// MaxBody is the size of the largest body, in bytes: MaxMessage less room for
// the rest of an envelope and a chain of two certificates.
const MaxBody = 28 << 10

// Envelope is what a member signs: one message, for one receiver or topic, of
// one domain, for some time. It is sealed as canonical CBOR, and signed as the
// bytes that travel, so that nobody who opens it has to write it again.
type Envelope struct {
	V      int         `cbor:"v"`               // 1
	ID     []byte      `cbor:"id"`              // 16 random bytes: the nonce, and what a reply refers to
	Domain DomainID    `cbor:"domain"`          //
	From   identity.ID `cbor:"from"`            //
	To     identity.ID `cbor:"to,omitempty"`    // "" when Topic is set
	Topic  Topic       `cbor:"topic,omitempty"` // "" when To is set
	Type   Type        `cbor:"type"`            //
	Time   int64       `cbor:"time"`            // when it was sealed, in ms since 1970
	Expiry int64       `cbor:"expiry"`          // until when it holds, in the same way
	Re     []byte      `cbor:"re,omitempty"`    // in a reply: the ID of the request
	Body   []byte      `cbor:"body"`            // CBOR of what Type says; at most MaxBody
}

// Type says what a body is: "bid", "report".
type Type string

// sealed is what travels.
type sealed struct {
	Envelope    []byte `cbor:"e"`
	Signature   []byte `cbor:"s"`
	Certificate []byte `cbor:"c"` // of the sender; its form is the domain's
}

const (
	envelopeVersion = 1
	envelopePurpose = "ipdc/envelope/v1"
	idLen           = 16
	maxCertificate  = 3 << 10
)

// strict reads envelopes: no key twice, nothing of unknown length, nothing
// unknown, nothing deep. Longer ways to write a number or another order of keys
// are taken: the signature is over the bytes.
var strict = decMode(cbor.DecOptions{MaxNestedLevels: 4, MaxArrayElements: 16, MaxMapPairs: 16, TagsMd: cbor.TagsForbidden})

// lenient reads bodies, which may hold lists and CIDs. MaxMessage bounds both.
var lenient = decMode(cbor.DecOptions{MaxNestedLevels: 16, MaxArrayElements: MaxMessage, MaxMapPairs: 4096})

func decMode(o cbor.DecOptions) cbor.DecMode {
	o.DupMapKey = cbor.DupMapKeyEnforcedAPF
	o.IndefLength = cbor.IndefLengthForbidden
	o.ExtraReturnErrors = cbor.ExtraDecErrorUnknownField
	o.FieldNameMatching = cbor.FieldNameMatchingCaseSensitive
	mode, err := o.DecMode()
	if err != nil {
		panic(err) // the options above are constants
	}
	return mode
}

// seal returns e, signed, as a message.
func seal(e Envelope, key identity.Key, certificate []byte) ([]byte, error) {
	if n := len(e.Body); n > MaxBody {
		return nil, fmt.Errorf("%w: a body of type %s has %d, more than %d", ErrSize, e.Type, n, MaxBody)
	}
	if n := len(certificate); n > maxCertificate {
		return nil, fmt.Errorf("%w: the certificate has %d, more than %d", ErrSize, n, maxCertificate)
	}
	b, err := jobspec.EncodeCBOR(e)
	if err != nil {
		return nil, err
	}
	return jobspec.EncodeCBOR(sealed{Envelope: b, Signature: key.Sign(envelopePurpose, b), Certificate: certificate})
}

// unseal reads a message and checks its form only: who made it, for whom and
// when is not known yet, nor is the signature checked.
func unseal(message []byte) (Envelope, sealed, error) {
	var s sealed
	var e Envelope
	if len(message) > MaxMessage {
		return e, s, ErrSize
	}
	if err := strict.Unmarshal(message, &s); err != nil {
		return e, s, err
	}
	if err := strict.Unmarshal(s.Envelope, &e); err != nil {
		return e, s, err
	}
	return e, s, e.check()
}

// check finds what no sealed envelope has.
func (e Envelope) check() error {
	switch {
	case len(e.ID) != idLen, len(e.Re) != 0 && len(e.Re) != idLen:
		return errors.New("an id has 16 bytes")
	case (e.To == "") == (e.Topic == ""):
		return errors.New("it is for one member or for one topic")
	case e.Expiry <= e.Time, e.Time <= 0, e.Expiry-e.Time > MaxLifetime.Milliseconds():
		return fmt.Errorf("it holds for 1 ms to %v", MaxLifetime)
	case len(e.Body) > MaxBody:
		return ErrSize
	}
	return checkType(e.Type)
}

// MaxLifetime is how long a message may hold: how long its id is remembered.
const MaxLifetime = time.Hour

func checkType(t Type) error {
	if len(t) == 0 || len(t) > 32 || strings.Trim(string(t), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("%.40q is no type of a message: 1 to 32 of a-z, 0-9 and -", t)
	}
	return nil
}
