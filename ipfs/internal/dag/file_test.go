package dag_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/pack"
)

// whole are two leaves that an importer would cut.
var whole = [2][]byte{
	bytes.Repeat([]byte{0}, int(dag.Profile().ChunkSize)), bytes.Repeat([]byte{1}, int(dag.Profile().ChunkSize)),
}

// chunks are n chunks of the profile's size, of which every second one is
// another, so that the tree has several levels at little cost.
type chunks struct{ i, n, at int }

func (c *chunks) Read(p []byte) (int, error) {
	if c.i == c.n {
		return 0, io.EOF
	}
	k := copy(p, whole[c.i%2][c.at:])
	if c.at += k; c.at == int(dag.Profile().ChunkSize) {
		c.i, c.at = c.i+1, 0
	}
	return k, nil
}

// A file that is put together of the leaves of an importer is the importer's.
func TestFileIsThePackers(t *testing.T) {
	ctx := context.Background()
	width := dag.Profile().FileDAGWidth
	for _, n := range []int{0, 1, 2, width + 1} {
		s := ipfstest.NewMemory()
		want, size, err := pack.File(ctx, s, &chunks{n: n})
		if err != nil {
			t.Fatal(err)
		}
		f := dag.NewFile(s)
		var leaves [2]dag.Link
		for i := range leaves {
			if leaves[i], err = dag.Leaf(ctx, s, whole[i]); err != nil {
				t.Fatal(err)
			}
		}
		for i := range n {
			f.Add(leaves[i%2], int64(leaves[i%2].Size))
		}
		got, content, err := f.Write(ctx)
		if err != nil || got.CID != want || content != size {
			t.Errorf("Write of %d leaves = %s of %d bytes, %v, want %s of %d", n, got.CID, content, err, want, size)
		}
	}
}
