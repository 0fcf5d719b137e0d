package swap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipfs/boxo/exchange"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// Block returns the verified bytes of a block of some member. The error is of
// kind E_CID_HASH when id is not of a trusted hash function, E_FETCH_TIMEOUT
// when no member gave it in Config.Wait, with the number of those asked, or
// Next's, which is asked then.
func (s *Swap) Block(ctx context.Context, id jobspec.CID) ([]byte, error) {
	data, err := s.OfMembers(ctx, id)
	if s.cfg.Next != nil && isMissing(err) {
		return s.cfg.Next.Block(ctx, id)
	}
	return data, err
}

// OfMembers is Block without Next.
func (s *Swap) OfMembers(ctx context.Context, id jobspec.CID) ([]byte, error) {
	if err := dag.CheckCID(id); err != nil {
		return nil, err
	}
	if data, ok := dag.Identity(id); ok {
		return data, nil
	}
	release, err := s.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	return s.block(ctx, s.bitswap, id, 0)
}

// slot waits for one of the places for fetches.
func (s *Swap) slot(ctx context.Context) (release func(), err error) {
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// errNobody ends the search for a block that no member has.
var errNobody = errors.New("no member has the block")

// block gets one block. After patience members are asked to say no, too; those
// that were lost lately may come back with it. The block of no bytes needs
// nobody; bitswap answers that nobody has it.
func (s *Swap) block(ctx context.Context, from exchange.Fetcher, id jobspec.CID, patience time.Duration) ([]byte, error) {
	if dag.Verify(id, nil) == nil {
		return []byte{}, nil
	}
	for begun := time.Now(); ; {
		data, err := s.search(ctx, from, id, patience)
		if !isMissing(err) || s.cfg.Next != nil || !s.losses.hope(begun) {
			return data, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(patience/2 + 100*time.Millisecond):
		}
	}
}

// search is one look for a block among those that are connected.
func (s *Swap) search(ctx context.Context, from exchange.Fetcher, id jobspec.CID, patience time.Duration) ([]byte, error) {
	search, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begun := time.Now()
	var members, silent int
	done := make(chan struct{})
	go func() {
		defer close(done)
		members, silent = s.watch(search, cancel, id, patience)
	}()
	blk, err := s.losses.get(search, from, id)
	why := context.Cause(search)
	cancel(nil)
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
		return nil, s.missing(id, members, silent, time.Since(begun))
	}
	return nil, fmt.Errorf("fetch block %s: %w", id, err)
}

// watch ends a search that is in vain: when all members have said no, or when
// its time is over.
func (s *Swap) watch(ctx context.Context, give func(error), id jobspec.CID, patience time.Duration) (members, silent int) {
	end := time.NewTimer(s.cfg.Wait)
	defer end.Stop()
	if patience > 0 {
		select {
		case <-ctx.Done():
			return 0, 0
		case <-time.After(min(patience, s.cfg.Wait/2)):
		}
	}
	a, sending := s.ask(ctx, id.Cid())
	defer sending.Wait()
	select {
	case <-ctx.Done():
	case <-a.nobody:
		give(errNobody)
	case <-end.C:
		give(errNobody)
	}
	return s.asks.end(a)
}

func (s *Swap) missing(id jobspec.CID, members, silent int, took time.Duration) error {
	f := jobspec.Failure{Kind: jobspec.KindFetchTimeout, Hint: "check the CID, add the data on a member (ipdc add PATH), or see who is connected: ipdc peers"}
	switch {
	case members == 0:
		f.Detail = fmt.Sprintf("block %s is not stored here, and no other member of the domain is connected", id)
		f.Hint = "check the CID; add the data here (ipdc add PATH), see why nobody is connected (ipdc peers), or take public data from a gateway: ipdc node start --gateway URL"
	case silent == 0:
		f.Detail = fmt.Sprintf("block %s is not stored here, and none of the %d members connected has it", id, members)
	default:
		f.Detail = fmt.Sprintf("block %s is not stored here; of %d members connected %d do not have it and %d sent nothing in %s",
			id, members, members-silent, silent, took.Round(time.Millisecond))
	}
	return f.Error()
}

func isMissing(err error) bool { return errors.Is(err, jobspec.KindFetchTimeout.Error()) }
