package stage_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/ipdc/ipdc/ipfs/internal/dag/dagtest"
	"github.com/ipdc/ipdc/ipfs/stage"
)

func benchmark(b *testing.B, d *dagtest.Builder, root dagtest.Node) {
	dest := filepath.Join(tempDir(b), "dest")
	for b.Loop() {
		if _, err := stage.Dir(context.Background(), d, root.CID, dest, stage.Options{}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := stage.Remove(dest); err != nil {
			b.Fatal(err)
		}
		d.Reset()
		b.StartTimer()
	}
}

// BenchmarkDir1GiB writes one file of 1,024 blocks, each verified as it is read.
func BenchmarkDir1GiB(b *testing.B) {
	d := dagtest.New(b)
	block := make([]byte, 1<<20)
	parts := make([]dagtest.Node, 1024)
	for i := range parts {
		binary.BigEndian.PutUint64(block, uint64(i))
		parts[i] = d.Raw(block)
	}
	b.SetBytes(1 << 30)
	benchmark(b, d, d.Dir(d.File(parts...).As("file")))
}

// BenchmarkDir10000Files writes 10,000 files of 1 KiB in one HAMT directory.
func BenchmarkDir10000Files(b *testing.B) {
	d := dagtest.New(b)
	block := make([]byte, 1<<10)
	files := make([]dagtest.Node, 10_000)
	for i := range files {
		binary.BigEndian.PutUint64(block, uint64(i))
		files[i] = d.Raw(block).As(fmt.Sprintf("file-%06d", i))
	}
	benchmark(b, d, d.Honest(files...))
}
