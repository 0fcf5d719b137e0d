package kubo

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/ipfs/internal/cidset"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// session is the ipfs.Session of one Add. What is put lies in a file without a
// name, so that nothing of it outlives the process, and goes to Kubo in one
// piece when the Add is done.
type session struct {
	node *Node
	over bool
	file *os.File // nil until the first block
	size int64
	held *cidset.Set
	at   map[jobspec.CID]span // by raw CID
}

// span is where a block lies in the file.
type span struct {
	offset int64
	length int32
}

func (n *Node) begin() *session {
	return &session{node: n, held: cidset.New(), at: map[jobspec.CID]span{}}
}

func (s *session) end() {
	s.over = true
	if s.file != nil {
		if err := s.file.Close(); err != nil {
			s.node.log.Warn("cannot close the file of an Add", "err", err)
		}
	}
}

// Get implements ipfs.Getter.
func (s *session) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if err := dag.CheckCID(c); err != nil {
		return nil, err
	}
	at, ok := s.at[bytesOf(c)]
	if !ok {
		return s.node.Get(ctx, c)
	}
	return s.read(c, at)
}

func (s *session) read(c jobspec.CID, at span) ([]byte, error) {
	data := make([]byte, at.length)
	if _, err := s.file.ReadAt(data, at.offset); err != nil {
		return nil, fmt.Errorf("read block %s back: %w", c, err)
	}
	return data, dag.Verify(c, data)
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
	known := s.held.HasBytes(c.Cid().Hash())
	if !s.held.Add(c) || known {
		return nil
	}
	return s.write(c, data)
}

func (s *session) write(c jobspec.CID, data []byte) (err error) {
	if s.file == nil {
		if s.file, err = durable.TempFile(s.node.dir); err != nil {
			return fmt.Errorf("put block %s: %w", c, err)
		}
		if err := os.Remove(s.file.Name()); err != nil {
			return fmt.Errorf("put block %s: %w", c, err)
		}
	}
	if _, err := s.file.WriteAt(data, s.size); err != nil {
		return fmt.Errorf("put block %s: %w", c, err)
	}
	s.at[bytesOf(c)] = span{s.size, int32(len(data))}
	s.size += int64(len(data))
	return nil
}

// local is the Getter of what was put or is in Kubo, without asking peers.
type local struct{ s *session }

func (l local) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if at, ok := l.s.at[bytesOf(c)]; ok && l.s.held.Has(c) {
		return l.s.read(c, at)
	}
	return stored{l.s.node}.Get(ctx, c)
}

// own is the Getter of what was put.
type own struct{ s *session }

func (o own) Get(_ context.Context, c jobspec.CID) ([]byte, error) {
	at, ok := o.s.at[bytesOf(c)]
	if !ok {
		return nil, errors.New("block was not put")
	}
	return o.s.read(c, at)
}

// bytesOf names a block by its bytes, whatever its codec.
func bytesOf(c jobspec.CID) jobspec.CID {
	return jobspec.WrapCID(cid.NewCidV1(cid.Raw, c.Cid().Hash()))
}
