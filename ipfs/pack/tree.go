package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/internal/symlink"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// namesAtOnce is how many names are read before the budget is looked at.
const namesAtOnce = 1024

// packer is the state of one Tree. Names are opened one by one relative to
// their open directory, so that no path is ever resolved.
type packer struct {
	s ipfs.Session
	Options
	bytes   int64 // covered by the budget, read or about to be
	done    int64 // read
	entries int64
	links   symlink.Tree
	inodes  map[inode]dag.Link // files with several hard links
}

type inode struct{ dev, ino uint64 }

// dir packs an open directory at a level; the root has level 1. It recurses at
// most Budget.Levels deep.
func (p *packer) dir(ctx context.Context, f *os.File, path string, level int) (dag.Link, error) {
	if level > p.Budget.Levels {
		return dag.Link{}, at(path, jobspec.KindDepth.Errorf("over %d levels of directories", p.Budget.Levels))
	}
	names, err := p.names(f, path)
	if err != nil {
		return dag.Link{}, err
	}
	d := dag.NewDirectory(p.s)
	for _, name := range names {
		if ctx.Err() != nil {
			return dag.Link{}, context.Cause(ctx)
		}
		link, err := p.entry(ctx, f, name, strings.TrimPrefix(path+"/"+name, "/"), level)
		if err != nil {
			return dag.Link{}, err
		}
		d.Add(name, link)
	}
	link, err := d.Write(ctx)
	return link, at(path, err)
}

// names returns the names in a directory, checked and in byte order: the order
// in which a file system lists them is its own.
func (p *packer) names(f *os.File, path string) ([]string, error) {
	var names []string
	for {
		some, err := f.Readdirnames(namesAtOnce)
		for _, name := range some {
			if p.SkipHidden && name[0] == '.' {
				continue
			}
			if err := tree.CheckName(name); err != nil {
				return nil, at(path, err)
			}
			if p.entries++; p.entries > p.Budget.Entries {
				return nil, at(path, jobspec.KindLimitEntries.Errorf("over %d entries in all", p.Budget.Entries))
			}
			names = append(names, name)
		}
		if errors.Is(err, io.EOF) {
			slices.Sort(names)
			return names, nil
		}
		if err != nil {
			return nil, at(path, err)
		}
	}
}

func (p *packer) entry(ctx context.Context, dir *os.File, name, path string, level int) (dag.Link, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return dag.Link{}, at(path, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return p.symlink(ctx, dir, name, path)
	}
	f, err := p.open(int(dir.Fd()), name, path, &st, unix.O_NOFOLLOW)
	if err != nil {
		return dag.Link{}, err
	}
	defer f.Close()
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return p.dir(ctx, f, path, level+1)
	}
	link, err := p.file(ctx, f, &st)
	return link, at(path, err)
}

// open opens a file or directory that was found to be st, and refuses to open
// anything else: opening a FIFO waits, opening a device may do anything.
// O_NONBLOCK covers what is swapped in between, which is then refused.
func (p *packer) open(dir int, name, path string, st *unix.Stat_t, flags int) (*os.File, error) {
	if m := st.Mode & unix.S_IFMT; m != unix.S_IFREG && m != unix.S_IFDIR {
		return nil, at(path, jobspec.KindOutputType.Errorf("%s is neither file, directory nor symbolic link", typeName(m)))
	}
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|flags, 0)
		return err
	})
	if err != nil {
		return nil, at(path, fmt.Errorf("open: %w", err))
	}
	f := os.NewFile(uintptr(fd), name)
	var now unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &now) }); err != nil {
		return nil, errors.Join(at(path, err), f.Close())
	}
	if now.Dev != st.Dev || now.Ino != st.Ino || now.Mode&unix.S_IFMT != st.Mode&unix.S_IFMT {
		return nil, errors.Join(at(path, jobspec.KindOutputType.Errorf("it was replaced while it was opened")), f.Close())
	}
	*st = now
	return f, nil
}

// file packs an open file of which it reads one byte more than it had when it
// was opened, to see that it did not grow.
func (p *packer) file(ctx context.Context, f *os.File, st *unix.Stat_t) (dag.Link, error) {
	id := inode{uint64(st.Dev), st.Ino}
	if link, ok := p.inodes[id]; ok {
		return link, nil
	}
	if st.Size > p.Budget.Bytes-p.bytes {
		return dag.Link{}, jobspec.KindLimitBytes.Errorf("file of %d bytes after %d others, at most %d are allowed in all",
			st.Size, p.bytes, p.Budget.Bytes)
	}
	p.bytes += st.Size
	link, n, err := importFile(ctx, p.s, io.LimitReader(f, st.Size+1), st.Size, func(n int) {
		p.done += int64(n)
		p.Progress(p.done)
	})
	if err != nil {
		return dag.Link{}, err
	}
	if n != st.Size {
		return dag.Link{}, jobspec.KindSizeMismatch.Errorf("file of %d bytes changed its size while it was read", st.Size)
	}
	if st.Nlink > 1 {
		p.inodes[id] = link
	}
	return link, nil
}

func (p *packer) symlink(ctx context.Context, dir *os.File, name, path string) (dag.Link, error) {
	buf := make([]byte, unix.PathMax+1)
	var n int
	err := retry(func() (err error) {
		n, err = unix.Readlinkat(int(dir.Fd()), name, buf)
		return err
	})
	if err != nil {
		return dag.Link{}, at(path, err)
	}
	target := string(buf[:n])
	if err := p.links.Add(path, target); err != nil {
		return dag.Link{}, at(path, err)
	}
	data, err := unixfs.SymlinkData(target)
	if err != nil {
		return dag.Link{}, at(path, err)
	}
	nd := merkledag.NodeWithData(data)
	if err := nd.SetCidBuilder(dag.CidBuilder()); err != nil {
		return dag.Link{}, at(path, err)
	}
	block := nd.RawData()
	c := jobspec.WrapCID(nd.Cid())
	return dag.Link{CID: c, Size: uint64(len(block))}, at(path, p.s.Put(ctx, c, block))
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func typeName(mode uint32) string {
	switch mode {
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "a device"
	}
	return "an entry of unknown type"
}

// at adds the path below the root to an error.
func at(path string, err error) error {
	if err == nil || path == "" {
		return err
	}
	if len(path) > 256 {
		path = "..." + path[len(path)-256:]
	}
	return fmt.Errorf("%q: %w", path, err)
}
