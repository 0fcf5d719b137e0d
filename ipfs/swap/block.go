package swap

import (
	"context"
	"errors"

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
	if data, inline, err := dag.Inline(id); inline || err != nil {
		return data, err
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

func isMissing(err error) bool { return errors.Is(err, jobspec.KindFetchTimeout.Error()) }
