package tree_test

import (
	"errors"
	"testing"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag/dagtest"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// FuzzRead: whatever the blocks are, the budget holds, names are clean and
// stand once, sizes are real, and a refusal has a kind.
func FuzzRead(f *testing.F) {
	for _, s := range dagtest.Seeds() {
		f.Add(s)
	}
	budget := ipfs.Budget{Bytes: 1 << 16, Entries: 100, Levels: 8, DAGDepth: 8, Blocks: 1000}
	f.Fuzz(func(t *testing.T, code []byte) {
		b, root := dagtest.Program(t, code)
		b.Reset()
		entries, bytes, err := readAll(b, root.CID, budget)
		if err != nil && jobspec.AsFailure(err).Kind == jobspec.KindInternal {
			t.Errorf("Read = %v, want a kind", err)
		}
		// A name that stands twice in a HAMT is looked up once more.
		if n := len(b.Order()); n > 1000+16 || len(entries) > 101 || bytes > 1<<16 {
			t.Errorf("Read gave %d entries and %d bytes out of %d blocks", len(entries), bytes, n)
		}
		seen := map[string]bool{}
		declared := int64(0)
		for i, e := range entries {
			if seen[e.Path] {
				t.Errorf("%q stands twice", e.Path)
			}
			seen[e.Path] = true
			declared += e.Size
			if nameErr := tree.CheckName(e.Name); nameErr != nil && i > 0 {
				t.Error(nameErr)
			}
		}
		if err == nil && bytes != declared {
			t.Errorf("Read gave %d bytes, declared are %d", bytes, declared)
		}
		if _, err := tree.List(t.Context(), b, root.CID, ipfs.Budget{}); errors.Is(err, jobspec.KindInternal.Error()) {
			t.Errorf("List = %v", err)
		}
	})
}
