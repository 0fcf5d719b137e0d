package embedded

import (
	"bytes"
	"context"
	"fmt"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-ds-flatfs"
	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/cidset"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/internal/link"
	"github.com/ipdc/ipdc/jobspec"
)

// A batch is written in one go and synced file by file and directory by
// directory. Several of them become durable at a time, as a journal commits
// together what waits for it together; with the one that fills they are what a
// session has in memory.
//
// The second batch of small blocks and those behind it are bulk: larger, and
// synced with the whole file system, twice. For thousands of small files that
// is an order faster; for a few, it would wait for what others wrote.
const (
	batchBlocks = 1024
	bulkBlocks  = 8192
	batchBytes  = 16 << 20
	batches     = 3 // that become durable
)

// session is the ipfs.Session of one Add.
type session struct {
	node *Node
	over bool

	held *cidset.Set              // all that was put; guarded by node.sweep
	kept *cidset.Set              // what was not put and GC must leave; likewise
	open map[jobspec.CID]struct{} // links of put blocks to blocks that were not put
	odd  bool                     // a put block whose links are not in open

	vouched *cidset.Set // what is kept as a whole, see ipfs.Voucher; nil = nothing

	reused   bool // some block was stored before
	small    bool // a batch was full by its number of blocks
	filling  *batch
	flushing []*batch // oldest first, at most batches
}

// batch is a set of blocks that become durable together.
type batch struct {
	ds     datastore.Batch
	bulk   bool                   // its files are not synced one by one
	blocks map[jobspec.CID][]byte // by raw CID; not changed any more once it is committed
	bytes  int64
	commit errgroup.Group
}

func (b *batch) full() bool {
	most := batchBlocks
	if b.bulk {
		most = bulkBlocks
	}
	return len(b.blocks) >= most || b.bytes >= batchBytes
}

func (n *Node) begin() *session {
	s := &session{node: n, held: cidset.New(), kept: cidset.New(), open: map[jobspec.CID]struct{}{}}
	n.sweep.Lock()
	defer n.sweep.Unlock()
	n.sessions[s] = struct{}{}
	return s
}

// end drops what was not committed and lets GC have the rest.
func (s *session) end(ctx context.Context) {
	s.over = true
	for _, b := range s.flushing {
		_ = b.commit.Wait() // rotate or flush returned the error, or the Add failed before
	}
	if s.filling != nil {
		if err := s.filling.ds.(flatfs.DiscardableBatch).Discard(context.WithoutCancel(ctx)); err != nil {
			s.node.log.Warn("cannot discard blocks; they go at the next start", "err", err)
		}
	}
	s.node.sweep.Lock()
	defer s.node.sweep.Unlock()
	delete(s.node.sessions, s)
}

// Get implements ipfs.Getter, for what is stored or was put: the DAG that is
// added must be whole without a fetch.
func (s *session) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if err := dag.CheckCID(c); err != nil {
		return nil, err
	}
	if s.filling != nil {
		if data, ok := s.filling.blocks[bytesOf(c)]; ok {
			return data, nil
		}
	}
	for _, b := range s.flushing {
		if data, ok := b.blocks[bytesOf(c)]; ok {
			return data, nil
		}
	}
	return s.node.local(ctx, c)
}

