package embedded

import (
	"context"
	"fmt"

	"github.com/ipdc/ipdc/jobspec"
)

// Beside is a read-only source of blocks that lie outside of the node's own and
// count as stored: they are served, pinned and verified, and never copied. Its
// methods may be called concurrently.
type Beside interface {
	// Get returns a block, verified just now; nil and no error where it has
	// none. The error of one that it should have matches E_FETCH_TIMEOUT: it
	// is fetched from elsewhere, where that is possible.
	Get(ctx context.Context, c jobspec.CID) ([]byte, error)
	Has(c jobspec.CID) bool
	// Lost says whether a block is or was in the source: a collection passes
	// over it where it is missing. Collected ends each collection.
	Lost(c jobspec.CID) bool
	Collected()
}

// nothing is beside a node by default.
type nothing struct{}

func (nothing) Get(context.Context, jobspec.CID) ([]byte, error) { return nil, nil }
func (nothing) Has(jobspec.CID) bool                             { return false }
func (nothing) Lost(jobspec.CID) bool                            { return false }
func (nothing) Collected()                                       {}

// replace fetches a block that should be here and is not, for why.
func (n *Node) replace(ctx context.Context, c jobspec.CID, why error) ([]byte, error) {
	data, err := n.fetchBlock(ctx, c)
	if err == nil {
		n.log.Warn("fetched a block that could not be read here", "cid", c, "why", why)
		return data, nil
	}
	return nil, fmt.Errorf("%w; nor could it be fetched: %v", why, err)
}
