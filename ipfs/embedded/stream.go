package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-ds-flatfs"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

var _ ipfs.Streamer = (*Node)(nil)

// sharding is flatfs's layout of files in directories.
var sharding = flatfs.NextToLast(2)

// stream reads raw blocks, which are most of a DAG's bytes, into one buffer.
type stream struct {
	n   *Node
	buf []byte
}

// Stream implements ipfs.Streamer.
func (n *Node) Stream(context.Context, jobspec.CID) (ipfs.Getter, func()) {
	return &stream{n: n}, func() {}
}

// Get implements ipfs.Getter.
func (s *stream) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if c.Defined() && c.Cid().Type() == cid.Raw && dag.CheckCID(c) == nil && ctx.Err() == nil {
		data, err := s.read(s.n.file(c))
		if err == nil {
			return data, dag.Verify(c, data)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read block %s: %w", c, err)
		}
	}
	return s.n.Get(ctx, c) // it knows what to do with what is not stored
}

func (s *stream) read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > dag.MaxBlock {
		return nil, jobspec.KindBlockHash.Errorf("the file has %d bytes, at most %d are allowed", info.Size(), dag.MaxBlock)
	}
	if int64(cap(s.buf)) < info.Size() {
		s.buf = make([]byte, info.Size())
	}
	s.buf = s.buf[:info.Size()]
	if _, err = io.ReadFull(f, s.buf); errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = jobspec.KindBlockHash.Errorf("the file has less than the %d bytes it had", info.Size())
	}
	return s.buf, err
}

// file is where flatfs keeps a block.
func (n *Node) file(c jobspec.CID) string {
	name := key(c).String()[1:]
	return filepath.Join(n.dir, sharding.Func()(name), name+".data")
}
