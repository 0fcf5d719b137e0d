// Package pack turns a directory, a file or a stream into a UnixFS DAG by the
// profile unixfs-v1-2025 of IPIP-499, so that the same bytes have the same CID
// on every node and in Kubo.
//
//	res, err := pack.Tree(ctx, session, "/outputs", pack.Options{Budget: ipfs.Budget{Bytes: 1 << 30}})
//	fmt.Println(res.CID, res.Bytes, res.Entries)
//	root, n, err := pack.File(ctx, session, os.Stdin)
//
// Invariants: a CID is a function of names, bytes and links alone: no times,
// modes or owners; the tree may be hostile: nothing outside of it is read, no
// FIFO, socket or device is opened, no link is followed, and nothing is read
// that the budget does not cover; what is packed passes the checks for inputs.
package pack

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// Options bound and report what Tree does.
type Options struct {
	// Budget bounds bytes of file content, entries, levels of directories and
	// time; zero fields are the defaults of [ipfs.Budget]. Its DAG fields are
	// not used. Sizes are apparent ones, holes included.
	Budget ipfs.Budget
	// SkipHidden leaves out entries whose name begins with a dot.
	SkipHidden bool
	// Progress is told the content bytes read so far; default none.
	Progress func(bytes int64)
}

// Result is a packed tree.
type Result struct {
	CID     jobspec.CID
	Bytes   int64 // of file content; a file with several hard links counts once
	Entries int64 // files, directories and symbolic links below the root; 1 for a lone file
}

// Tree packs the file or directory at path, which is followed when it is a
// symbolic link. Symbolic links below it are kept when they stay inside.
//
// The error names the path below the root. Its kind is E_OUTPUT_TYPE for what
// is neither file, directory nor link, E_SYMLINK for a link that leads out,
// E_NAME for a name that [tree.CheckName] refuses, E_LIMIT_BYTES,
// E_LIMIT_ENTRIES, E_DEPTH or E_LIMIT (time) at the budget's end,
// E_SIZE_MISMATCH for a file that changed while it was read.
func Tree(ctx context.Context, s ipfs.Session, path string, o Options) (Result, error) {
	p := newPacker(s, o)
	if t := o.Budget.Time; t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, t, jobspec.KindLimit.Errorf("packing took over %s", t))
		defer cancel()
	}
	link, err := p.top(ctx, path)
	if err == nil {
		err = p.links.Check()
	}
	if err != nil {
		return Result{}, fmt.Errorf("pack: %w", err)
	}
	return Result{CID: link.CID, Bytes: p.bytes, Entries: p.entries}, nil
}

// File packs a stream as one file and returns its CID and size in bytes.
func File(ctx context.Context, s ipfs.Session, r io.Reader) (jobspec.CID, int64, error) {
	size := int64(-1)
	if known, ok := r.(interface{ Len() int }); ok { // what is in memory
		size = int64(known.Len())
	}
	link, n, err := importFile(ctx, s, r, size, func(int) {})
	if err != nil {
		return jobspec.CID{}, n, fmt.Errorf("pack stream: %w", err)
	}
	return link.CID, n, nil
}

func newPacker(s ipfs.Session, o Options) *packer {
	o.Budget.Bytes = cmp.Or(o.Budget.Bytes, 10<<30)
	o.Budget.Entries = cmp.Or(o.Budget.Entries, 100_000)
	o.Budget.Levels = cmp.Or(o.Budget.Levels, 64)
	if o.Progress == nil {
		o.Progress = func(int64) {}
	}
	return &packer{s: s, Options: o, inodes: map[inode]dag.Link{}}
}

// top packs what the caller named. The caller chose the path, so links on the
// way to it are followed; a device is not opened for all that.
func (p *packer) top(ctx context.Context, path string) (dag.Link, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Stat(path, &st) }); err != nil {
		return dag.Link{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		p.entries = 1
	}
	f, err := p.open(unix.AT_FDCWD, path, "", &st, 0)
	if err != nil {
		return dag.Link{}, err
	}
	defer f.Close()
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		return p.file(ctx, f, &st)
	}
	return p.dir(ctx, f, "", 1)
}
