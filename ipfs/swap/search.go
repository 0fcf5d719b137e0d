package swap

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/exchange"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// search is the search for one block. Bitswap is told of it once: a want that
// is taken back and told to the same session again may be lost in it, as the
// first may be taken back after the second was told. What bitswap does not see
// the search does itself: in rounds it asks all members whether they have the
// block, and wants it of one that has it and does not send it.
type search struct {
	*Swap
	id       jobspec.CID
	patience time.Duration         // before the first round
	begun    time.Time             // when bitswap was told
	wanted   map[peer.ID]time.Time // when the search itself wanted the block of whom

	members, silent int // of the last round
}

// errNobody ends the search for a block that no member has.
var errNobody = errors.New("no member has the block")

// graceful is how long after a loss members that are cut off may take to come
// back, and bitswap to go on, before the next round.
const graceful = 2 * time.Second

// block gets one block. After patience members are asked to say no, too; those
// that were lost lately may come back with it. The block of no bytes needs
// nobody; bitswap answers that nobody has it.
func (s *Swap) block(ctx context.Context, from exchange.Fetcher, id jobspec.CID, patience time.Duration) ([]byte, error) {
	if dag.Verify(id, nil) == nil {
		return []byte{}, nil
	}
	q := &search{Swap: s, id: id, patience: min(patience, s.cfg.Wait/2), begun: time.Now(), wanted: map[peer.ID]time.Time{}}
	sctx, give := context.WithCancelCause(ctx)
	defer give(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := q.watch(sctx); err != nil {
			give(err)
		}
	}()
	blk, err := from.GetBlock(sctx, id.Cid())
	why := context.Cause(sctx)
	give(nil)
	<-done
	switch {
	case err == nil:
		var sum Bytes
		sum.count(blk)
		ipfs.AddMoved(ctx, sum.Content, sum.Files+sum.Directories)
		return blk.RawData(), dag.Verify(id, blk.RawData())
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case why == errNobody:
		return nil, q.missing()
	}
	return nil, fmt.Errorf("fetch block %s: %w", id, err)
}

// watch asks round by round, and ends with errNobody when all members have said
// no, or when the time of the search is over; with nil when ctx is.
func (q *search) watch(ctx context.Context) error {
	end := time.NewTimer(q.cfg.Wait)
	defer end.Stop()
	pause := time.NewTimer(q.patience)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-end.C:
			return errNobody
		case <-pause.C:
		}
		err := q.round(ctx, end.C)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		pause.Reset(q.patience/2 + 100*time.Millisecond)
	}
}

// round asks all members once. It returns nil when they are to be asked again.
func (q *search) round(ctx context.Context, end <-chan time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	loss, next := q.signs.loss(), time.NewTimer(quiet)
	defer next.Stop()
	a, sending := q.ask(ctx, q.id.Cid())
	defer func() {
		cancel()
		sending.Wait()
		q.members, q.silent = q.asks.end(a)
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-end:
			return errNobody
		case <-next.C:
			return nil
		case <-loss:
			loss = nil
			next.Reset(graceful)
		case p := <-a.has:
			if q.forgotten(p) {
				q.wanted[p] = time.Now()
				sending.Go(func() { q.want(ctx, p, a.id, pb.Message_Wantlist_Block) })
			}
		case <-a.nobody:
			if q.worthwhile() {
				return nil
			}
			return errNobody
		}
	}
}

// worthwhile says whether to ask again though nobody has the block, as members
// may come back, or come. Where there is a Next it is not kept waiting for long.
func (q *search) worthwhile() bool {
	took := time.Since(q.begun)
	if q.cfg.Next != nil {
		return took < brief && q.cfg.Expects()
	}
	return took < 2*comeback && (q.signs.hope() || q.cfg.Expects())
}

// forgotten says whether p, which has the block, is to be asked for it.
func (q *search) forgotten(p peer.ID) bool {
	asked, ok := q.wanted[p]
	if !ok {
		asked = q.begun
	}
	return q.signs.forgotten(p, asked, q.cfg.Wait/2)
}

func (q *search) missing() error {
	f := jobspec.Failure{Kind: jobspec.KindFetchTimeout, Hint: "check the CID, add the data on a member (ipdc add PATH), or see who is connected: ipdc peers"}
	switch {
	case q.members == 0:
		f.Detail = fmt.Sprintf("block %s is not stored here, and no other member of the domain is connected", q.id)
		f.Hint = "check the CID; add the data here (ipdc add PATH), see why nobody is connected (ipdc peers), or take public data from a gateway: ipdc node start --gateway URL"
	case q.silent == 0:
		f.Detail = fmt.Sprintf("block %s is not stored here, and none of the %d members connected has it", q.id, q.members)
	default:
		f.Detail = fmt.Sprintf("block %s is not stored here; of %d members connected %d do not have it and %d sent nothing in %s",
			q.id, q.members, q.members-q.silent, q.silent, time.Since(q.begun).Round(time.Millisecond))
	}
	return f.Error()
}
