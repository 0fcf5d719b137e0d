package merge_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/stage"
	"github.com/ipdc/ipdc/jobspec"
)

// write makes a file of size bytes, one byte over and over.
func write(t *testing.T, path string, fill, size int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte{byte(fill)}, size), 0o644); err != nil {
		t.Fatal(err)
	}
}

func packed(t *testing.T, s *ipfstest.Memory, dir string) jobspec.CID {
	t.Helper()
	r, err := pack.Tree(context.Background(), s, dir, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r.CID
}

// TestUnionIsWhatPackMakes writes trees with files of one and of several
// blocks and directories around the size where a HAMT begins, whole and in
// three parts. The union of the packed parts is the packed whole, and staging
// the union and packing it again gives it back.
func TestUnionIsWhatPackMakes(t *testing.T) {
	for seed, entries := range []int{0, 30, 6000} {
		t.Run(fmt.Sprintf("%d small files", entries), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(uint64(seed), 1))
			dir, s := t.TempDir(), ipfstest.NewMemory()
			put := func(name string, size int) {
				write(t, filepath.Join(dir, "whole", name), size, size)
				write(t, filepath.Join(dir, fmt.Sprintf("part%d", rnd.IntN(3)), name), size, size)
			}
			for i := range 3 {
				if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("part%d", i)), 0o755); err != nil {
					t.Fatal(err)
				}
				put(fmt.Sprintf("large/%d", i), 3<<20+i)
				put(fmt.Sprintf("a/b%d/c", i%2)+fmt.Sprint(i), rnd.IntN(100))
			}
			for i := range entries {
				put(fmt.Sprintf("many/entry-%06d.dat", i), i%50)
			}
			want := packed(t, s, filepath.Join(dir, "whole"))
			var parts []jobspec.CID
			for i := range 3 {
				parts = append(parts, packed(t, s, filepath.Join(dir, fmt.Sprintf("part%d", i))))
			}
			got, err := merge.Union(context.Background(), s, parts)
			if err != nil || got != want {
				t.Fatalf("Union = %s, %v, want %s", got, err, want)
			}
			out := filepath.Join(dir, "out")
			if _, err := stage.Dir(context.Background(), s, got, out, stage.Options{DirMode: 0o755}); err != nil {
				t.Fatal(err)
			}
			if again := packed(t, s, out); again != want {
				t.Errorf("staged and packed again it is %s, want %s", again, want)
			}
		})
	}
}
