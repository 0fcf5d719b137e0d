package merge_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// treeOf packs texts by path.
func treeOf(t *testing.T, s ipfs.Session, files map[string]string) jobspec.CID {
	t.Helper()
	var list []merge.File
	for path, text := range files {
		c, n, err := pack.File(t.Context(), s, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, merge.File{Path: path, CID: c, Size: n})
	}
	root, err := merge.Files(t.Context(), s, list)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestPartitions(t *testing.T) {
	s := ipfstest.NewMemory()
	roots := []jobspec.CID{
		treeOf(t, s, map[string]string{"part-00000": "a0", "part-00002/x/y": "a2"}),
		treeOf(t, s, nil),
		treeOf(t, s, map[string]string{"part-00000": "c0"}),
	}
	parts, err := merge.Partitions(t.Context(), s, roots, 3)
	if err != nil {
		t.Fatal(err)
	}
	want := []map[string]string{
		{"part-00000": "dir", "part-00000/00000000": "a0", "part-00000/00000002": "c0"},
		{"part-00001": "dir"},
		{"part-00002": "dir", "part-00002/00000000": "dir", "part-00002/00000000/x": "dir", "part-00002/00000000/x/y": "a2"},
	}
	for j, p := range parts {
		got := map[string]string{}
		err := tree.Read(t.Context(), s, p.CID, ipfs.Budget{}, func(e tree.Entry, c *tree.Content) error {
			if e.Kind == tree.Dir && e.Path != "" {
				got[e.Path] = "dir"
			} else if e.Kind == tree.File {
				var b strings.Builder
				_, err := c.Copy(t.Context(), &b)
				got[e.Path] = b.String()
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[j], got); diff != "" {
			t.Errorf("partition %d (-want +got):\n%s", j, diff)
		}
	}
	if parts[0].Bytes != 4 || parts[1].Bytes != 0 || parts[2].Bytes < 2 {
		t.Errorf("sizes are %+v, want 4, 0 and at least 2", parts)
	}
}

// Many tasks give wide directories, which is what packing them would give.
func TestPartitionsOfManyTasks(t *testing.T) {
	s := ipfstest.NewMemory()
	one, all := treeOf(t, s, map[string]string{"part-00000": "x"}), map[string]string{}
	roots := make([]jobspec.CID, 9000)
	for i := range roots {
		roots[i], all[fmt.Sprintf("part-00000/%08d", i)] = one, "x"
	}
	parts, err := merge.Partitions(t.Context(), s, roots, 1)
	if err != nil {
		t.Fatal(err)
	}
	if want := treeOf(t, s, all); parts[0].CID != want {
		t.Errorf("the partition is %s, want %s", parts[0].CID, want)
	}
}

func TestPartitionsRefuseOtherNames(t *testing.T) {
	s := ipfstest.NewMemory()
	good := treeOf(t, s, map[string]string{"part-00001": "x"})
	for _, name := range []string{"part-00002", "part-1", "part-000001", "part--0001", "part-+0001", "Part-00001", "out.txt", "part-00001.txt"} {
		_, err := merge.Partitions(t.Context(), s, []jobspec.CID{good, treeOf(t, s, map[string]string{name: "x"})}, 2)
		f := jobspec.AsFailure(err)
		if !errors.Is(err, jobspec.KindOutputType.Error()) || f.Where != "task 1" || !strings.Contains(f.Detail, name) || !strings.Contains(f.Hint, "part-00001") {
			t.Errorf("Partitions with %s = %v (%s), want E_OUTPUT_TYPE of task 1", name, err, f.Hint)
		}
	}
	if _, err := merge.Partitions(t.Context(), s, []jobspec.CID{good, good}, 2); err != nil {
		t.Errorf("Partitions of good names = %v", err)
	}
}
