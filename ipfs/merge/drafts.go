package merge

import (
	"context"

	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// Drafts takes the nodes of a DAG whose content is not to be whole here: what
// is put stays in memory until Keep. It reads what was put, then Getter. It is
// used by one goroutine.
type Drafts struct {
	ipfs.Getter
	nodes map[jobspec.CID][]byte
}

var _ ipfs.Session = (*Drafts)(nil)

// NewDrafts returns drafts over what g has.
func NewDrafts(g ipfs.Getter) *Drafts { return &Drafts{g, map[jobspec.CID][]byte{}} }

// Get returns what was put, or what the Getter gives.
func (d *Drafts) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if data, ok := d.nodes[c]; ok {
		return data, nil
	}
	return d.Getter.Get(ctx, c)
}

// Put takes a node; it never fails, and trusts that data hashes to c: Keep's
// session checks it.
func (d *Drafts) Put(_ context.Context, c jobspec.CID, data []byte) error {
	d.nodes[c] = data
	return nil
}

// Keep stores the nodes as files, as they are, and returns a directory of them:
// a DAG that is not whole cannot be pinned. Blocks are looked up by their hash,
// so that whoever asks for a node gets it.
func (d *Drafts) Keep(ctx context.Context, w ipfs.Session) (jobspec.CID, error) {
	files := make([]File, 0, len(d.nodes))
	for c, data := range d.nodes {
		raw := jobspec.WrapCID(cid.NewCidV1(cid.Raw, c.Cid().Hash()))
		if err := w.Put(ctx, raw, data); err != nil {
			return raw, err
		}
		files = append(files, File{Path: raw.String(), CID: raw, Size: int64(len(data))})
	}
	return Files(ctx, w, files)
}
