package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/internal/cidset"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/internal/link"
	"github.com/ipdc/ipdc/jobspec"
)

const (
	// abreast is how many single blocks of one DAG are asked for at once.
	abreast = 8
	// maxWanted bounds the blocks that are known of and not here yet. A DAG
	// of 10 GiB that is made to need more of them is an attack.
	maxWanted = 1 << 20
)

// DAG fetches every block below roots and gives each to put once, a parent
// before its children, one call at a time. What a CAR leaves out is asked for
// block by block, and from the other gateways. The error is one of put, or
// of kind E_FETCH_TIMEOUT as [Client.Block] returns it, E_LIMIT_BYTES above
// Config.MaxBytes, or E_CODEC for a block whose links cannot be known.
func (c *Client) DAG(ctx context.Context, roots []jobspec.CID, put func(jobspec.CID, []byte) error) error {
	release, err := c.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	f := &fetch{Client: c, put: put, seen: cidset.New(), want: map[jobspec.CID]bool{}, noCAR: map[*gateway]bool{}, moved: time.Now()}
	if err := f.expect(roots); err != nil {
		return err
	}
	for {
		id, more := f.next()
		if !more {
			return nil
		}
		if err := f.step(ctx, id); err != nil {
			return fmt.Errorf("fetch DAG: %w", err)
		}
	}
}

// fetch is the fetch of one DAG.
type fetch struct {
	*Client
	put func(jobspec.CID, []byte) error

	mu    sync.Mutex
	seen  *cidset.Set          // all that put has got, or needs not to
	want  map[jobspec.CID]bool // known of and not here; none is in seen
	line  []jobspec.CID        // want and what was in it, the newest last
	bytes int64
	moved time.Time // when the last block came
	noCAR map[*gateway]bool
}

// expect adds blocks to those that are wanted, unless they are here.
func (f *fetch) expect(ids []jobspec.CID) error {
	for _, id := range ids {
		if err := dag.CheckCID(id); err != nil {
			return err
		}
		if f.want[id] || f.seen.Has(id) {
			continue
		}
		if data, ok := dag.Identity(id); ok { // shrinks with each level
			f.seen.Add(id)
			links, err := link.Of(id, data)
			if err == nil {
				err = f.expect(links)
			}
			if err != nil {
				return err
			}
			continue
		}
		if len(f.want) == maxWanted {
			return jobspec.KindLimit.Errorf("the DAG leads to over %d blocks at once", maxWanted)
		}
		f.want[id] = true
		f.line = append(f.line, id)
	}
	return nil
}

// next returns the wanted block that was found last, so that a DAG is fetched
// depth first.
func (f *fetch) next() (jobspec.CID, bool) {
	for n := len(f.line) - 1; n >= 0; n-- {
		id := f.line[n]
		if f.want[id] {
			return id, true
		}
		f.line = f.line[:n]
	}
	return jobspec.CID{}, false
}

// accept takes a verified block that is wanted.
func (f *fetch) accept(id jobspec.CID, data []byte) error {
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
	delete(f.want, id)
	f.seen.Add(id)
	f.moved = time.Now()
	if err := f.put(id, data); err != nil {
		return err
	}
	return f.expect(links)
}

// step brings at least one wanted block, or fails.
func (f *fetch) step(ctx context.Context, id jobspec.CID) error {
	if link.None(id) {
		return f.singles(ctx)
	}
	data, from, err := f.block(ctx, id, f.left())
	if err != nil {
		return err
	}
	if err := f.accept(id, data); err != nil {
		return err
	}
	if _, more := f.next(); !more || f.noCAR[from] || !from.givesCARs() {
		return nil
	}
	return f.car(ctx, from, id)
}

// left is how long the fetch may still go on without a block.
func (f *fetch) left() time.Duration { return max(f.cfg.Wait-time.Since(f.moved), 0) }

// singles fetches the wanted leaves at the end of the line, some at a time.
func (f *fetch) singles(ctx context.Context) error {
	var batch []jobspec.CID
	for n := len(f.line) - 1; n >= 0 && len(batch) < 8*abreast; n-- {
		if id := f.line[n]; f.want[id] && link.None(id) {
			batch = append(batch, id)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(abreast)
	for _, id := range batch {
		g.Go(func() error {
			data, _, err := f.block(ctx, id, f.cfg.Wait)
			if err != nil {
				return err
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if !f.want[id] { // it stood in the line twice
				return nil
			}
			return f.accept(id, data)
		})
	}
	return g.Wait()
}

// errWhole ends the reading of a CAR that has brought all that is wanted.
var errWhole = errors.New("nothing more is wanted")

// car takes what the gateway sends of the DAG below root, until it ends,
// stalls or lies. What is missing then stays wanted. An error is put's.
func (f *fetch) car(ctx context.Context, from *gateway, root jobspec.CID) error {
	stalled := &refusal{slow, fmt.Errorf("no new block in %s", f.cfg.Wait/2)}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(f.cfg.Wait/2, func() { cancel(stalled) })
	defer watch.Stop()
	resp, err := from.get(ctx, root, "format=car&dag-scope=all", acceptCAR)
	if err != nil {
		if context.Cause(ctx) == error(stalled) {
			err = stalled
		}
		f.endCAR(from, root, 0, err)
		return nil
	}
	defer resp.Body.Close()
	s := &sink{fetch: f, watch: watch}
	_, _, err = car.Read(ctx, resp.Body, s, car.Options{RootLast: true})
	if s.err != nil {
		return s.err
	}
	if context.Cause(ctx) == error(stalled) {
		err = stalled
	}
	f.endCAR(from, root, s.blocks, err)
	return nil
}

// endCAR notes how a CAR ended. A gateway whose CARs bring nothing is asked for
// single blocks from then on.
func (f *fetch) endCAR(from *gateway, root jobspec.CID, blocks int, err error) {
	var why *refusal
	switch {
	case err == nil || errors.Is(err, errWhole):
		from.judge(fine)
	case errors.As(err, &why) && why.verdict == badAnswer:
		from.refuseCARs() // it may well give blocks
	case errors.As(err, &why):
		from.judge(why.verdict)
	default: // no CAR, or one that is cut
		from.judge(busy)
	}
	f.noCAR[from] = f.noCAR[from] || blocks == 0
	if err != nil && !errors.Is(err, errWhole) {
		f.log.Warn("gateway's CAR is not used to its end", "gateway", from, "cid", root, "blocks", blocks, "err", err)
	}
}

// sink is the session that a CAR is read into.
type sink struct {
	*fetch
	watch  *time.Timer
	blocks int
	err    error // put's, or the DAG's own: not the gateway's fault
}

// Get is not used by a reader of CARs.
func (s *sink) Get(context.Context, jobspec.CID) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// Put takes a block of the CAR if it is wanted.
func (s *sink) Put(_ context.Context, id jobspec.CID, data []byte) error {
	if !s.want[id] {
		if s.seen.Has(id) {
			return nil // sent again, as a DAG may hold a block twice; the watch runs on
		}
		return &refusal{lied, fmt.Errorf("sent block %s, which nobody asked for", id)}
	}
	if err := s.verify(id, data); err != nil {
		return &refusal{lied, err}
	}
	if s.err = s.accept(id, data); s.err != nil {
		return s.err
	}
	s.blocks++
	s.watch.Reset(s.cfg.Wait / 2)
	if len(s.want) == 0 {
		return errWhole
	}
	return nil
}
