package sidecar_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
)

// Once a dataset's source is gone, members that pinned a third each by its path
// have all of it, its directories included.
func TestPinnedPartsKeepTheirDirectories(t *testing.T) {
	ctx := t.Context()
	f := newFleet(t, 5)
	source, reader := f.nodes[0], f.serve(4)
	holders := []*served{f.serve(1), f.serve(2), f.serve(3)}
	dir, name := t.TempDir(), func(i int) string { return fmt.Sprintf("data/%d/%02d.txt", i%3, i) }
	for i := range 30 {
		path := filepath.Join(dir, name(i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(fmt.Sprint("file ", i)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := source.ipfs.Add(ctx, "user/all", func(s ipfs.Session) (jobspec.CID, error) {
		r, err := pack.Tree(ctx, s, dir, pack.Options{})
		return r.CID, err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range holders {
		path := fmt.Sprintf("%s/data/%d", root, i)
		if p, err := h.Pin(ctx, path); err != nil || len(p.Paths) != 1 || p.Paths[0] != path {
			t.Fatalf("Pin(%s) = %+v, %v", path, p, err)
		}
	}
	if err := source.ipfs.Unpin(ctx, "user/all"); err != nil {
		t.Fatal(err)
	}
	collect := func() {
		for _, b := range f.nodes {
			if _, err := b.ipfs.GC(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	collect()
	for _, path := range []string{root.String(), root.String() + "/data", root.String() + "/data/2"} {
		if l, err := reader.List(ctx, path); err != nil || !l.Dir || len(l.Entries) == 0 {
			t.Errorf("List(%s) = %+v, %v", path, l, err)
		}
	}
	if err := reader.ipfs.Pin(ctx, "user/all", root); err != nil {
		t.Errorf("get of all of it = %v", err)
	}
	for i := range 30 {
		c, err := reader.Resolve(ctx, root.String()+"/"+name(i))
		if err != nil {
			t.Fatal(err)
		}
		if data, err := reader.ipfs.Get(ctx, c); err != nil || string(data) != fmt.Sprint("file ", i) {
			t.Errorf("%s = %q, %v", name(i), data, err)
		}
	}
	if err := reader.ipfs.Unpin(ctx, "user/all"); err != nil {
		t.Fatal(err)
	}
	for i, h := range holders {
		if st, err := h.ipfs.Stat(ctx); err != nil || st.Blocks != 14 {
			t.Errorf("a holder has %d blocks, %v, want 10 files, their directory, two on its way, and the list of these", st.Blocks, err)
		}
		// What is unpinned takes its way along.
		path := fmt.Sprintf("%s/data/%d", root, i)
		list, err := h.Pins(ctx, false)
		if err != nil || len(list) != 1 || len(list[0].Paths) != 1 || list[0].Paths[0] != path {
			t.Fatalf("Pins = %+v, %v", list, err)
		}
		if err := h.Unpin(ctx, list[0].CID); err != nil {
			t.Fatal(err)
		}
	}
	collect()
	for _, h := range holders {
		if st, err := h.ipfs.Stat(ctx); err != nil || st.Blocks != 0 {
			t.Errorf("%d blocks, %v are left at a holder without pins", st.Blocks, err)
		}
	}
	if _, err := reader.List(ctx, root.String()); err == nil {
		t.Error("the directories are still there, without a pin anywhere")
	}
}
