package tree_test

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"testing"

	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag/dagtest"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// slotOf returns the slot of a name in a shard of the given fanout after used
// bits of its hash.
func slotOf(t testing.TB, name string, fanout, used int) int {
	lg2 := bits.TrailingZeros(uint(fanout))
	return int(dagtest.Hash(t, name) >> (64 - used - lg2) & uint64(fanout-1))
}

// shard builds a shard of width 16 whose links stand in the given slots.
func shard(b *dagtest.Builder, slots []int, links ...dagtest.Node) dagtest.Node {
	var field [2]byte
	for i, s := range slots {
		field[1-s/8] |= 1 << (s % 8)
		links[i].Name = fmt.Sprintf("%X", s) + links[i].Name
	}
	return b.PB(dagtest.UnixFS{Type: dagtest.TypeHAMT, Data: field[:], HashType: 0x22, Fanout: 16}, links...)
}

// inSlot returns a name whose first two slots of 16 are as asked for.
func inSlot(t testing.TB, first, second int) string {
	for i := range 100_000 {
		name := fmt.Sprintf("n%d", i)
		if slotOf(t, name, 16, 0) == first && slotOf(t, name, 16, 4) == second {
			return name
		}
	}
	t.Fatal("no such name")
	return ""
}

func TestHostileHAMT(t *testing.T) {
	refusal.Produces(t, jobspec.KindHAMT)
	raw := func(u dagtest.UnixFS, links ...string) func(*dagtest.Builder) dagtest.Node {
		return func(b *dagtest.Builder) dagtest.Node {
			u := u
			u.Type = dagtest.TypeHAMT
			var nodes []dagtest.Node
			for _, l := range links {
				nodes = append(nodes, b.Raw([]byte("x")).As(l))
			}
			return b.PB(u, nodes...)
		}
	}
	type u = dagtest.UnixFS
	a35, a36 := inSlot(t, 3, 5), inSlot(t, 3, 6)
	leaf := func(b *dagtest.Builder, name string) dagtest.Node { return b.Raw([]byte(name)).As(name) }
	runHostile(t, []hostile{
		{"control: empty", raw(u{HashType: 0x22, Fanout: 256}), ""},
		{"control: two levels", func(b *dagtest.Builder) dagtest.Node {
			return shard(b, []int{3}, shard(b, []int{5, 6}, leaf(b, a35), leaf(b, a36)).As(""))
		}, ""},
		{"C20 fanout 0", raw(u{HashType: 0x22}), jobspec.KindHAMT},
		{"C20 fanout 3", raw(u{HashType: 0x22, Fanout: 3}), jobspec.KindHAMT},
		{"C20 fanout 4", raw(u{HashType: 0x22, Fanout: 4}), jobspec.KindHAMT},
		{"C20 fanout 24", raw(u{HashType: 0x22, Fanout: 24}), jobspec.KindHAMT},
		{"C20 fanout 2048", raw(u{HashType: 0x22, Fanout: 2048}), jobspec.KindHAMT},
		{"C20 fanout 2^30", raw(u{HashType: 0x22, Fanout: 1 << 30}), jobspec.KindHAMT},
		{"C20 fanout 2^63", raw(u{HashType: 0x22, Fanout: 1 << 63}), jobspec.KindHAMT},
		{"C21 hash type", raw(u{HashType: 0x12, Fanout: 256}), jobspec.KindHAMT},
		{"C21 bitfield too long", raw(u{HashType: 0x22, Fanout: 8, Data: []byte{0, 0}}), jobspec.KindHAMT},
		{"C21 bit without link", raw(u{HashType: 0x22, Fanout: 8, Data: []byte{1}}), jobspec.KindHAMT},
		{"C21 link without bit", raw(u{HashType: 0x22, Fanout: 8}, "0a"), jobspec.KindHAMT},
		{"C21 link of another slot", raw(u{HashType: 0x22, Fanout: 8, Data: []byte{1}}, "1a"), jobspec.KindHAMT},
		{"C21 prefix too short", raw(u{HashType: 0x22, Fanout: 256, Data: []byte{1}}, "0"), jobspec.KindHAMT},
		{"C21 prefix in lower case", raw(u{HashType: 0x22, Fanout: 16, Data: []byte{8, 0}}, "bx"), jobspec.KindHAMT},
		{"C21 one slot twice", raw(u{HashType: 0x22, Fanout: 8, Data: []byte{3}}, "0a", "0b"), jobspec.KindHAMT},
		{"C21 file in place of a shard", func(b *dagtest.Builder) dagtest.Node {
			return shard(b, []int{3}, b.Raw([]byte("x")))
		}, jobspec.KindHAMT},
		{"C21 plain directory in place of a shard", func(b *dagtest.Builder) dagtest.Node {
			return shard(b, []int{3}, b.Dir())
		}, jobspec.KindHAMT},
		{"C21 shard of another fanout", func(b *dagtest.Builder) dagtest.Node {
			return shard(b, []int{3}, raw(u{HashType: 0x22, Fanout: 8})(b))
		}, jobspec.KindHAMT},
		{"C21 empty shard below another", func(b *dagtest.Builder) dagtest.Node {
			return shard(b, []int{3}, shard(b, nil))
		}, jobspec.KindHAMT},
		{"C21 the same shard everywhere", func(b *dagtest.Builder) dagtest.Node {
			all := []int{0, 1, 2, 3, 4, 5, 6, 7}
			n := shard(b, []int{5}, leaf(b, a35))
			for range 14 {
				n = shard(b, all, slices.Repeat([]dagtest.Node{n.As("")}, 8)...)
			}
			return n
		}, jobspec.KindHAMT},
		{"C21 deeper than the hash", func(b *dagtest.Builder) dagtest.Node {
			n := shard(b, []int{3}, leaf(b, a35))
			for range 17 {
				n = shard(b, []int{0}, n.As(""))
			}
			return n
		}, jobspec.KindHAMT},
		{"C21 name in a slot its hash does not lead to", func(b *dagtest.Builder) dagtest.Node {
			return shard(b, []int{4}, leaf(b, a35))
		}, jobspec.KindHAMT},
		{"C21 name in a wrong shard below", func(b *dagtest.Builder) dagtest.Node {
			return shard(b, []int{4}, shard(b, []int{5}, leaf(b, a35)).As(""))
		}, jobspec.KindHAMT},
		{"C08 duplicate names in one shard", func(b *dagtest.Builder) dagtest.Node {
			return shard(b, []int{3, 4}, leaf(b, a35), leaf(b, a35))
		}, jobspec.KindDupName},
		{"C08 duplicate names in two shards", func(b *dagtest.Builder) dagtest.Node {
			return shard(b, []int{3, 4}, shard(b, []int{5}, leaf(b, a35)).As(""), shard(b, []int{5}, leaf(b, a35)).As(""))
		}, jobspec.KindDupName},
		{"C01 traversal behind a slot prefix", raw(u{HashType: 0x22, Fanout: 8, Data: []byte{1}}, "0../../x"), jobspec.KindName},
	}, ipfs.Budget{Entries: 1000})
}

