package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// SkipDir as the result of a visit of a directory leaves out what is in it.
var SkipDir = fs.SkipDir

// Entry is a file, directory or symbolic link below a root, or the root.
type Entry struct {
	Path   string // slash-separated, "" for the root
	Name   string // last element of Path
	CID    jobspec.CID
	Kind   Kind
	Size   int64  // bytes of a file's content, else 0. Copy proves it.
	Target string // of a symbolic link, as it stands there: 1 to 4095 bytes, no NUL
}

// Walk visits root and all below it, each directory before its entries, the
// entries of a directory in the order of its links (names for a plain
// directory, hashes for a HAMT). It reads one block per entry: files are not
// read further. An error of visit ends the walk and comes back wrapped.
func Walk(ctx context.Context, g ipfs.Getter, root jobspec.CID, b ipfs.Budget, visit func(Entry) error) error {
	w := &walker{meter: newMeter(g, b), visit: func(e Entry, _ *Content) error { return visit(e) }, list: true}
	return w.walk(ctx, root)
}

// Outline is Walk for what may lie on other machines: of a file that is one raw
// block nothing is read, and its Size is what its directory declares, which may
// be any lie of at most MaxBlock bytes. Whoever stages the file finds out.
func Outline(ctx context.Context, g ipfs.Getter, root jobspec.CID, b ipfs.Budget, visit func(Entry) error) error {
	w := &walker{meter: newMeter(g, b), visit: func(e Entry, _ *Content) error { return visit(e) }, list: true, claims: true}
	return w.walk(ctx, root)
}

// Read is Walk that gives each file's content as well (nil for others). When
// visit copies every content, all blocks of the DAG are read in depth-first
// order. The budget's bytes are spent when a file is visited.
func Read(ctx context.Context, g ipfs.Getter, root jobspec.CID, b ipfs.Budget, visit func(Entry, *Content) error) error {
	return (&walker{meter: newMeter(g, b), visit: visit}).walk(ctx, root)
}

// sizer is a Getter that knows the size of a stored block without reading it.
type sizer interface {
	Size(ctx context.Context, c jobspec.CID) (int64, error)
}

func (w *walker) walk(ctx context.Context, root jobspec.CID) error {
	ctx, cancel := w.limit(ctx)
	defer cancel()
	var done func()
	if !w.claims {
		w.g, done = ipfs.Stream(ctx, w.g, root)
		defer done()
	}
	if w.list {
		w.sizes, _ = w.g.(sizer)
	}
	n, err := w.first(ctx, root)
	if err == nil {
		err = w.enter("", Link{CID: root}, n, 1)
	}
	for err == nil && len(w.stack) > 0 {
		err = w.step(ctx)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", root, err)
	}
	return nil
}

// walker holds the way from the root to the present block. It is a stack of
// its own as a stack overflow of Go's cannot be recovered from.
type walker struct {
	*meter
	visit  func(Entry, *Content) error
	list   bool  // no content will be read
	sizes  sizer // of a list; nil when g knows none
	claims bool  // sizes are taken from links where they can be
	stack  []dirFrame
}

// dirFrame is a directory block: a plain directory, or one shard of a HAMT.
type dirFrame struct {
	path  string
	level int // of directories; the root has 1
	top   node
	depth int // of shards; the HAMT's root has 0
	pos   position
	n     node
	done  int // links
}

func (w *walker) step(ctx context.Context) error {
	f := w.stack[len(w.stack)-1]
	l, ok, err := w.next(ctx)
	if err != nil {
		return at(f.path, err)
	}
	if !ok {
		return nil
	}
	n, err := w.entry(ctx, l)
	if err != nil {
		return at(join(f.path, l.Name), err)
	}
	return w.enter(join(f.path, l.Name), l, n, f.level+1)
}

