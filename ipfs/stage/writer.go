package stage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/ipfs/internal/symlink"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// loneFile is the name of a root that is a file, below the temporary directory.
const loneFile = "file"

// writer writes entries as [tree.Read] visits them. It holds the directories on
// the way to the present entry open, so that each file is made by one relative
// open, however long its path is.
type writer struct {
	o     Options
	temp  string
	stack []openDir
	buf   *bufio.Writer
	links symlink.Tree
	stat  Stat
	file  bool // the root is a file
	inner bool // the root's entries will be moved into another directory
}

type openDir struct {
	path string // below the root; "" is the root
	root *os.Root
}

func newWriter(temp string, o Options, inner bool) *writer {
	return &writer{o: o, temp: temp, inner: inner, buf: bufio.NewWriterSize(nil, 64<<10)}
}

func (w *writer) visit(ctx context.Context, e tree.Entry, c *tree.Content) error {
	if e.Path == "" {
		return w.start(ctx, e, c)
	}
	parent, err := w.parent(e.Path)
	if err != nil {
		return err
	}
	switch e.Kind {
	case tree.Dir:
		err = w.mkdir(parent, e)
	case tree.Symlink:
		err = w.symlink(parent, e)
	default:
		err = w.write(ctx, parent, e.Name, c)
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", e.Path, err)
	}
	w.progress()
	return nil
}

// start takes the root, which stands in the temporary directory itself.
func (w *writer) start(ctx context.Context, e tree.Entry, c *tree.Content) error {
	switch {
	case e.Kind == tree.Symlink:
		return jobspec.KindSymlink.Errorf("the root is a symbolic link to %.100q", e.Target)
	case e.Kind == tree.File && !w.o.File:
		return jobspec.KindUnixFS.Errorf("the root is a file, want a directory")
	}
	root, err := os.OpenRoot(w.temp)
	if err != nil {
		return fmt.Errorf("open staging directory: %w", err)
	}
	w.stack = append(w.stack, openDir{root: root})
	if e.Kind == tree.File {
		w.file = true
		return w.write(ctx, root, loneFile, c)
	}
	w.stat.Dirs++
	w.progress()
	return nil
}

// parent returns the open directory that holds path and closes those which the
// walk has left.
func (w *writer) parent(path string) (*os.Root, error) {
	dir := path[:max(0, strings.LastIndexByte(path, '/'))]
	for len(w.stack) > 0 && w.stack[len(w.stack)-1].path != dir {
		if err := w.pop(); err != nil {
			return nil, err
		}
	}
	if len(w.stack) == 0 {
		return nil, jobspec.KindInternal.Errorf("entry %q came after its directory was left", path)
	}
	return w.stack[len(w.stack)-1].root, nil
}

// pop closes the directory on top. Its time is set last, as each entry changed it.
func (w *writer) pop() error {
	top := w.stack[len(w.stack)-1]
	w.stack = w.stack[:len(w.stack)-1]
	if top.path == "" && (w.inner || w.file) {
		return top.root.Close()
	}
	err := errors.Join(
		top.root.Chtimes(".", w.o.ModTime, w.o.ModTime),
		top.root.Chmod(".", w.o.DirMode),
		top.root.Close())
	if err != nil {
		return fmt.Errorf("finish directory %q: %w", top.path, err)
	}
	return nil
}

func (w *writer) mkdir(parent *os.Root, e tree.Entry) error {
	if err := parent.Mkdir(e.Name, 0o700); err != nil {
		return err
	}
	root, err := parent.OpenRoot(e.Name)
	if err != nil {
		return err
	}
	w.stack = append(w.stack, openDir{path: e.Path, root: root})
	w.stat.Dirs++
	return nil
}

// write creates one file. It grows as blocks come in: the declared size is
// believed in no call.
func (w *writer) write(ctx context.Context, parent *os.Root, name string, c *tree.Content) (err error) {
	f, err := parent.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w.buf.Reset(progressWriter{f, w})
	if _, err := c.Copy(ctx, w.buf); err != nil {
		return err
	}
	if err := w.buf.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(w.o.FileMode); err != nil {
		return err
	}
	w.stat.Files++
	return parent.Chtimes(name, w.o.ModTime, w.o.ModTime)
}

func (w *writer) symlink(parent *os.Root, e tree.Entry) error {
	if err := w.links.Add(e.Path, e.Target); err != nil {
		return err
	}
	if err := parent.Symlink(e.Target, e.Name); err != nil {
		return err
	}
	w.stat.Symlinks++
	dir, err := parent.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	// os.Root has no call that sets the time of a link and not of its target.
	ts := unix.NsecToTimespec(w.o.ModTime.UnixNano())
	return unix.UtimesNanoAt(int(dir.Fd()), e.Name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// close closes what is open, after an error too.
func (w *writer) close() error {
	var errs []error
	for len(w.stack) > 0 {
		errs = append(errs, w.pop())
	}
	return errors.Join(errs...)
}

func (w *writer) progress() {
	w.o.Progress(w.stat.Bytes, w.stat.Files+w.stat.Dirs+w.stat.Symlinks)
}

// progressWriter counts what reaches the file.
type progressWriter struct {
	io.Writer
	w *writer
}

func (p progressWriter) Write(b []byte) (int, error) {
	n, err := p.Writer.Write(b)
	p.w.stat.Bytes += int64(n)
	p.w.progress()
	return n, err
}