// big returns a directory of n files that is a HAMT, and their names.
func big(b *dagtest.Builder, n int) (dagtest.Node, []string) {
	var entries []dagtest.Node
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("file-%06d.txt", i))
		entries = append(entries, b.Raw(fmt.Appendf(nil, "content %d", i)).As(names[i]))
	}
	return b.Honest(entries...), names
}

func TestHAMTIsFlattened(t *testing.T) {
	ctx := context.Background()
	b := dagtest.New(t)
	root, names := big(b, 10_000)
	got, _, err := readAll(b, root.CID, ipfs.Budget{})
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range got[1:] {
		have = append(have, e.Path)
	}
	slices.Sort(have)
	if !slices.Equal(have, names) {
		t.Errorf("Read gave %d names, want %d", len(have), len(names))
	}
	links, err := tree.Links(ctx, b, root.CID, ipfs.Budget{})
	if err != nil || len(links) != len(names) || links[77].Name != names[77] {
		t.Errorf("Links = %d links, %v, want %d in order", len(links), err, len(names))
	}
	list, err := tree.List(ctx, b, root.CID, ipfs.Budget{})
	if err != nil || len(list.Entries) != len(names) || list.Entries[77].Name != names[77] || list.Entries[77].Size != 10 {
		t.Errorf("List = %d entries, %v, want %d in order", len(list.Entries), err, len(names))
	}
}

// TestResolveGoesStraight holds the number of blocks that a lookup among
// 10,000 names may read.
func TestResolveGoesStraight(t *testing.T) {
	ctx := context.Background()
	b := dagtest.New(t)
	inner, names := big(b, 10_000)
	root := b.Dir(inner.As("big"), b.Raw([]byte("x")).As("file"))
	for _, name := range names[:200] {
		b.Reset()
		c, err := tree.Resolve(ctx, b, root.CID, []string{"big", name})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(b.Order()); n > 5 {
			t.Errorf("Resolve(%s) read %d blocks, want at most 5", name, n)
		}
		if data, err := b.Get(ctx, c); err != nil || name != fmt.Sprintf("file-%06s.txt", data[len("content "):]) {
			t.Errorf("Resolve(%s) = %q, %v", name, data, err)
		}
	}
	for _, c := range []struct {
		path []string
		want jobspec.Kind
	}{
		{nil, ""},
		{[]string{"big", "nobody"}, jobspec.KindNotFound},
		{[]string{"nobody", "x"}, jobspec.KindNotFound},
		{[]string{"file", "x"}, jobspec.KindNotFound},
		{[]string{"big", ".."}, jobspec.KindName},
		{[]string{"big", ""}, jobspec.KindName},
		{make([]string, 65), jobspec.KindDepth},
	} {
		_, err := tree.Resolve(ctx, b, root.CID, c.path)
		if c.want == "" && err != nil || c.want != "" && !errors.Is(err, c.want.Error()) {
			t.Errorf("Resolve(%q) = %v, want %q", c.path, err, c.want)
		}
	}
}
