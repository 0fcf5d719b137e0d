package tree

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// Difference is a name that two directories do not have alike.
type Difference struct {
	Name     string
	Old, New Link // one of them may have no CID: the name is not there
}

// Diff returns the names that stand in one of two directories only, or with
// different CIDs, in byte order. Of two HAMTs of one fanout it reads the shards
// that differ, so that it costs O(differences); no entry is read. The error is of
// kind E_UNIXFS when one is no directory.
func Diff(ctx context.Context, g ipfs.Getter, before, after jobspec.CID, b ipfs.Budget) ([]Difference, error) {
	if before == after {
		return nil, nil
	}
	d := differ{meter: newMeter(g, b)}
	err := d.roots(ctx, before, after)
	if err != nil {
		return nil, fmt.Errorf("compare %s and %s: %w", before, after, err)
	}
	slices.SortFunc(d.out, func(a, b Difference) int { return cmp.Compare(a.Name, b.Name) })
	return d.out, nil
}

type differ struct {
	*meter
	out []Difference
}

func (d *differ) roots(ctx context.Context, before, after jobspec.CID) error {
	var n [2]node
	for i, c := range []jobspec.CID{before, after} {
		var err error
		if n[i], err = d.first(ctx, c); err != nil {
			return err
		}
		if n[i].kind != Dir {
			return jobspec.KindUnixFS.Errorf("%s is a %s, want a directory", c, n[i].kind)
		}
	}
	return d.nodes(ctx, n[0], n[1], position{}, 0)
}

// nodes compares two directories, or two shards of one position.
func (d *differ) nodes(ctx context.Context, a, b node, p position, depth int) error {
	if a.shard == nil || b.shard == nil || a.shard.fanout != b.shard.fanout {
		return d.lists(ctx, []member{{n: a, at: p}}, []member{{n: b, at: p}}, depth)
	}
	if err := d.addBlocks(len(a.links) + len(b.links)); err != nil {
		return err
	}
	for slot := range a.shard.fanout {
		l, inA := a.find(slot)
		r, inB := b.find(slot)
		if !inA && !inB || inA && inB && l.CID == r.CID && l.Name == r.Name {
			continue
		}
		at, err := a.shard.below(p, slot)
		if err != nil {
			return err
		}
		if err := d.slot(ctx, side{a, l, inA}, side{b, r, inB}, at, depth); err != nil {
			return err
		}
	}
	return nil
}

// side is a slot of one of two shards.
type side struct {
	in    node
	link  Link
	there bool
}

// shard says whether the slot holds a shard.
func (s side) shard() bool { return s.there && len(s.link.Name) == s.in.shard.width }

func (d *differ) slot(ctx context.Context, a, b side, at position, depth int) error {
	if depth == d.budget.DAGDepth {
		return jobspec.KindDepth.Errorf("HAMT has over %d levels", d.budget.DAGDepth)
	}
	left, err := d.member(ctx, a, at)
	if err != nil {
		return err
	}
	right, err := d.member(ctx, b, at)
	if err != nil {
		return err
	}
	if a.shard() && b.shard() {
		return d.nodes(ctx, left[0].n, right[0].n, at, depth+1)
	}
	return d.lists(ctx, left, right, depth+1)
}

// member is a part of a directory: one entry, or all of a node.
type member struct {
	entry *Link
	n     node
	at    position
}

func (d *differ) member(ctx context.Context, s side, at position) ([]member, error) {
	switch {
	case !s.there:
		return nil, nil
	case s.shard():
		n, err := d.subShard(ctx, s.in.shard, s.link.CID)
		return []member{{n: n, at: at}}, err
	}
	l := s.link
	l.Name = l.Name[s.in.shard.width:]
	return []member{{entry: &l, at: at}}, d.placed(l.Name, at)
}

func (d *differ) placed(name string, at position) error {
	if !at.holds(name) {
		return jobspec.KindHAMT.Errorf("the name %q stands in a shard its hash does not lead to", name)
	}
	return nil
}

// lists compares what is not alike in form.
func (d *differ) lists(ctx context.Context, a, b []member, depth int) error {
	olds, err := d.links(ctx, a, depth)
	if err != nil {
		return err
	}
	news, err := d.links(ctx, b, depth)
	if err != nil {
		return err
	}
	for name, l := range olds {
		if r := news[name]; r.CID != l.CID {
			d.out = append(d.out, Difference{Name: name, Old: l, New: r})
		}
	}
	for name, r := range news {
		if _, ok := olds[name]; !ok {
			d.out = append(d.out, Difference{Name: name, New: r})
		}
	}
	return nil
}

func (d *differ) links(ctx context.Context, parts []member, depth int) (map[string]Link, error) {
	out := map[string]Link{}
	for _, m := range parts {
		if m.entry != nil {
			out[m.entry.Name] = *m.entry
			continue
		}
		if err := d.collect(ctx, m.n, m.at, depth, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// collect adds all entries of a node. It calls itself at most Budget.DAGDepth deep.
func (d *differ) collect(ctx context.Context, n node, p position, depth int, out map[string]Link) error {
	if depth > d.budget.DAGDepth {
		return jobspec.KindDepth.Errorf("HAMT has over %d levels", d.budget.DAGDepth)
	}
	values := len(n.links)
	if n.shard != nil {
		values = n.shard.values(n.links)
	}
	if err := d.addEntries(values); err != nil {
		return err
	}
	if err := d.addBlocks(len(n.links)); err != nil {
		return err
	}
	for i, l := range n.links {
		if n.shard == nil {
			out[l.Name] = l
			continue
		}
		at, err := n.shard.below(p, n.shard.slots[i])
		if err != nil {
			return err
		}
		if len(l.Name) == n.shard.width {
			sub, err := d.subShard(ctx, n.shard, l.CID)
			if err == nil {
				err = d.collect(ctx, sub, at, depth+1, out)
			}
			if err != nil {
				return err
			}
			continue
		}
		l.Name = l.Name[n.shard.width:]
		if err := d.placed(l.Name, at); err != nil {
			return err
		}
		out[l.Name] = l
	}
	return nil
}
