package domain

import (
	"bytes"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/ipdc/ipdc/identity"
)

// What is signed has one encoding only: CBOR's core deterministic form
// (RFC 8949, section 4.2.1), times as whole seconds.
var (
	encoding = func() cbor.EncMode {
		opts := cbor.CoreDetEncOptions()
		opts.Time = cbor.TimeUnix
		mode, err := opts.EncMode()
		if err != nil {
			panic(err) // the options are constants
		}
		return mode
	}()
	decoding = func() cbor.DecMode {
		mode, err := cbor.DecOptions{
			DupMapKey:         cbor.DupMapKeyEnforcedAPF,
			IndefLength:       cbor.IndefLengthForbidden,
			TagsMd:            cbor.TagsForbidden,
			ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
			MaxNestedLevels:   8,
			MaxArrayElements:  maxRevoked + 16,
			MaxMapPairs:       16,
		}.DecMode()
		if err != nil {
			panic(err)
		}
		return mode
	}()
)

func encode(v any) []byte {
	b, err := encoding.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err)) // types of this package only
	}
	return b
}

// decode reads what encode writes and nothing else, at most limit bytes.
func decode(b []byte, limit int, v any) error {
	if len(b) == 0 || len(b) > limit {
		return fmt.Errorf("has %d bytes, 1 to %d are possible", len(b), limit)
	}
	if err := decoding.Unmarshal(b, v); err != nil {
		return fmt.Errorf("is malformed: %w", err)
	}
	if again, err := encoding.Marshal(v); err != nil || !bytes.Equal(again, b) {
		return fmt.Errorf("is not in its canonical form")
	}
	return nil
}

// signed is a body with a signature over its bytes.
type signed struct {
	_    struct{} `cbor:",toarray"`
	Body []byte
	Sig  []byte
}

func sign(key identity.Key, purpose string, v any) []byte {
	body := encode(v)
	return encode(signed{Body: body, Sig: key.Sign(purpose, body)})
}

// openSigned decodes a signed v. Who has to have signed it may stand inside.
func openSigned(b []byte, limit int, purpose string, v any, signer func() identity.ID) error {
	var s signed
	if err := decode(b, limit, &s); err != nil {
		return err
	}
	if err := decode(s.Body, limit, v); err != nil {
		return err
	}
	return identity.Verify(signer(), purpose, s.Body, s.Sig)
}
