package merge

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// maxLevels is how deep directories are joined, as ipfs.Budget has it.
const maxLevels = 64

// joined bounds the reading of one directory of one root.
var joined = ipfs.Budget{Bytes: 1 << 62, Entries: 10_000_000}

// maxListed is how many clashes an error names.
const maxListed = 20

// Union joins directories recursively. A name that stands in one root only is
// linked as it is; the same name with the same CID is no clash; two
// directories of one name are joined. Anything else is a clash: the error is
// of kind E_DUP_NAME and lists the first 20 paths and the number of all, and
// nothing is the result. No roots give the empty directory. The order of roots
// does not matter. A root that is no directory is an error of kind E_UNIXFS.
func Union(ctx context.Context, s ipfs.Session, roots []jobspec.CID) (jobspec.CID, error) {
	u := union{s: s}
	l, err := u.dirs(ctx, "", unique(roots), 1)
	if err == nil {
		err = u.clashes()
	}
	if err != nil {
		return jobspec.CID{}, fmt.Errorf("union of %d directories: %w", len(roots), err)
	}
	return l.CID, nil
}

func unique(cs []jobspec.CID) []jobspec.CID {
	cs = slices.Clone(cs)
	slices.SortFunc(cs, func(a, b jobspec.CID) int { return strings.Compare(a.Cid().KeyString(), b.Cid().KeyString()) })
	return slices.Compact(cs)
}

type union struct {
	s      ipfs.Session
	listed []string
	count  int

	// same joins the files of one name; nil where they clash.
	same func(ctx context.Context, path string, files []tree.Link) (dag.Link, error)
	// ordered keeps links of one name in the order of their roots, also those
	// of one CID.
	ordered bool
}

// dirs joins directories that stand at the same path.
func (u *union) dirs(ctx context.Context, path string, dirs []jobspec.CID, level int) (dag.Link, error) {
	if level > maxLevels {
		return dag.Link{}, jobspec.KindDepth.Errorf("%.256q: over %d levels of directories", path, maxLevels)
	}
	links, err := u.links(ctx, dirs)
	if err != nil {
		return dag.Link{}, fmt.Errorf("%.256q: %w", path, err)
	}
	out := dag.NewDirectory(u.s)
	for len(links) > 0 {
		n := 1
		for n < len(links) && links[n].Name == links[0].Name {
			n++
		}
		l, err := u.entry(ctx, join(path, links[0].Name), links[:n], level)
		if err != nil {
			return dag.Link{}, err
		}
		out.Add(links[0].Name, l)
		links = links[n:]
	}
	if u.count > 0 {
		return dag.Link{}, nil
	}
	return out.Write(ctx)
}

// links returns the links of all directories, sorted by name; those of one
// name by CID and without repetitions, or in the order of the directories.
func (u *union) links(ctx context.Context, dirs []jobspec.CID) ([]tree.Link, error) {
	var all []tree.Link
	for _, d := range dirs {
		links, err := tree.Links(ctx, u.s, d, joined)
		if err != nil {
			return nil, err
		}
		all = append(all, links...)
	}
	if u.ordered {
		slices.SortStableFunc(all, func(a, b tree.Link) int { return strings.Compare(a.Name, b.Name) })
		return all, nil
	}
	slices.SortFunc(all, func(a, b tree.Link) int {
		return cmp.Or(
			strings.Compare(a.Name, b.Name),
			strings.Compare(a.CID.Cid().KeyString(), b.CID.Cid().KeyString()),
			cmp.Compare(a.Tsize, b.Tsize))
	})
	return slices.CompactFunc(all, func(a, b tree.Link) bool { return a.Name == b.Name && a.CID == b.CID }), nil
}

// entry joins the different nodes of one name.
func (u *union) entry(ctx context.Context, path string, links []tree.Link, level int) (dag.Link, error) {
	if len(links) == 1 {
		return dag.Link{CID: links[0].CID, Size: links[0].Tsize}, nil
	}
	var dirs []jobspec.CID
	var first tree.Kind
	for i, l := range links {
		kind, err := u.kind(ctx, l.CID)
		if err != nil {
			return dag.Link{}, fmt.Errorf("%.256q: %w", path, err)
		}
		if i == 0 {
			first = kind
		}
		if kind != first || kind == tree.File && u.same == nil || kind == tree.Symlink && l.CID != links[0].CID {
			u.clash(path)
			return dag.Link{}, nil
		}
		dirs = append(dirs, l.CID)
	}
	switch first {
	case tree.Dir:
		return u.dirs(ctx, path, dirs, level+1)
	case tree.File:
		return u.same(ctx, path, links)
	}
	return dag.Link{CID: links[0].CID, Size: links[0].Tsize}, nil
}

// kind reads the first block of a node, unless its CID says what it is.
func (u *union) kind(ctx context.Context, c jobspec.CID) (tree.Kind, error) {
	if c.Cid().Prefix().Codec == cid.Raw {
		return tree.File, nil
	}
	var kind tree.Kind
	err := tree.Walk(ctx, u.s, c, joined, func(e tree.Entry) error {
		kind = e.Kind
		return tree.SkipDir
	})
	return kind, err
}

func (u *union) clash(path string) {
	if u.count++; len(u.listed) < maxListed {
		u.listed = append(u.listed, path)
	}
}

func (u *union) clashes() error {
	if u.count == 0 {
		return nil
	}
	list := make([]string, len(u.listed))
	for i, p := range u.listed {
		list[i] = fmt.Sprintf("%.256q", p)
	}
	more := ""
	if n := u.count - len(list); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return jobspec.Failure{
		Kind:   jobspec.KindDupName,
		Detail: fmt.Sprintf("%d outputs clash: %s%s", u.count, strings.Join(list, ", "), more),
		Hint:   "merge by shards keeps each output in a folder of its own: `ipdc job merge JOB` does so without a run",
	}.Error()
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
