package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-ds-flatfs"
	"golang.org/x/sys/unix"

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

// Size returns the size of a stored raw block; the error says that Get would
// have to be asked. The bytes are not looked at.
func (s *stream) Size(ctx context.Context, c jobspec.CID) (int64, error) {
	if err := errors.Join(ctx.Err(), dag.CheckCID(c)); err != nil {
		return 0, err
	}
	var st unix.Stat_t
	err := retry(func() error { return unix.Stat(s.n.file(c), &st) })
	if err == nil && st.Size > dag.MaxBlock {
		err = unix.EFBIG
	}
	return st.Size, err
}

// read reads a file into buf. It makes no os.File, which costs as much again
// as reading a small block.
func (s *stream) read(path string) (data []byte, err error) {
	fd, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return nil, err
	}
	if st.Size > dag.MaxBlock {
		return nil, jobspec.KindBlockHash.Errorf("the file has %d bytes, at most %d are allowed", st.Size, dag.MaxBlock)
	}
	if int64(cap(s.buf)) < st.Size {
		s.buf = make([]byte, st.Size)
	}
	data = s.buf[:st.Size]
	for rest := data; len(rest) > 0; {
		var n int
		err := retry(func() (err error) {
			n, err = unix.Read(fd, rest)
			return err
		})
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, jobspec.KindBlockHash.Errorf("the file has lost the end of its %d bytes", st.Size)
		}
		rest = rest[n:]
	}
	return data, nil
}

func openFile(path string) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// file is where flatfs keeps a block.
func (n *Node) file(c jobspec.CID) string {
	name := key(c).String()[1:]
	return filepath.Join(n.dir, sharding.Func()(name), name+".data")
}
