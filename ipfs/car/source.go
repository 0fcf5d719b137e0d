package car

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

var _ ipfs.Getter = (*Source)(nil)

// Source gives the blocks of a stream as [Write] makes it. It is used by one
// goroutine; the bytes of a raw block are good until its next Get.
type Source struct {
	r    io.Reader
	in   *reader // nil until the first Get
	err  error   // of the stream; it stays
	done int64   // blocks given
}

// NewSource returns a Source that reads r when it is asked for blocks.
func NewSource(r io.Reader) *Source { return &Source{r: r} }

// Get implements ipfs.Getter. Blocks must be asked for in the order of the
// stream, which is that of a depth-first walk that asks for repeated blocks
// again; any other block is E_CAR_FORMAT. So is the end of the stream.
func (s *Source) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if data, inline, err := dag.Inline(c); inline || err != nil {
		return data, err
	}
	if s.err != nil {
		return nil, s.err
	}
	data, err := s.get(c)
	if err != nil {
		s.err = fmt.Errorf("read CAR: %w", err)
		return nil, s.err
	}
	s.done++
	return data, nil
}

func (s *Source) get(want jobspec.CID) (data []byte, err error) {
	if s.in == nil {
		if s.in, err = newReader(s.r); err != nil {
			return nil, err
		}
		s.in.reuse = true
	}
	c, data, err := s.in.next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, jobspec.KindCARFormat.Errorf("CAR ends after %d blocks, before block %s", s.done, want)
	case err != nil:
		return nil, err
	case c != want:
		return nil, jobspec.KindCARFormat.Errorf("block %d of the CAR is %s, want %s: not in depth-first order", s.done+1, c, want)
	}
	return data, dag.Verify(c, data)
}
