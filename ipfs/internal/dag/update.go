package dag

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/hamt"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/link"
	"github.com/ipdc/ipdc/jobspec"
)

// Update is a directory that stands already, as [Directory] writes it, and is
// changed entry by entry: of a HAMT it reads and writes the shards on the way to
// what is changed and no others.
type Update struct {
	s     ipfs.Session
	plain map[string]*ipld.Link // nil for a HAMT
	shard *hamt.Shard
	less  bool // something was removed or replaced, so that it may fit a plain node now
}

// NewUpdate reads the root block of a directory. What it links to is vouched
// for: see ipfs.Voucher.
func NewUpdate(ctx context.Context, s ipfs.Session, root jobspec.CID) (*Update, error) {
	s = vouching(s)
	nd, err := Service(s).Get(ctx, root.Cid())
	if err != nil {
		return nil, err
	}
	pb, ok := nd.(*merkledag.ProtoNode)
	if !ok {
		return nil, jobspec.KindUnixFS.Errorf("%s is a file, want a directory", root)
	}
	fs, err := unixfs.FSNodeFromBytes(pb.Data())
	if err != nil {
		return nil, jobspec.KindUnixFS.Errorf("block %s: %v", root, err)
	}
	u := &Update{s: s}
	switch fs.Type() {
	case unixfs.TDirectory:
		u.plain = map[string]*ipld.Link{}
		for _, l := range pb.Links() {
			u.plain[l.Name] = l
		}
		return u, nil
	case unixfs.THAMTShard:
		if fs.Fanout() != hamtWidth {
			return nil, jobspec.KindHAMT.Errorf("shard %s has fanout %d, want %d", root, fs.Fanout(), hamtWidth)
		}
		if u.shard, err = hamt.NewHamtFromDag(Service(s), pb); err != nil {
			return nil, jobspec.KindHAMT.Errorf("shard %s: %v", root, err)
		}
		u.shard.SetCidBuilder(CidBuilder())
		return u, nil
	}
	return nil, jobspec.KindUnixFS.Errorf("%s is no directory", root)
}

// Find returns the entry of a name, or false.
func (u *Update) Find(ctx context.Context, name string) (Link, bool, error) {
	l, ok := u.plain[name]
	if u.plain == nil {
		var err error
		l, err = u.shard.Find(ctx, name)
		if ok = err == nil; err != nil && !errors.Is(err, os.ErrNotExist) {
			return Link{}, false, fmt.Errorf("look up %q: %w", name, err)
		}
	}
	if !ok {
		return Link{}, false, nil
	}
	return Link{CID: jobspec.WrapCID(l.Cid), Size: l.Size}, true, nil
}

// Set adds an entry, or puts l in the place of the one of that name. The name
// has passed tree.CheckName.
func (u *Update) Set(ctx context.Context, name string, l Link) error {
	link := &ipld.Link{Name: name, Size: l.Size, Cid: l.CID.Cid()}
	if u.plain != nil {
		u.plain[name] = link
		return nil
	}
	_, had, err := u.Find(ctx, name)
	if err == nil {
		u.less = u.less || had
		err = u.shard.SetLink(ctx, name, link)
	}
	if err != nil {
		return fmt.Errorf("set %q: %w", name, err)
	}
	return nil
}

// Remove takes out an entry that is there.
func (u *Update) Remove(ctx context.Context, name string) error {
	if u.plain != nil {
		delete(u.plain, name)
		return nil
	}
	u.less = true
	if err := u.shard.Remove(ctx, name); err != nil {
		return fmt.Errorf("remove %q: %w", name, err)
	}
	return nil
}

// Write stores what has changed and returns the link to the root: the one that
// [Directory] gives for the same entries.
func (u *Update) Write(ctx context.Context) (Link, error) {
	if u.plain == nil && u.less {
		if err := u.shrink(ctx); err != nil {
			return Link{}, err
		}
	}
	if u.plain == nil {
		nd, err := u.shard.Node()
		if err != nil {
			return Link{}, fmt.Errorf("write HAMT: %w", err)
		}
		return linkTo(nd)
	}
	d := NewDirectory(u.s)
	for name, l := range u.plain {
		d.Add(name, Link{CID: jobspec.WrapCID(l.Cid), Size: l.Size})
	}
	return d.Write(ctx)
}

// errLarge ends the reading of a directory that stays a HAMT.
var errLarge = errors.New("too large for one block")

// shrink makes the directory a plain one when its names and CIDs could fit a
// block: Directory decides. It reads no more entries than that.
func (u *Update) shrink(ctx context.Context) error {
	all, bytes := map[string]*ipld.Link{}, 0
	err := u.shard.ForEachLink(ctx, func(l *ipld.Link) error {
		if bytes += len(l.Name) + l.Cid.ByteLen(); bytes > Profile().HAMTShardingSize {
			return errLarge
		}
		all[l.Name] = &ipld.Link{Name: l.Name, Size: l.Size, Cid: l.Cid}
		return nil
	})
	switch {
	case errors.Is(err, errLarge):
		return nil
	case err != nil:
		return fmt.Errorf("read HAMT: %w", err)
	}
	u.plain = all
	return nil
}

// vouching returns a session that vouches for the links of each block that it
// gives: they are of a DAG that is kept as a whole.
func vouching(s ipfs.Session) ipfs.Session {
	if v, ok := s.(ipfs.Voucher); ok {
		return vouched{s, v}
	}
	return s
}

type vouched struct {
	ipfs.Session
	v ipfs.Voucher
}

func (s vouched) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	data, err := s.Session.Get(ctx, c)
	if err != nil {
		return nil, err
	}
	links, err := link.Of(c, data)
	for _, l := range links {
		s.v.Vouch(l)
	}
	return data, err
}
