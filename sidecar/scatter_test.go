package sidecar_test

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// scatter makes a DAG of files and puts each leaf on the node that where names,
// and all that leads to the leaves, unpinned, on the last node. It returns the
// root and the CID of each file.
func (f *fleet) scatter(files map[string][]byte, where func(path string, leaf int) int) (jobspec.CID, map[string]jobspec.CID) {
	f.t.Helper()
	ctx, dir := f.t.Context(), f.t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			f.t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
	source, err := embedded.Open(ctx, embedded.Config{Dir: filepath.Join(f.t.TempDir(), "source")})
	if err != nil {
		f.t.Fatal(err)
	}
	defer source.Close()
	root, err := source.Add(ctx, "all", func(s ipfs.Session) (jobspec.CID, error) {
		r, err := pack.Tree(ctx, s, dir, pack.Options{})
		return r.CID, err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	leaves := make([][]merge.File, len(f.nodes))
	cids := map[string]jobspec.CID{}
	err = tree.Walk(ctx, source, root, ipfs.Budget{}, func(e tree.Entry) error {
		if e.Kind != tree.File {
			return nil
		}
		cids[e.Path] = e.CID
		leaf := 0
		_, err := tree.Leaves(ctx, source, e.CID, ipfs.Budget{}, 0, e.Size, func(l tree.Leaf) error {
			n := where(e.Path, leaf)
			f.data[l.CID] = true
			leaves[n] = append(leaves[n], merge.File{Path: fmt.Sprintf("%s.%d", e.Path, leaf), CID: l.CID, Size: l.Size})
			leaf++
			return nil
		})
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	for i, list := range leaves {
		slices.SortFunc(list, func(a, b merge.File) int { return strings.Compare(a.Path, b.Path) })
		f.put(f.nodes[i], source, list)
	}
	last := f.nodes[len(f.nodes)-1]
	var above []jobspec.CID
	var walk func(c jobspec.CID)
	walk = func(c jobspec.CID) {
		if c.Cid().Type() == cid.Raw {
			return
		}
		above = append(above, c)
		below, err := links(ctx, source, c)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, c := range below {
			walk(c)
		}
	}
	walk(root)
	f.put(last, source, nil, above...)
	return root, cids
}

// put stores files, pinned, and other blocks, which no pin holds.
func (f *fleet) put(b *bench, from ipfs.Getter, list []merge.File, loose ...jobspec.CID) {
	f.t.Helper()
	_, err := b.ipfs.Add(f.t.Context(), fmt.Sprintf("user/%d", len(loose)), func(s ipfs.Session) (jobspec.CID, error) {
		for _, c := range loose {
			data, err := from.Get(f.t.Context(), c)
			if err == nil {
				err = s.Put(f.t.Context(), c, data)
			}
			if err != nil {
				return c, err
			}
		}
		for _, l := range list {
			data, err := from.Get(f.t.Context(), l.CID)
			if err == nil {
				err = s.Put(f.t.Context(), l.CID, bytes.Clone(data))
			}
			if err != nil {
				return l.CID, err
			}
		}
		return merge.Files(f.t.Context(), s, list)
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// text is size bytes of lines that stand nowhere else.
func text(name string, size int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "line %06d of %s, made for a test of where things lie\n", i, name)
	}
	return b.Bytes()[:size]
}

// A HAMT directory and nested trees over three holders: each file is processed
// where it lies, no byte of one comes to a holder, and the result is that of a
// node alone.
func TestHAMTAndNestedTrees(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	files := map[string][]byte{}
	for i := range 910 {
		name := fmt.Sprintf("wide/%04d-%s", i, strings.Repeat("x", 247))
		files[name] = []byte(name)
	}
	for i := range 30 {
		name := fmt.Sprintf("deep/%d/%d/%d/file", i%2, i%5, i)
		files[name] = text(name, 3000)
	}
	root, cids := f.scatter(files, func(path string, _ int) int { return 1 + hashOf(path)%3 })
	owner := f.nodes[0]
	j := owner.final(owner.submit(f.itemsByCode(owner, root, cids)))
	if j.State != jobspec.JobSucceeded || j.Result != root {
		t.Fatalf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
	}
	if diff := cmp.Diff([]int{1, 2, 3}, f.workers(j)); diff != "" {
		t.Errorf("at work (-want +got):\n%s", diff)
	}
	for i, b := range f.nodes[1:] {
		if got := f.came[b]; got > 0 {
			t.Errorf("%d bytes came to holder %d", got, i+1)
		}
	}
}

func hashOf(s string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s))
	return int(h.Sum32() >> 1)
}

// Shards that nobody holds as such go where their leaves lie: those of whole
// files in nested directories, and pieces of one large file of which each
// holder has a part.
func TestShardsGoWhereTheirLeavesLie(t *testing.T) {
	t.Parallel()
	for name, split := range map[string]jobspec.Split{
		"size":  {By: jobspec.SplitSize, Size: 64 * jobspec.KiB},
		"lines": {By: jobspec.SplitLines, Size: 3 * jobspec.MiB},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 3)
			files := map[string][]byte{}
			if name == "lines" {
				files["large"] = text("large", 6<<20)
			} else {
				for i := range 40 {
					name := fmt.Sprintf("%d/nested/%02d", i/20, i)
					files[name] = text(name, 16<<10)
				}
			}
			root, _ := f.scatter(files, func(path string, leaf int) int {
				if path == "large" {
					return 1 + leaf/3
				}
				return 1 + int(path[0]-'0')
			})
			s := spec("DUMMY_WRITE=/outputs/done:x")
			s.Inputs, s.Split, s.Merge = []jobspec.Input{{CID: root.String()}}, split, jobspec.MergeUnion
			owner := f.nodes[0]
			p := owner.planned(s)
			largest := int64(0)
			for _, task := range p.Tasks {
				largest = max(largest, task.Bytes)
			}
			clear(f.came)
			j := owner.final(owner.submit(s))
			if j.State != jobspec.JobSucceeded {
				t.Fatalf("job is %s: %+v", j.State, j.Failure)
			}
			if diff := cmp.Diff([]int{1, 2}, f.workers(j)); diff != "" {
				t.Errorf("at work (-want +got):\n%s", diff)
			}
			// Only a shard that lies on both is moved in part, and pieces of the
			// leaves at borders of lines, which the owner has cut.
			for i, b := range f.nodes[1:] {
				if got := int64(f.came[b]); got > largest {
					t.Errorf("%d bytes came to holder %d, a shard has at most %d of %d", got, i+1, largest, p.Bytes)
				}
			}
			if name == "size" && f.came[owner] > 0 {
				t.Errorf("%d bytes of content came to the owner, who reads directories only", f.came[owner])
			}
		})
	}
}

