package merge_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag/dagtest"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

func mustResolve(t testing.TB, b *dagtest.Builder, root jobspec.CID, path ...string) jobspec.CID {
	t.Helper()
	c, err := tree.Resolve(context.Background(), b, root, path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// randomFiles draws files of a tree, in which some directory may be a HAMT. No
// path is a file and a directory at once, as directories have other names.
func randomFiles(rt *rapid.T) []string {
	seen := map[string]bool{}
	var files []string
	add := func(path string) {
		if !seen[path] {
			seen[path] = true
			files = append(files, fmt.Sprintf("%s=%d", path, len(path)%5))
		}
	}
	for range rapid.IntRange(0, 40).Draw(rt, "files") {
		dirs := rapid.SliceOfN(rapid.SampledFrom([]string{"d1", "d2", "ü"}), 0, 4).Draw(rt, "dirs")
		add(strings.Join(append(dirs, rapid.StringMatching(`f[a-z0-9.]{1,6}`).Draw(rt, "name")), "/"))
	}
	if rapid.IntRange(0, 29).Draw(rt, "hamt") == 29 {
		for i := range rapid.IntRange(4800, 5200).Draw(rt, "entries") {
			add(fmt.Sprintf("d1/g%08d", i))
		}
	}
	return files
}

// TestUnionIsTheWhole cuts random trees into overlapping parts: their union is
// the tree, whatever the cut.
func TestUnionIsTheWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := dagtest.New(t)
		files := randomFiles(rt)
		parts := make([][]string, rapid.IntRange(1, 5).Draw(rt, "parts"))
		salt := rapid.IntRange(1, 1<<20).Draw(rt, "salt")
		for i, f := range files {
			k := (i*salt + i/7) % len(parts)
			parts[k] = append(parts[k], f)
			if i%11 == 0 {
				k = (k + 1) % len(parts)
				parts[k] = append(parts[k], f)
			}
		}
		var roots []jobspec.CID
		for _, p := range parts {
			roots = append(roots, build(t, b, p...))
		}
		want := build(t, b, files...)
		got, err := merge.Union(context.Background(), b.Memory, roots)
		if err != nil || got != want {
			rt.Fatalf("Union of %d parts = %s, %v, want %s", len(parts), got, err, want)
		}
		again, err := merge.Union(context.Background(), b.Memory, []jobspec.CID{got, roots[0]})
		if err != nil || again != want {
			rt.Fatalf("Union of the whole and a part = %s, %v, want %s", again, err, want)
		}
	})
}

// TestFilesIsTheInverseOfWalk takes a random tree apart and builds it again.
func TestFilesIsTheInverseOfWalk(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := dagtest.New(t)
		want := build(t, b, randomFiles(rt)...)
		var files []merge.File
		err := tree.Walk(context.Background(), b, want, ipfs.Budget{}, func(e tree.Entry) error {
			if e.Kind == tree.File {
				files = append(files, merge.File{Path: e.Path, CID: e.CID, Size: e.Size})
			}
			return nil
		})
		if err != nil {
			rt.Fatal(err)
		}
		slices.Reverse(files)
		if got, err := merge.Files(context.Background(), b.Memory, files); err != nil || got != want {
			rt.Fatalf("Files = %s, %v, want %s", got, err, want)
		}
	})
}
