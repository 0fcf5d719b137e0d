package tree

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// Resolve returns the CID of the entry at path below root; an empty path is
// root itself. Symbolic links are not followed. In a HAMT only the shards on
// the way to the name are read. The error is of kind E_NOT_FOUND, naming the
// nearest parent that exists, or E_NAME.
func Resolve(ctx context.Context, g ipfs.Getter, root jobspec.CID, path []string) (jobspec.CID, error) {
	m := newMeter(g, ipfs.Budget{})
	if len(path) > m.budget.Levels {
		return jobspec.CID{}, jobspec.KindDepth.Errorf("the path has %d elements, at most %d are allowed", len(path), m.budget.Levels)
	}
	c := root
	for i, name := range path {
		next, err := m.child(ctx, c, name)
		if err != nil {
			return jobspec.CID{}, fmt.Errorf("resolve %q: in %q: %w", strings.Join(path, "/"), join(root.String(), strings.Join(path[:i], "/")), err)
		}
		c = next
	}
	return c, nil
}

// child looks up one name in the directory c.
func (m *meter) child(ctx context.Context, c jobspec.CID, name string) (jobspec.CID, error) {
	if err := CheckName(name); err != nil {
		return jobspec.CID{}, err
	}
	n, err := m.first(ctx, c)
	if err != nil {
		return jobspec.CID{}, err
	}
	if n.kind != Dir {
		return jobspec.CID{}, jobspec.KindNotFound.Errorf("there is no entry %q, as this is a %s", name, n.kind)
	}
	l, ok, err := m.lookup(ctx, n, name)
	if err != nil {
		return jobspec.CID{}, err
	}
	if !ok {
		return jobspec.CID{}, jobspec.KindNotFound.Errorf("there is no entry %q", name)
	}
	return l.CID, nil
}

// Listing is what one node is, with the entries of a directory.
type Listing struct {
	CID     jobspec.CID
	Kind    Kind
	Size    int64   // bytes of a file's content
	Target  string  // of a symbolic link
	Entries []Entry // of a directory, in byte order of their names
}

// KindOf returns what c is. It reads one block.
func KindOf(ctx context.Context, g ipfs.Getter, c jobspec.CID) (Kind, error) {
	n, err := newMeter(g, ipfs.Budget{}).first(ctx, c)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", c, err)
	}
	return n.kind, nil
}

// List reads one node and the first block of each of its entries.
func List(ctx context.Context, g ipfs.Getter, c jobspec.CID, b ipfs.Budget) (Listing, error) {
	var out Listing
	err := Walk(ctx, g, c, b, func(e Entry) error {
		if e.Path == "" {
			out = Listing{CID: c, Kind: e.Kind, Size: e.Size, Target: e.Target}
			return nil
		}
		out.Entries = append(out.Entries, e)
		if e.Kind == Dir {
			return SkipDir
		}
		return nil
	})
	if err != nil {
		return Listing{}, err
	}
	slices.SortFunc(out.Entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Links returns the links of the directory c in byte order of their names, with
// all shards of a HAMT read and no entry read. The error is of kind E_UNIXFS
// when c is no directory.
func Links(ctx context.Context, g ipfs.Getter, c jobspec.CID, b ipfs.Budget) ([]Link, error) {
	var out []Link
	w := &walker{meter: newMeter(g, b)}
	n, err := w.first(ctx, c)
	if err == nil && n.kind != Dir {
		err = jobspec.KindUnixFS.Errorf("this is a %s, want a directory", n.kind)
	}
	if err == nil {
		err = w.push(dirFrame{top: n, n: n})
	}
	for err == nil && len(w.stack) > 0 {
		var l Link
		var ok bool
		if l, ok, err = w.next(ctx); ok {
			out = append(out, l)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", c, err)
	}
	slices.SortFunc(out, func(a, b Link) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
