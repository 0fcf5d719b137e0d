package main

import (
	"context"
	"path/filepath"

	"github.com/ipdc/ipdc/ipfs/attach"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/wire"
)

// attachments are the attached files of a node with its own block store.
type attachments struct {
	*attach.Set
	node *embedded.Node
}

// Attach implements api.Attachments.
func (a attachments) Attach(ctx context.Context, path, label string) (wire.Attached, error) {
	return a.Set.Attach(ctx, a.node, path, label)
}

// Detach implements api.Attachments.
func (a attachments) Detach(ctx context.Context, ref string) (wire.Attached, error) {
	return a.Set.Detach(ctx, a.node, ref)
}

// brief says whether what is staged of c is not kept when no task uses it any
// more: it lies in an attached file, and need not lie on this disk twice.
func (n *node) brief(ctx context.Context, c jobspec.CID) bool {
	return n.attached != nil && sidecar.ReadsAttached(ctx, n.ipfs, n.attached, c)
}

// openAttached opens what was attached before.
func (n *node) openAttached(ctx context.Context) (*attach.Set, error) {
	set, err := attach.Open(ctx, attach.Config{Dir: filepath.Join(n.set.Path, "attached"), Node: n.set.Path, Logger: n.log})
	if err == nil {
		n.onClose(set.Close)
	}
	return set, err
}

// attachedFiles are those that the sidecar reads from; nil with a Kubo.
func (n *node) attachedFiles() sidecar.Attached {
	if n.attached == nil {
		return nil
	}
	return n.attached
}