// Put implements ipfs.Session.
func (s *session) Put(ctx context.Context, c jobspec.CID, data []byte) error {
	if s.over {
		return fmt.Errorf("put block %s: its Add has returned", c)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := dag.Verify(c, data); err != nil {
		return err
	}
	if _, ok := dag.Identity(c); ok {
		return nil // the CID holds the bytes
	}
	known, seen := s.hold(c)
	if seen {
		return nil
	}
	s.noteLinks(c, data)
	if known {
		return nil
	}
	stored, err := s.node.read(ctx, c)
	if err != nil {
		return err
	}
	if stored != nil && bytes.Equal(stored, data) {
		s.reused = true
		return nil
	}
	if stored != nil {
		s.node.log.Warn("stored block was damaged; writing it again", "cid", c)
	}
	return s.write(ctx, c, data)
}

// hold keeps GC off a block from now on: GC looks at held and deletes under
// the same lock. It reports whether the bytes, and whether this very CID, were
// held before.
func (s *session) hold(c jobspec.CID) (known, seen bool) {
	s.node.sweep.Lock()
	defer s.node.sweep.Unlock()
	known = s.held.HasBytes(c.Cid().Hash())
	return known, !s.held.Add(c)
}

// keep makes GC leave a block that may be stored, until the session ends.
func (s *session) keep(c jobspec.CID) {
	s.node.sweep.Lock()
	defer s.node.sweep.Unlock()
	s.kept.Add(c)
}

// noteLinks keeps the books that let closed answer without reading a block.
// Whoever builds a DAG bottom-up leaves open empty at all times.
func (s *session) noteLinks(c jobspec.CID, data []byte) {
	delete(s.open, c)
	links, err := link.Of(c, data)
	if err != nil {
		s.odd = true // an error only if the root reaches it; the walk will tell
		return
	}
	for _, l := range links {
		if !s.held.Has(l) && (s.vouched == nil || !s.vouched.Has(l)) {
			s.open[l] = struct{}{}
		}
	}
}

// Vouch implements ipfs.Voucher.
func (s *session) Vouch(c jobspec.CID) {
	if s.vouched == nil {
		s.vouched = cidset.New()
	}
	s.vouched.Add(c)
}

// known is what need not be looked at below what was put.
func (s *session) known() *cidset.Set {
	if s.vouched == nil {
		return cidset.New()
	}
	return s.vouched
}

// closed reports whether every block that root can reach was put.
func (s *session) closed(root jobspec.CID) bool {
	return !s.odd && len(s.open) == 0 && s.held.Has(root)
}

func (s *session) write(ctx context.Context, c jobspec.CID, data []byte) error {
	if s.filling == nil {
		store := s.node.blocks
		if s.small {
			store = s.node.bulk
		}
		ds, err := store.Batch(ctx)
		if err != nil {
			return fmt.Errorf("write block %s: %w", c, err)
		}
		s.filling = &batch{ds: ds, bulk: s.small, blocks: map[jobspec.CID][]byte{}}
	}
	b := s.filling
	// flatfs writes in the background from here on, and syncs what is not bulk.
	if err := b.ds.Put(ctx, key(c), data); err != nil {
		return fmt.Errorf("write block %s: %w", c, err)
	}
	b.blocks[bytesOf(c)] = data
	b.bytes += int64(len(data))
	if !b.full() {
		return nil
	}
	s.small = b.bytes < batchBytes
	return s.rotate(ctx)
}

// rotate begins to commit the batch that fills, once there is room for it.
func (s *session) rotate(ctx context.Context) error {
	if err := s.wait(batches - 1); err != nil {
		return err
	}
	b := s.filling
	if b == nil {
		return nil
	}
	s.filling, s.flushing = nil, append(s.flushing, b)
	b.commit.Go(func() error {
		s.node.commits.RLock()
		defer s.node.commits.RUnlock()
		if err := s.node.commit(ctx, b); err != nil {
			return fmt.Errorf("write %d blocks: %w", len(b.blocks), err)
		}
		s.node.usage.add(ipfs.Stat{Blocks: int64(len(b.blocks)), Bytes: b.bytes})
		return nil
	})
	return nil
}

// commit gives the blocks of a batch their names and makes them durable. No
// block has its name before its bytes are on disk: it would be one that looks
// stored and is not, after a power loss.
func (n *Node) commit(ctx context.Context, b *batch) error {
	if !b.bulk {
		return b.ds.Commit(ctx)
	}
	// Asking a batch for anything waits until all of it is written.
	if _, err := b.ds.(datastore.Read).Has(ctx, datastore.NewKey("WRITTEN")); err != nil {
		return err
	}
	if err := syncFileSystem(n.dir); err != nil {
		return err
	}
	if err := b.ds.Commit(ctx); err != nil {
		return err
	}
	return syncFileSystem(n.dir)
}

// wait returns when at most left batches are not durable yet.
func (s *session) wait(left int) error {
	for len(s.flushing) > left {
		if err := s.flushing[0].commit.Wait(); err != nil {
			return err
		}
		s.flushing = s.flushing[1:]
	}
	return nil
}

// flush makes every block durable, those included that another Add was
// writing when this one found them stored.
func (s *session) flush(ctx context.Context) error {
	if err := s.rotate(ctx); err != nil {
		return err
	}
	if err := s.wait(0); err != nil {
		return err
	}
	if s.reused {
		s.node.commits.Lock()
		defer s.node.commits.Unlock()
	}
	return nil
}

// bytesOf names a block by its bytes, whatever its codec.
func bytesOf(c jobspec.CID) jobspec.CID { return rawCID(c.Cid().Hash()) }