// entry returns the first block of an entry, or just the size of a raw one.
func (w *walker) entry(ctx context.Context, l Link) (node, error) {
	c := l.CID
	if w.claims && c.Cid().Type() == cid.Raw {
		if l.Tsize > dag.MaxBlock {
			return node{}, jobspec.KindLimitBytes.Errorf("block %s is said to have %d bytes, at most %d are allowed", c, l.Tsize, dag.MaxBlock)
		}
		return node{kind: File, size: int64(l.Tsize)}, nil
	}
	if w.sizes != nil && c.Cid().Type() == cid.Raw {
		if size, err := w.sizes.Size(ctx, c); err == nil {
			return node{kind: File, size: size}, nil
		}
	}
	return w.node(ctx, c)
}

// next returns the link of the next entry of the directory on top. It returns
// false when it went into a shard or left a block instead.
func (w *walker) next(ctx context.Context) (Link, bool, error) {
	f := &w.stack[len(w.stack)-1]
	if f.done == len(f.n.links) {
		w.stack = w.stack[:len(w.stack)-1]
		return Link{}, false, nil
	}
	i := f.done
	f.done++
	l, s := f.n.links[i], f.n.shard
	if s == nil {
		return l, true, nil
	}
	pos, err := s.below(f.pos, s.slots[i])
	if err != nil {
		return Link{}, false, err
	}
	if len(l.Name) == s.width {
		return Link{}, false, w.descend(ctx, *f, l.CID, pos)
	}
	l.Name = l.Name[s.width:]
	if !pos.holds(l.Name) {
		return Link{}, false, w.misplaced(ctx, f.top, l.Name)
	}
	return l, true, nil
}

// enter visits an entry whose first block is n.
func (w *walker) enter(path string, l Link, n node, level int) error {
	e := Entry{Path: path, Name: l.Name, CID: l.CID, Kind: n.kind}
	switch n.kind {
	case File:
		e.Size = n.size
		if err := w.addBytes(n.size); err != nil {
			return at(path, err)
		}
		return w.visit(e, &Content{m: w.meter, n: n})
	case Symlink:
		e.Target = string(n.data)
		return w.visit(e, nil)
	}
	if level > w.budget.Levels {
		return at(path, jobspec.KindDepth.Errorf("over %d levels of directories", w.budget.Levels))
	}
	if err := w.visit(e, nil); err != nil {
		if errors.Is(err, SkipDir) {
			return nil
		}
		return err
	}
	return at(path, w.push(dirFrame{path: path, level: level, top: n, n: n}))
}

// descend reads the shard below f that stands at pos.
func (w *walker) descend(ctx context.Context, f dirFrame, c jobspec.CID, pos position) error {
	if f.depth == w.budget.DAGDepth {
		return jobspec.KindDepth.Errorf("HAMT has over %d levels", w.budget.DAGDepth)
	}
	n, err := w.subShard(ctx, f.n.shard, c)
	if err != nil {
		return err
	}
	f.n, f.pos, f.done = n, pos, 0
	f.depth++
	return w.push(f)
}

// push counts the entries of a block before any of them is read.
func (w *walker) push(f dirFrame) error {
	values := len(f.n.links)
	if f.n.shard != nil {
		values = f.n.shard.values(f.n.links)
	}
	if err := w.addEntries(values); err != nil {
		return err
	}
	if err := w.addBlocks(len(f.n.links)); err != nil {
		return err
	}
	w.stack = append(w.stack, f)
	return nil
}

// misplaced says why a name must not stand where its hash does not lead: where
// it does stand a second time, two readers would find two different files.
func (w *walker) misplaced(ctx context.Context, top node, name string) error {
	if _, ok, err := w.lookup(ctx, top, name); err == nil && ok {
		return dupName(name)
	}
	return jobspec.KindHAMT.Errorf("the name %q stands in a shard its hash does not lead to", name)
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// at adds the path to an error.
func at(path string, err error) error {
	if err == nil || path == "" {
		return err
	}
	if len(path) > 256 {
		path = "..." + path[len(path)-256:]
	}
	return fmt.Errorf("%q: %w", path, err)
}
