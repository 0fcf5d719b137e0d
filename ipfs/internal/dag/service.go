package dag

import (
	"context"
	"fmt"

	"github.com/ipfs/boxo/ipld/merkledag"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// Service returns s as boxo's DAG service, to be used by one goroutine as s
// is. Errors of s come back wrapped, with their kind. It reads dag-pb and raw
// nodes; others are an error of kind E_CODEC. Remove does nothing: a session
// never takes back a block.
func Service(s ipfs.Session) ipld.DAGService { return service{s} }

type service struct{ s ipfs.Session }

func (v service) Get(ctx context.Context, c cid.Cid) (ipld.Node, error) {
	data, err := v.s.Get(ctx, jobspec.WrapCID(c))
	if err != nil {
		return nil, fmt.Errorf("get node %s: %w", c, err)
	}
	return decode(c, data)
}

// GetMany reads in order before it returns, as a session has one user.
func (v service) GetMany(ctx context.Context, cs []cid.Cid) <-chan *ipld.NodeOption {
	out := make(chan *ipld.NodeOption, len(cs))
	defer close(out)
	for _, c := range cs {
		nd, err := v.Get(ctx, c)
		out <- &ipld.NodeOption{Node: nd, Err: err}
		if err != nil {
			break
		}
	}
	return out
}

func (v service) Add(ctx context.Context, nd ipld.Node) error {
	c := jobspec.WrapCID(nd.Cid())
	if err := v.s.Put(ctx, c, nd.RawData()); err != nil {
		return fmt.Errorf("put node %s: %w", c, err)
	}
	return nil
}

func (v service) AddMany(ctx context.Context, nds []ipld.Node) error {
	for _, nd := range nds {
		if err := v.Add(ctx, nd); err != nil {
			return err
		}
	}
	return nil
}

func (service) Remove(context.Context, cid.Cid) error       { return nil }
func (service) RemoveMany(context.Context, []cid.Cid) error { return nil }

func decode(c cid.Cid, data []byte) (ipld.Node, error) {
	blk, err := blocks.NewBlockWithCid(data, c)
	if err != nil {
		return nil, fmt.Errorf("decode node %s: %w", c, err)
	}
	switch c.Prefix().Codec {
	case cid.DagProtobuf:
		nd, err := merkledag.DecodeProtobufBlock(blk)
		if err != nil {
			return nil, jobspec.KindUnixFS.Errorf("decode node %s: %v", c, err)
		}
		return nd, nil
	case cid.Raw:
		return merkledag.DecodeRawBlock(blk)
	}
	return nil, jobspec.KindCodec.Errorf("node %s has codec 0x%x, want dag-pb or raw", c, c.Prefix().Codec)
}
