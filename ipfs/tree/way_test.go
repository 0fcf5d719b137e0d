package tree_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag/dagtest"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// A way has all blocks that list the directories on it, shards included, and
// no other; of a directory that is too large those that lead on.
func TestWay(t *testing.T) {
	b := dagtest.New(t)
	var files []merge.File
	for i := range 2000 {
		leaf := b.Raw([]byte(fmt.Sprint(i)))
		files = append(files, merge.File{Path: fmt.Sprintf("a/b/%04d%s", i, strings.Repeat("x", 200)), CID: leaf.CID, Size: 4})
	}
	root, err := merge.Files(t.Context(), b.Memory, files)
	if err != nil {
		t.Fatal(err)
	}
	path := strings.Split(files[7].Path, "/")
	inner, err := tree.Resolve(t.Context(), b.Memory, root, path[:2])
	if err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if _, err := tree.Links(t.Context(), b.Memory, inner, ipfs.Budget{}); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, c := range b.Order() {
		want[string(c.Cid().Hash())] = true
	}
	if len(want) < 10 {
		t.Fatalf("the directory has %d blocks: it is no HAMT", len(want))
	}
	for _, c := range []struct {
		name    string
		budget  ipfs.Budget
		atLeast int
		most    int
	}{
		{"all", ipfs.Budget{}, len(want) + 2, len(want) + 2},
		{"too large", ipfs.Budget{Entries: 100}, 4, len(want) / 2},
	} {
		got, way, err := tree.Way(t.Context(), b.Memory, root, path, c.budget)
		if err != nil || got != files[7].CID {
			t.Fatalf("%s: Way = %s, %v, want %s", c.name, got, err, files[7].CID)
		}
		for _, blk := range way {
			if blk.CID.Cid().Type() != cid.Raw || blk.CID.Cid().Hash().String() == got.Cid().Hash().String() {
				t.Errorf("%s: block %s is on the way", c.name, blk.CID)
			}
		}
		if len(way) < c.atLeast || len(way) > c.most {
			t.Errorf("%s: %d blocks, want %d to %d", c.name, len(way), c.atLeast, c.most)
		}
	}
	if got, way, err := tree.Way(t.Context(), b.Memory, root, nil, ipfs.Budget{}); got != root || len(way) != 0 || err != nil {
		t.Errorf("Way of no path = %s, %d blocks, %v", got, len(way), err)
	}
	_, _, err = tree.Way(t.Context(), b.Memory, root, []string{"a", "none"}, ipfs.Budget{})
	if f := jobspec.AsFailure(err); f.Kind != jobspec.KindNotFound {
		t.Errorf("Way to nothing = %v, want E_NOT_FOUND", err)
	}
}
