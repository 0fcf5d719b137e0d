package swap

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ipfs/boxo/exchange"
	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/ipfs/internal/cidset"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/internal/link"
	"github.com/ipdc/ipdc/jobspec"
)

const (
	// abreast is how many blocks of one DAG are asked for at once; it bounds
	// the memory of a fetch, too.
	abreast = 8
	// maxWanted bounds the blocks that are known of and not here yet.
	maxWanted = 1 << 20
	// patience is how long a block within a DAG may take before members are
	// asked whether they have it at all.
	patience = time.Second
)

// DAG fetches every block below roots and gives each to put once, a parent
// before its children, one call at a time; those that are stored here are read
// here. What no member has Next is asked for. The error is one of put, or as
// Block's, E_LIMIT_BYTES above Config.MaxBytes, or E_CODEC for a block whose
// links cannot be known.
func (s *Swap) DAG(ctx context.Context, roots []jobspec.CID, put func(jobspec.CID, []byte) error) error {
	release, err := s.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	sctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the session, however this ends
	g, gctx := errgroup.WithContext(sctx)
	g.SetLimit(abreast)
	f := &fetch{Swap: s, from: s.bitswap.NewSession(gctx), put: put, seen: cidset.New()}
	f.changed.L = &f.mu
	stop := context.AfterFunc(gctx, f.wake)
	defer stop()
	if err := f.expect(roots); err != nil {
		return err
	}
	for id, more := f.next(gctx); more; id, more = f.next(gctx) {
		g.Go(func() error { return f.one(gctx, id) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("fetch DAG: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if len(f.lost) > 0 {
		return s.cfg.Next.DAG(ctx, f.lost, put)
	}
	return nil
}

// fetch is the fetch of one DAG.
type fetch struct {
	*Swap
	from exchange.Fetcher
	put  func(jobspec.CID, []byte) error

	mu      sync.Mutex
	changed sync.Cond     // line, busy or the context
	seen    *cidset.Set   // all that were ever in line
	line    []jobspec.CID // known of and not asked for, the newest last
	busy    int           // under way
	bytes   int64
	lost    []jobspec.CID // that no member has, where there is a Next
}

func (f *fetch) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changed.Broadcast()
}

// expect adds blocks to the line. The lock is held, or nothing runs yet.
func (f *fetch) expect(ids []jobspec.CID) error {
	for _, id := range ids {
		if err := dag.CheckCID(id); err != nil {
			return err
		}
		if !f.seen.Add(id) {
			continue
		}
		if data, ok := dag.Identity(id); ok { // shrinks with each level
			links, err := link.Of(id, data)
			if err == nil {
				err = f.expect(links)
			}
			if err != nil {
				return err
			}
			continue
		}
		if len(f.line) == maxWanted {
			return jobspec.KindLimit.Errorf("the DAG leads to over %d blocks at once", maxWanted)
		}
		f.line = append(f.line, id)
	}
	return nil
}

// next takes the block that was found last, so that a DAG is fetched depth
// first. It waits while the blocks under way may bring more.
func (f *fetch) next(ctx context.Context) (jobspec.CID, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.line) == 0 && f.busy > 0 && ctx.Err() == nil {
		f.changed.Wait()
	}
	n := len(f.line) - 1
	if n < 0 || ctx.Err() != nil {
		return jobspec.CID{}, false
	}
	id := f.line[n]
	f.line = f.line[:n]
	f.busy++
	return id, true
}

// one brings a block and hands it on.
func (f *fetch) one(ctx context.Context, id jobspec.CID) error {
	data, err := f.get(ctx, id)
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.changed.Broadcast()
	f.busy--
	if f.cfg.Next != nil && isMissing(err) {
		f.lost = append(f.lost, id)
		return nil
	}
	if err != nil {
		return err
	}
	links, err := link.Of(id, data)
	if err != nil {
		return err
	}
	if f.bytes += int64(len(data)); f.bytes > f.cfg.MaxBytes {
		return jobspec.Failure{
			Kind:   jobspec.KindLimitBytes,
			Detail: fmt.Sprintf("the DAG has over %s, which is as much as this node fetches", jobspec.Bytes(f.cfg.MaxBytes)),
			Hint:   "take a part of it (CID/path), or raise the node's limit: ipdc node start --input-bytes N",
		}.Error()
	}
	if err := f.put(id, data); err != nil {
		return err
	}
	return f.expect(links)
}

func (f *fetch) get(ctx context.Context, id jobspec.CID) ([]byte, error) {
	if b, err := (stored{f.Swap}).Get(ctx, id.Cid()); err == nil {
		return b.RawData(), nil
	}
	return f.block(ctx, f.from, id, patience)
}
