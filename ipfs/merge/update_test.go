package merge_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag/dagtest"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// entries of a model directory: names and the sizes of their files.
type model map[string]int

func (m model) root(t testing.TB, s ipfs.Session, leaves map[int]jobspec.CID) jobspec.CID {
	var files []merge.File
	for name, n := range m {
		files = append(files, merge.File{Path: name, CID: leaves[n], Size: int64(n)})
	}
	c, err := merge.Files(context.Background(), s, files)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func leavesOf(b *dagtest.Builder) map[int]jobspec.CID {
	out := map[int]jobspec.CID{}
	for n := 1; n < 4; n++ {
		out[n] = b.Raw([]byte(strings.Repeat("x", n))).CID
	}
	return out
}

// TestUpdateIsTheWhole changes directories on both sides of the size where a
// HAMT begins: each has the CID that its entries give at once, and the
// differences are those of the models.
func TestUpdateIsTheWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := dagtest.New(t)
		leaves := leavesOf(b)
		have := model{}
		// One entry takes 54 bytes or so: 256 KiB are reached at 4,854.
		for i := range rapid.SampledFrom([]int{0, 1, 2, 3, 10, 40, 100, 4840, 4870}).Draw(rt, "begin") {
			have[fmt.Sprintf("g%09d", i)] = 1 + i%3
		}
		root := have.root(t, b.Memory, leaves)
		for range rapid.IntRange(1, 3).Draw(rt, "steps") {
			next := maps.Clone(have)
			for range rapid.SampledFrom([]int{1, 5, 60}).Draw(rt, "changes") {
				name := fmt.Sprintf("g%09d", rapid.IntRange(0, len(have)+30).Draw(rt, "name"))
				if _, ok := next[name]; ok && rapid.Bool().Draw(rt, "remove") {
					delete(next, name)
				} else {
					next[name] = rapid.IntRange(1, 3).Draw(rt, "file")
				}
			}
			var changes []merge.Change
			var want []string
			for _, name := range slices.Sorted(maps.Keys(merged(have, next))) {
				if have[name] != next[name] {
					changes = append(changes, merge.Change{Name: name, CID: leaves[next[name]], Size: int64(next[name])})
					want = append(want, name)
				}
			}
			got, err := merge.Update(t.Context(), b.Memory, root, changes, true)
			if whole := next.root(t, b.Memory, leaves); err != nil || got.CID != whole {
				rt.Fatalf("Update(%d entries, %d changes) = %s, %v, want %s", len(have), len(changes), got.CID, err, whole)
			}
			if n := got.Added - got.Removed; n != len(next)-len(have) || got.Added+got.Removed+got.Replaced != len(want) {
				rt.Fatalf("Update counts %+v for %d changes from %d to %d entries", got, len(want), len(have), len(next))
			}
			list, err := tree.Diff(t.Context(), b, root, got.CID, ipfs.Budget{})
			var names []string
			for _, d := range list {
				names = append(names, d.Name)
				if d.Old.CID != leaves[have[d.Name]] || d.New.CID != leaves[next[d.Name]] {
					rt.Fatalf("Diff of %s = %+v, want %s to %s", d.Name, d, leaves[have[d.Name]], leaves[next[d.Name]])
				}
			}
			if err != nil || !slices.Equal(names, want) {
				rt.Fatalf("Diff = %v, %v, want %v", names, err, want)
			}
			have, root = next, got.CID
		}
	})
}

func merged(a, b model) model {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}

// puts counts the blocks that are written.
type puts struct {
	*ipfstest.Memory
	n int
}

func (p *puts) Put(ctx context.Context, c jobspec.CID, data []byte) error {
	p.n++
	return p.Memory.Put(ctx, c, data)
}

// An entry more in a large directory writes the shards on its way, and the
// difference is found by reading these.
func TestUpdateCostsTheChange(t *testing.T) {
	b := dagtest.New(t)
	leaves := leavesOf(b)
	const entries = 30_000
	files := make([]merge.File, entries)
	for i := range files {
		files[i] = merge.File{Path: fmt.Sprintf("entry-%06d", i), CID: leaves[1], Size: 1}
	}
	root, err := merge.Files(t.Context(), b.Memory, files)
	if err != nil {
		t.Fatal(err)
	}
	b.Reset()
	p := &puts{Memory: b.Memory}
	got, err := merge.Update(t.Context(), p, root, []merge.Change{{Name: "one more", CID: leaves[2], Size: 2}}, false)
	if err != nil || p.n > 8 || len(b.Order()) > 8 {
		t.Errorf("Update of %d entries = %+v, %v, with %d blocks read and %d written", entries, got, err, len(b.Order()), p.n)
	}
	b.Reset()
	list, err := tree.Diff(t.Context(), b, root, got.CID, ipfs.Budget{})
	if err != nil || len(list) != 1 || list[0].Name != "one more" || len(b.Order()) > 8 {
		t.Errorf("Diff = %+v, %v, with %d blocks read", list, err, len(b.Order()))
	}
	since, n, err := merge.Since(t.Context(), b.Memory, got.CID, root)
	if want := b.Honest(b.Raw([]byte("xx")).As("one more")).CID; err != nil || n != 1 || since != want {
		t.Errorf("Since = %s, %d, %v, want %s", since, n, err, want)
	}
}

func TestUpdateRefuses(t *testing.T) {
	b := dagtest.New(t)
	x, y := b.Raw([]byte("x")), b.Raw([]byte("yy"))
	root := build(t, b, "a=x", "b=x")
	wide := b.PB(dagtest.UnixFS{Type: dagtest.TypeHAMT, Fanout: 16, HashType: 0x22}).CID
	for _, c := range []struct {
		name    string
		root    jobspec.CID
		changes []merge.Change
		want    jobspec.Kind
		says    string
	}{
		{"there with other content", root, []merge.Change{{Name: "a", CID: y.CID}, {Name: "b", CID: y.CID}}, jobspec.KindConflict, `2 entries are there already with other content: "a", "b"`},
		{"not there", root, []merge.Change{{Name: "c"}}, jobspec.KindNotFound, `"c"`},
		{"C01 traversal", root, []merge.Change{{Name: "..", CID: x.CID}}, jobspec.KindName, ""},
		{"C03 a path", root, []merge.Change{{Name: "a/b", CID: x.CID}}, jobspec.KindName, ""},
		{"a file as root", x.CID, nil, jobspec.KindUnixFS, "want a directory"},
		{"another width", wide, nil, jobspec.KindHAMT, "fanout 16"},
	} {
		got, err := merge.Update(t.Context(), b.Memory, c.root, c.changes, false)
		if f := jobspec.AsFailure(err); !refusal.Is(t, err, c.want) || !strings.Contains(f.Detail, c.says) {
			t.Errorf("%s: Update = %+v, %v, want %s", c.name, got, err, c.want)
		}
	}
	same, err := merge.Update(t.Context(), b.Memory, root, []merge.Change{{Name: "a", CID: x.CID}}, false)
	if diff := cmp.Diff(merge.Updated{CID: root}, same, cmp.Comparer(func(a, b jobspec.CID) bool { return a == b })); err != nil || diff != "" {
		t.Errorf("Update with what is there: %v\n%s", err, diff)
	}
}
