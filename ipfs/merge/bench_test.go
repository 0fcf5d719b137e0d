package merge_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/ipdc/ipdc/ipfs/internal/dag/dagtest"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/jobspec"
)

// BenchmarkUnion unites ten directories of 10,000 entries each into one of
// 100,000.
func BenchmarkUnion(b *testing.B) {
	d := dagtest.New(b)
	leaf := d.Raw([]byte("leaf"))
	var roots []jobspec.CID
	for part := range 10 {
		var files []merge.File
		for i := range 10_000 {
			files = append(files, merge.File{Path: fmt.Sprintf("out/file-%06d", i*10+part), CID: leaf.CID, Size: 4})
		}
		root, err := merge.Files(context.Background(), d.Memory, files)
		if err != nil {
			b.Fatal(err)
		}
		roots = append(roots, root)
	}
	for b.Loop() {
		if _, err := merge.Union(context.Background(), d.Memory, roots); err != nil {
			b.Fatal(err)
		}
		d.Reset()
	}
}
