package ipfstest

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/jobspec"
)

// block is a block with the CID it hashes to, unless a test says otherwise.
type block struct {
	cid  jobspec.CID
	data []byte
}

func hashed(codec, hash uint64, length int, data []byte) block {
	sum, err := multihash.Sum(data, hash, length)
	if err != nil {
		panic(err)
	}
	return block{jobspec.WrapCID(cid.NewCidV1(codec, sum)), data}
}

func leaf(format string, a ...any) block {
	return hashed(cid.Raw, multihash.SHA2_256, -1, fmt.Appendf(nil, format, a...))
}

// branch is a dag-pb node that links to children.
func branch(children ...block) block {
	nd := merkledag.NodeWithData(nil)
	for i, c := range children {
		l := &ipld.Link{Name: fmt.Sprintf("%04d", i), Cid: c.cid.Cid(), Size: uint64(len(c.data))}
		if err := nd.AddRawLink(l.Name, l); err != nil {
			panic(err)
		}
	}
	return hashed(cid.DagProtobuf, multihash.SHA2_256, -1, nd.RawData())
}

// cborBranch is a dag-cbor list of links.
func cborBranch(children ...block) block {
	list := make([]cbor.Tag, len(children))
	for i, c := range children {
		list[i] = cbor.Tag{Number: 42, Content: append([]byte{0}, c.cid.Cid().Bytes()...)}
	}
	data, err := cbor.Marshal(list)
	if err != nil {
		panic(err)
	}
	return hashed(cid.DagCBOR, multihash.SHA2_256, -1, data)
}

func size(blocks ...block) (n int64) {
	for _, b := range blocks {
		n += int64(len(b.data))
	}
	return n
}
