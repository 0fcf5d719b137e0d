package merge

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// Change is what [Update] does with one entry of a directory.
type Change struct {
	Name string
	CID  jobspec.CID // undefined: the entry is removed
	Size int64       // of a raw block's content, as of [File]; 0 = not known
}

// Updated is what [Update] has made.
type Updated struct {
	CID                      jobspec.CID
	Added, Replaced, Removed int
}

// Update returns the directory root with its entries changed, which has the CID
// that packing all of it would give. It costs O(changes): the DAG below root is
// taken to be whole and kept, and what is not on the way to a change is not read.
// An entry that is there with another CID is replaced with replace only; else the
// error is of kind E_CONFLICT and names such entries. One that is to be removed
// and is not there is an error of kind E_NOT_FOUND.
func Update(ctx context.Context, s ipfs.Session, root jobspec.CID, changes []Change, replace bool) (Updated, error) {
	var done Updated
	u, err := dag.NewUpdate(ctx, s, root)
	if err != nil {
		return done, fmt.Errorf("update %s: %w", root, err)
	}
	var clash, gone names
	for _, c := range changes {
		if err := tree.CheckName(c.Name); err != nil {
			return done, err
		}
		old, there, err := u.Find(ctx, c.Name)
		switch {
		case err != nil:
		case !c.CID.Defined() && !there:
			gone.add(c.Name)
		case !c.CID.Defined():
			done.Removed++
			err = u.Remove(ctx, c.Name)
		case there && old.CID == c.CID:
		case there && !replace:
			clash.add(c.Name)
		default:
			if there {
				done.Replaced++
			} else {
				done.Added++
			}
			err = set(ctx, s, u, c)
		}
		if err != nil {
			return done, fmt.Errorf("entry %q: %w", c.Name, err)
		}
	}
	if err := refused(clash, gone); err != nil {
		return done, err
	}
	l, err := u.Write(ctx)
	if err != nil {
		return done, fmt.Errorf("update %s: %w", root, err)
	}
	done.CID = l.CID
	return done, nil
}

func set(ctx context.Context, s ipfs.Session, u *dag.Update, c Change) error {
	l, err := File{CID: c.CID, Size: c.Size}.link(ctx, s)
	if err != nil {
		return err
	}
	return u.Set(ctx, c.Name, l)
}

// names are some, of which a few are kept.
type names struct {
	count int
	list  []string
}

func (n *names) add(name string) {
	if n.count++; len(n.list) < maxListed {
		n.list = append(n.list, fmt.Sprintf("%.256q", name))
	}
}

func (n names) String() string {
	s := strings.Join(n.list, ", ")
	if more := n.count - len(n.list); more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// are is how many they are, as a sentence begins.
func (n names) are() string {
	if n.count == 1 {
		return "1 entry is"
	}
	return fmt.Sprintf("%d entries are", n.count)
}

func refused(clash, gone names) error {
	switch {
	case clash.count > 0:
		return jobspec.Failure{
			Kind: jobspec.KindConflict, Detail: fmt.Sprintf("%s there already with other content: %s", clash.are(), clash),
			Hint: "give other names, or replace them: --replace",
		}.Error()
	case gone.count > 0:
		return jobspec.KindNotFound.Errorf("to be removed, but not there: %s", gone)
	}
	return nil
}

// Since returns the directory of those entries of root that the directory before
// lacks, or has with another CID, and how many they are. It reads of both only
// where they differ.
func Since(ctx context.Context, s ipfs.Session, root, before jobspec.CID) (jobspec.CID, int, error) {
	list, err := tree.Diff(ctx, s, before, root, joined)
	if err != nil {
		return jobspec.CID{}, 0, err
	}
	list = slices.DeleteFunc(list, func(d tree.Difference) bool { return !d.New.CID.Defined() })
	dir := dag.NewDirectory(s)
	for _, d := range list {
		dir.Add(d.Name, dag.Link{CID: d.New.CID, Size: d.New.Tsize})
	}
	l, err := dir.Write(ctx)
	return l.CID, len(list), err
}
