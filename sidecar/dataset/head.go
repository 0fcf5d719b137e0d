package dataset

import (
	"bytes"
	"errors"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// Head says what a version of a dataset is. Its owner signs it; a chain of heads
// tells all versions, each by the CID of the one before.
type Head struct {
	V        int         `cbor:"v"`        // 1
	Domain   string      `cbor:"domain"`   // of the owner when it was signed
	Owner    identity.ID `cbor:"owner"`    // whose key signs
	Name     string      `cbor:"name"`     //
	ID       string      `cbor:"id"`       // of the dataset: one that is made anew under the name has another
	Version  int         `cbor:"version"`  // from 1
	Previous string      `cbor:"previous"` // CID of the head before; "" in the first
	Root     string      `cbor:"root"`     // CID of the directory of the entries
	Time     int64       `cbor:"time"`     // of signing, in ms since 1970
	Created  int64       `cbor:"created"`  // of the first version, likewise
	Entries  int         `cbor:"entries"`  // in the directory
	Added    int         `cbor:"added"`    // since the version before
	Replaced int         `cbor:"replaced"` // likewise
	Removed  int         `cbor:"removed"`  // likewise
}

// sealed is what travels.
type sealed struct {
	Head      []byte `cbor:"h"`
	Signature []byte `cbor:"s"`
}

const (
	headVersion = 1
	headPurpose = "ipdc/dataset-head/v1"
	maxSealed   = 2 << 10 // bytes of a sealed head
	maxEntries  = 1 << 40
)

// RootCID is the directory of the entries.
func (h Head) RootCID() jobspec.CID { c, _ := jobspec.ParseCID(h.Root); return c }

// At is when the head was signed.
func (h Head) At() time.Time { return time.UnixMilli(h.Time).UTC() }

// Seal signs a head with its owner's key, and returns it as it travels and is
// stored, with its CID.
func Seal(h Head, key identity.Key) ([]byte, jobspec.CID, error) {
	h.V = headVersion
	if err := h.check(); err != nil {
		return nil, jobspec.CID{}, err
	}
	b, err := jobspec.EncodeCBOR(h)
	if err != nil {
		return nil, jobspec.CID{}, err
	}
	out, err := jobspec.EncodeCBOR(sealed{Head: b, Signature: key.Sign(headPurpose, b)})
	if err != nil {
		return nil, jobspec.CID{}, err
	}
	c, err := cidOf(out)
	return out, c, err
}

// Open reads a sealed head whose signature holds. The error is of kind
// E_SIGNATURE.
func Open(b []byte) (Head, jobspec.CID, error) {
	h, s, err := decode(b)
	if err == nil {
		err = identity.Verify(h.Owner, headPurpose, s.Head, s.Signature)
	}
	if err != nil {
		return Head{}, jobspec.CID{}, jobspec.KindSignature.Errorf("the head of a dataset is not what its owner signed: %v", err)
	}
	c, err := cidOf(b)
	return h, c, err
}

// strict reads nothing that Seal does not write.
var strict = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		MaxNestedLevels: 4, MaxMapPairs: 32, MaxArrayElements: 16,
	}.DecMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return mode
}()

// decode reads a head and checks its form, not who signed it.
func decode(b []byte) (h Head, s sealed, err error) {
	if len(b) > maxSealed {
		return h, s, errors.New("it is too long")
	}
	if err = strict.Unmarshal(b, &s); err == nil {
		err = strict.Unmarshal(s.Head, &h)
	}
	if err == nil {
		err = h.check()
	}
	if err == nil {
		err = errors.Join(same(s.Head, h), same(b, s))
	}
	return h, s, err
}

// same says whether b is the one form of v, without which a head would have
// several CIDs.
func same(b []byte, v any) error {
	again, err := jobspec.EncodeCBOR(v)
	if err == nil && !bytes.Equal(again, b) {
		err = errors.New("it is not written as heads are")
	}
	return err
}

// check finds what no head has.
func (h Head) check() error {
	if err := jobspec.CheckDatasetName(h.Name); err != nil {
		return err
	}
	if _, err := identity.ParseID(h.Owner.String()); err != nil {
		return err
	}
	if _, err := jobspec.ParseCID(h.Root); err != nil {
		return err
	}
	if _, err := jobspec.ParseCID(h.Previous); (err == nil) == (h.Version == 1) {
		return errors.New("the first version, and no other, has none before it")
	}
	switch {
	case h.V != headVersion:
		return errors.New("it is of another version of ipdc")
	case h.Version < 1 || h.Version > 1<<31-1 || h.Version == 1 && h.Previous != "":
		return errors.New("its version is none")
	case h.Time <= 0 || h.Created <= 0 || h.Time < h.Created, len(h.ID) != 32, len(h.Domain) > 256:
		return errors.New("its times, its id or its domain are none")
	case min(h.Entries, h.Added, h.Replaced, h.Removed) < 0, max(h.Entries, h.Added, h.Replaced, h.Removed) > maxEntries:
		return errors.New("its numbers of entries are none")
	}
	return nil
}

func cidOf(b []byte) (jobspec.CID, error) {
	sum, err := multihash.Sum(b, multihash.SHA2_256, -1)
	if err != nil {
		return jobspec.CID{}, err
	}
	return jobspec.WrapCID(cid.NewCidV1(cid.Raw, sum)), nil
}
