package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// importFile packs one file. size is what r is expected to hold, or -1; read is
// told of each chunk's bytes.
func importFile(ctx context.Context, s ipfs.Session, r io.Reader, size int64, read func(int)) (dag.Link, int64, error) {
	chunk := dag.Profile().ChunkSize
	room := chunk
	if size >= 0 {
		room = min(size+1, chunk)
	}
	first := make([]byte, room)
	n, err := io.ReadFull(r, first)
	read(n)
	switch {
	case err == nil && room == chunk:
		return importChunks(ctx, s, first, r, read)
	case err == nil:
		return dag.Link{}, int64(n), nil // it grew; the caller sees it by n
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return dag.Link{}, int64(n), err
	}
	c, err := dag.LeafCID(first[:n])
	if err != nil {
		return dag.Link{}, 0, err
	}
	return dag.Link{CID: c, Size: uint64(n)}, int64(n), s.Put(ctx, c, first[:n])
}

// importChunks packs a file of at least one whole chunk. Chunks are read and
// hashed ahead, on all processors, while boxo lays out those before.
func importChunks(ctx context.Context, s ipfs.Session, first []byte, r io.Reader, read func(int)) (dag.Link, int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sp := &splitter{r: r, read: read, queue: make(chan *chunk, runtime.GOMAXPROCS(0)+1)}
	params := helpers.DagBuilderParams{
		Dagserv:    boundService{dag.Service(s), ctx},
		Maxlinks:   dag.Profile().FileDAGWidth,
		RawLeaves:  true,
		CidBuilder: prehashed{dag.CidBuilder(), sp},
	}
	helper, err := params.New(sp)
	if err != nil {
		return dag.Link{}, 0, fmt.Errorf("import file: %w", err)
	}
	sp.workers.Go(func() error { return sp.readAhead(ctx, first) })
	nd, err := balanced.Layout(helper)
	cancel()
	// A read that fails looks like the end of the file to boxo.
	if werr := sp.workers.Wait(); err == nil {
		err = werr
	}
	if err != nil {
		return dag.Link{}, sp.size, err
	}
	tsize, err := nd.Size()
	if err != nil {
		return dag.Link{}, sp.size, fmt.Errorf("import file: %w", err)
	}
	return dag.Link{CID: jobspec.WrapCID(nd.Cid()), Size: tsize}, sp.size, nil
}

// splitter is a boxo chunker that cuts r into chunks of the profile's size and
// hashes them ahead.
type splitter struct {
	r       io.Reader
	read    func(int)
	queue   chan *chunk // in order; closed by readAhead
	workers errgroup.Group
	size    int64  // bytes given out
	last    *chunk // the one given out last
}

type chunk struct {
	data   []byte
	cid    jobspec.CID
	err    error
	hashed chan struct{} // closed once cid and err are set
}

// readAhead fills the queue, first with a chunk that was read before. It is the
// only reader of r.
func (s *splitter) readAhead(ctx context.Context, data []byte) error {
	defer close(s.queue)
	for {
		c := &chunk{data: data, hashed: make(chan struct{})}
		s.workers.Go(func() error {
			defer close(c.hashed)
			c.cid, c.err = dag.LeafCID(c.data)
			return nil
		})
		select {
		case s.queue <- c:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		data = make([]byte, dag.Profile().ChunkSize)
		n, err := io.ReadFull(s.r, data)
		data = data[:n]
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("read: %w", err)
		}
	}
}

// Reader implements chunk.Splitter.
func (s *splitter) Reader() io.Reader { return s.r }

// NextBytes implements chunk.Splitter.
func (s *splitter) NextBytes() ([]byte, error) {
	c, ok := <-s.queue
	if !ok {
		return nil, io.EOF
	}
	<-c.hashed
	if s.size > 0 { // the first chunk was told of before
		s.read(len(c.data))
	}
	s.size += int64(len(c.data))
	s.last = c
	return c.data, c.err
}

// prehashed gives boxo the CID of a chunk that was hashed ahead.
type prehashed struct {
	cid.Builder
	chunks *splitter
}

// WithCodec implements cid.Builder.
func (b prehashed) WithCodec(codec uint64) cid.Builder {
	return prehashed{b.Builder.WithCodec(codec), b.chunks}
}

// Sum implements cid.Builder.
func (b prehashed) Sum(data []byte) (cid.Cid, error) {
	c := b.chunks.last
	if c != nil && b.GetCodec() == cid.Raw && len(data) == len(c.data) && &data[0] == &c.data[0] {
		return c.cid.Cid(), nil
	}
	return b.Builder.Sum(data)
}

// boundService gives boxo's importer, which passes no context on, the one of
// its call. It lives as long as that call.
type boundService struct {
	ipld.DAGService
	ctx context.Context
}

// Add implements ipld.DAGService.
func (s boundService) Add(_ context.Context, nd ipld.Node) error { return s.DAGService.Add(s.ctx, nd) }
