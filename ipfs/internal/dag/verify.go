package dag

import (
	"bytes"

	"github.com/ipfs/boxo/verifcid"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/jobspec"
)

// CheckCID returns an error of kind E_CID_HASH unless c is of a hash function
// that is trusted, with a digest of a trusted length: boxo's list without
// sha1, 20 to 128 bytes, identity at most [MaxIdentity] bytes.
func CheckCID(c jobspec.CID) error {
	if !c.Defined() {
		return jobspec.KindCIDHash.Errorf("no CID")
	}
	if c.Cid().Prefix().MhType == multihash.SHA1 {
		return jobspec.KindCIDHash.Errorf("%s: sha1 is not trusted", c)
	}
	if err := verifcid.ValidateCid(verifcid.DefaultAllowlist, c.Cid()); err != nil {
		return jobspec.KindCIDHash.Errorf("%s: %v", short(c), err)
	}
	return nil
}

// Verify returns an error of kind E_CID_HASH as [CheckCID] does, E_LIMIT_BYTES
// when data is over [MaxBlock], E_BLOCK_HASH when data does not hash to c.
func Verify(c jobspec.CID, data []byte) error {
	if err := CheckCID(c); err != nil {
		return err
	}
	if len(data) > MaxBlock {
		return jobspec.KindLimitBytes.Errorf("block %s has %d bytes, at most %d are allowed", c, len(data), MaxBlock)
	}
	prefix := c.Cid().Prefix()
	if prefix.MhType == multihash.IDENTITY {
		prefix.MhLength = -1
	}
	sum, err := multihash.Sum(data, prefix.MhType, prefix.MhLength)
	if err != nil {
		return jobspec.KindCIDHash.Errorf("%s: %v", short(c), err)
	}
	if !bytes.Equal(sum, c.Cid().Hash()) {
		return jobspec.KindBlockHash.Errorf("block %s: %d bytes hash to %s", c, len(data), cid.NewCidV1(prefix.Codec, sum))
	}
	return nil
}

// Identity returns the bytes inside an identity CID, and whether c is one. The
// caller has called [CheckCID].
func Identity(c jobspec.CID) ([]byte, bool) {
	if !c.Defined() || c.Cid().Prefix().MhType != multihash.IDENTITY {
		return nil, false
	}
	d, err := multihash.Decode(c.Cid().Hash())
	if err != nil {
		return nil, false
	}
	return d.Digest, true
}

// Inline is [CheckCID] and [Identity]: the beginning of each Get, which goes on
// where the CID is good and does not hold the bytes itself.
//
//	if data, inline, err := dag.Inline(c); inline || err != nil {
//		return data, err
//	}
func Inline(c jobspec.CID) (data []byte, inline bool, err error) {
	if err := CheckCID(c); err != nil {
		return nil, false, err
	}
	data, inline = Identity(c)
	return data, inline, nil
}

// short keeps a CID with a huge digest out of errors and logs.
func short(c jobspec.CID) string {
	if s := c.String(); len(s) > 128 {
		return s[:128] + "..."
	}
	return c.String()
}
