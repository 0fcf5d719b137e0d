package jobspec

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// dagCBOR writes dag-cbor: keys by length and then by bytes, nothing of
// indefinite length, no float that is not finite.
// Source: https://ipld.io/specs/codecs/dag-cbor/spec/
var dagCBOR = func() cbor.EncMode {
	mode, err := cbor.EncOptions{
		Sort:          cbor.SortLengthFirst,
		ShortestFloat: cbor.ShortestFloatNone,
		NaNConvert:    cbor.NaNConvertReject,
		InfConvert:    cbor.InfConvertReject,
		IndefLength:   cbor.IndefLengthForbidden,
	}.EncMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return mode
}()

// EncodeCBOR returns v as canonical dag-cbor: equal values have equal bytes.
// Names come from json tags; a CID is a link; Bytes, CPU and Duration are
// integers in bytes, thousandths and nanoseconds. A record that holds times
// gives them as integers itself.
func EncodeCBOR(v any) ([]byte, error) {
	b, err := dagCBOR.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T as dag-cbor: %w", v, err)
	}
	return b, nil
}

// cborCID returns the CID of v's dag-cbor block.
func cborCID(v any) (CID, error) {
	b, err := EncodeCBOR(v)
	if err != nil {
		return CID{}, err
	}
	sum, err := multihash.Sum(b, multihash.SHA2_256, -1)
	if err != nil {
		return CID{}, fmt.Errorf("hash %T: %w", v, err)
	}
	return CID{cid.NewCidV1(cid.DagCBOR, sum)}, nil
}

// MarshalCBOR writes a dag-cbor link: tag 42 over a zero byte and the binary
// CID. The zero value is null.
func (c CID) MarshalCBOR() ([]byte, error) {
	if !c.Defined() {
		return dagCBOR.Marshal(nil)
	}
	const link = 42
	return dagCBOR.Marshal(cbor.Tag{Number: link, Content: append([]byte{0}, c.c.Bytes()...)})
}

// UnmarshalCBOR reads what MarshalCBOR writes.
func (c *CID) UnmarshalCBOR(b []byte) error {
	var tag cbor.RawTag
	var bin []byte
	if len(b) == 1 && b[0] == 0xf6 { // null
		*c = CID{}
		return nil
	}
	if err := cbor.Unmarshal(b, &tag); err != nil || tag.Number != 42 {
		return errors.New("a link in dag-cbor is tag 42 over bytes")
	}
	if err := cbor.Unmarshal(tag.Content, &bin); err != nil || len(bin) < 2 || bin[0] != 0 {
		return errors.New("a link in dag-cbor is a zero byte and a CID")
	}
	id, err := cid.Cast(bin[1:])
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	*c = WrapCID(id)
	return nil
}

// CID returns the spec CID: that of s as dag-cbor with defaults filled in.
// Two texts that ask for the same have the same CID.
func (s Spec) CID() (CID, error) { return cborCID(s.WithDefaults()) }
