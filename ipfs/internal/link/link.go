// Package link finds the links of a block by its codec, for walks that must
// reach every block of a DAG whatever it holds.
//
//	links, err := link.Of(c, data)
//	for _, l := range links {
//		stack = append(stack, l)
//	}
//
// Invariants: the work is linear in the block's size, nesting is bounded, and a
// codec that is not known is refused: its links would be lost.
package link

import (
	"bytes"
	"io"

	"github.com/ipfs/go-cid"
	dagpb "github.com/ipld/go-codec-dagpb"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	"github.com/ipld/go-ipld-prime/datamodel"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/ipld/go-ipld-prime/traversal"
	"github.com/multiformats/go-multicodec"

	"github.com/ipdc/ipdc/jobspec"
)

// maxNesting bounds lists and maps inside one dag-cbor or dag-json block.
const maxNesting = 256

// None reports whether blocks of c's codec never have links, so that they need
// not be read: raw bytes, plain CBOR and plain JSON.
func None(c jobspec.CID) bool {
	switch multicodec.Code(c.Cid().Type()) {
	case multicodec.Raw, multicodec.Cbor, multicodec.Json:
		return true
	}
	return false
}

// Of returns the links of a verified block in the order in which they stand,
// with repetitions. The error is of kind E_CODEC when the codec is not raw,
// dag-pb, dag-cbor, dag-json, cbor or json, or when data is not of its codec.
func Of(c jobspec.CID, data []byte) ([]jobspec.CID, error) {
	if None(c) {
		return nil, nil
	}
	var links []jobspec.CID
	var err error
	switch c.Cid().Type() {
	case cid.DagProtobuf:
		links, err = ofDagPB(data)
	case cid.DagCBOR:
		links, err = ofNode(dagcbor.DecodeOptions{AllowLinks: true, MaxDepth: maxNesting}.Decode, data)
	case cid.DagJSON:
		links, err = ofNode(dagjson.DecodeOptions{ParseLinks: true, ParseBytes: true, MaxDepth: maxNesting}.Decode, data)
	default:
		return nil, jobspec.KindCodec.Errorf("block %s has codec 0x%x, want raw, dag-pb, dag-cbor or dag-json", c, c.Cid().Type())
	}
	if err != nil {
		return nil, jobspec.KindCodec.Errorf("block %s is not %s: %v", c, multicodec.Code(c.Cid().Type()), err)
	}
	return links, nil
}

func ofDagPB(data []byte) ([]jobspec.CID, error) {
	nb := dagpb.Type.PBNode.NewBuilder()
	if err := dagpb.DecodeBytes(nb, data); err != nil {
		return nil, err
	}
	list := nb.Build().(dagpb.PBNode).Links
	links := make([]jobspec.CID, 0, list.Length())
	for it := list.Iterator(); !it.Done(); {
		_, l := it.Next()
		links = append(links, wrap(l.Hash.Link()))
	}
	return links, nil
}

func ofNode(decode func(datamodel.NodeAssembler, io.Reader) error, data []byte) ([]jobspec.CID, error) {
	nb := basicnode.Prototype.Any.NewBuilder()
	if err := decode(nb, bytes.NewReader(data)); err != nil {
		return nil, err
	}
	found, err := traversal.SelectLinks(nb.Build())
	if err != nil {
		return nil, err
	}
	links := make([]jobspec.CID, 0, len(found))
	for _, l := range found {
		links = append(links, wrap(l))
	}
	return links, nil
}

func wrap(l datamodel.Link) jobspec.CID { return jobspec.WrapCID(l.(cidlink.Link).Cid) }
