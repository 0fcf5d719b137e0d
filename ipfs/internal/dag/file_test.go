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

// leafOf is a leaf that an importer would cut.
func leafOf(i int) []byte {
	return bytes.Repeat([]byte{byte(i), byte(i >> 8)}, int(dag.Profile().ChunkSize)/2)
}

// chunks are n chunks of the profile's size, of which every second one is
// another, so that the tree has several levels at little cost.
type chunks struct{ i, n, at int }

func (c *chunks) Read(p []byte) (int, error) {
	if c.i == c.n {
		return 0, io.EOF
	}
	k := copy(p, leafOf(c.i % 2)[c.at:])
	if c.at += k; c.at == int(dag.Profile().ChunkSize) {
		c.i, c.at = c.i+1, 0
	}
	return k, nil
}

// A file that is put together of the leaves of an importer is the importer's.
func TestFileIsThePackers(t *testing.T) {
	ctx := context.Background()
	width := dag.Profile().FileDAGWidth
	for _, n := range []int{0, 1, 2, width, width + 1} {
		s := ipfstest.NewMemory()
		want, size, err := pack.File(ctx, s, &chunks{n: n})
		if err != nil {
			t.Fatal(err)
		}
		f := dag.NewFile(s)
		for i := range n {
			l, err := dag.Leaf(ctx, s, leafOf(i%2))
			if err != nil {
				t.Fatal(err)
			}
			f.Add(l, int64(l.Size))
		}
		got, content, err := f.Write(ctx)
		if err != nil || got.CID != want || content != size {
			t.Errorf("Write of %d leaves = %s of %d bytes, %v, want %s of %d", n, got.CID, content, err, want, size)
		}
	}
}
