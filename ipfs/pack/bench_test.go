package pack_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
)

// BenchmarkFile packs and hashes one file of 256 MiB; nothing is stored.
func BenchmarkFile(b *testing.B) {
	path := filepath.Join(b.TempDir(), "f")
	fill(b, path, 256<<20)
	b.SetBytes(256 << 20)
	for b.Loop() {
		if _, err := pack.Tree(b.Context(), car.NewWriter(io.Discard), path, pack.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSmallFiles packs 10,000 files of 1 KiB; nothing is stored.
func BenchmarkSmallFiles(b *testing.B) {
	dir := b.TempDir()
	for i := range 10000 {
		fill(b, filepath.Join(dir, fmt.Sprint(i)), 1<<10)
	}
	for b.Loop() {
		if _, err := pack.Tree(b.Context(), car.NewWriter(io.Discard), dir, pack.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAdd packs one file of 1 GiB into a fresh node, fsync included.
func BenchmarkAdd(b *testing.B) {
	path := filepath.Join(b.TempDir(), "f")
	fill(b, path, 1<<30)
	b.SetBytes(1 << 30)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		n, err := embedded.Open(b.Context(), embedded.Config{Dir: filepath.Join(b.TempDir(), fmt.Sprint(i))})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		_, err = n.Add(b.Context(), "p", func(s ipfs.Session) (jobspec.CID, error) {
			res, err := pack.Tree(b.Context(), s, path, pack.Options{})
			return res.CID, err
		})
		b.StopTimer()
		if err != nil {
			b.Fatal(err)
		}
		if err := n.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func fill(b *testing.B, path string, size int64) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(f, newKeystream(b, path), size); err != nil {
		b.Fatal(err)
	}
	if size > 1<<20 {
		if err := f.Sync(); err != nil { // else the disk is still busy with it
			b.Fatal(err)
		}
	}
}