// itemsByCode is perItem for more files than an environment has room for: the
// container's report lies in its code.
func (f *fleet) itemsByCode(at *bench, root jobspec.CID, files map[string]jobspec.CID) jobspec.Spec {
	f.t.Helper()
	var report strings.Builder
	for path := range files {
		fmt.Fprintf(&report, "{\"type\":\"item\",\"path\":%q,\"outputs\":[%q]}\n", path, path)
	}
	s := spec("DUMMY_COPY=/inputs:/outputs", "DUMMY_COPY_REPORT=/code/r:/ipdc/report/report.jsonl")
	var err error
	s.Run.Code, err = at.ipfs.Add(f.t.Context(), "user/code", func(w ipfs.Session) (jobspec.CID, error) {
		c, size, err := pack.File(f.t.Context(), w, strings.NewReader(report.String()))
		if err != nil {
			return c, err
		}
		return merge.Files(f.t.Context(), w, []merge.File{{Path: "r", CID: c, Size: size}})
	})
	if err != nil {
		f.t.Fatal(err)
	}
	s.Run.Per, s.Run.Feed = jobspec.PerItem, jobspec.FeedStdin
	s.Inputs = []jobspec.Input{{CID: root.String()}}
	s.Replicate = 1 // the result is a copy of the input, which is not to be handed on
	return s
}
