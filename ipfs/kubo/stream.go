package kubo

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/internal/link"
	"github.com/ipdc/ipdc/jobspec"
)

// A call costs Kubo more than the block that it brings. A walk over a whole DAG
// therefore reads it from one dag/export, and asks for a block of its own only
// where the stream has not what comes next.
const (
	streamCalls = 4       // at one time; further walks ask for each block
	streamAhead = 8 << 20 // bytes that a walk may leave out of its stream before it is read no further
)

// Stream implements ipfs.Streamer.
func (n *Node) Stream(ctx context.Context, root jobspec.CID) (ipfs.Getter, func()) {
	return n.export(ctx, root, n)
}

// stream is the Getter of one walk over one DAG.
type stream struct {
	rest     ipfs.Getter // of what the window has not
	window   *car.Window
	watch    *time.Timer // ends the stream when Kubo sends nothing for
	patience time.Duration
}

// export has Kubo send the DAG below root. Where it does not, all is left to
// rest, which says why. done ends it.
func (n *Node) export(ctx context.Context, root jobspec.CID, rest ipfs.Getter) (_ *stream, done func()) {
	s := &stream{rest: rest}
	if link.None(root) || !n.streams.TryAcquire(1) {
		return s, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	s.watch, s.patience = time.AfterFunc(n.rpc.answer, cancel), n.rpc.answer
	body, err := n.rpc.stream(ctx, "dag/export", url.Values{"arg": {root.String()}, "progress": {"false"}, "offline": {"true"}})
	s.watch.Stop()
	if err != nil {
		n.log.Debug("Kubo does not export; asking for each block", "cid", root, "err", err)
		body = http.NoBody
	}
	s.window = car.NewWindow(body, streamAhead)
	return s, func() {
		s.watch.Stop()
		cancel()
		_ = body.Close() // nobody wants the rest of it
		n.streams.Release(1)
	}
}

// Get implements ipfs.Getter.
func (s *stream) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if data, ok := s.take(c); ok {
		return data, nil
	}
	return s.rest.Get(ctx, c)
}

// take returns a block, verified, if it is among the next ones of the stream.
func (s *stream) take(c jobspec.CID) ([]byte, bool) {
	if s.window == nil {
		return nil, false
	}
	s.watch.Reset(s.patience)
	defer s.watch.Stop()
	return s.window.Take(c)
}
