package ipfstest

import (
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// gc collects the garbage; see Subject.Collect.
func gc(t *testing.T, s Subject) ipfs.Stat {
	t.Helper()
	st, err := s.Node.GC(t.Context())
	if err != nil {
		t.Fatalf("GC: %v", err)
	}
	if s.Collect != nil {
		s.Collect()
	}
	return st
}

// wantFreed checks what GC says that it removed: nothing, where it is not GC
// that removes it.
func wantFreed(t *testing.T, s Subject, when string, got, want ipfs.Stat) {
	t.Helper()
	if s.Collect != nil {
		want = ipfs.Stat{}
	}
	if got != want {
		t.Errorf("GC %s = %+v, want %+v", when, got, want)
	}
}

var pinTests = []subtest{
	{"Pin needs a whole DAG", func(t *testing.T, s Subject) {
		l := leaf("l")
		wantKind(t, "Pin", s.Node.Pin(t.Context(), "p", l.cid), jobspec.KindFetchTimeout)
		add(t, s.Node, "l", l)
		if err := s.Node.Pin(t.Context(), "p", l.cid); err != nil {
			t.Errorf("Pin of a stored leaf: %v", err)
		}
		wantPins(t, s.Node, "", "l", "p")
	}},
	{"a taken name moves", func(t *testing.T, s Subject) {
		a, b := leaf("a"), leaf("b")
		add(t, s.Node, "p", a)
		add(t, s.Node, "p", b)
		if pins := wantPins(t, s.Node, "", "p"); pins[0].Root != b.cid {
			t.Errorf("root after the second Add = %s, want %s", pins[0].Root, b.cid)
		}
		if err := s.Node.Pin(t.Context(), "p", a.cid); err != nil {
			t.Fatal(err)
		}
		if pins := wantPins(t, s.Node, "", "p"); pins[0].Root != a.cid {
			t.Errorf("root after Pin = %s, want %s", pins[0].Root, a.cid)
		}
		gc(t, s)
		if has(t, s.Node, b) || !has(t, s.Node, a) {
			t.Error("GC keeps the old root or took the new one")
		}
	}},
	{"Unpin", func(t *testing.T, s Subject) {
		add(t, s.Node, "p", leaf("a"))
		for range 2 { // the second finds no pin
			if err := s.Node.Unpin(t.Context(), "p"); err != nil {
				t.Errorf("Unpin: %v", err)
			}
		}
		wantPins(t, s.Reopen(), "")
	}},
	{"a root stays until its last name is gone", func(t *testing.T, s Subject) {
		l := leaf("l")
		mid := branch(l)
		add(t, s.Node, "a", branch(mid), mid, l)
		add(t, s.Node, "b", branch(mid)) // nothing but the root is put again
		if err := s.Node.Pin(t.Context(), "part", mid.cid); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			unpin     string
			root, mid bool // still there
		}{{"a", true, true}, {"b", false, true}, {"part", false, false}} {
			if err := s.Node.Unpin(t.Context(), step.unpin); err != nil {
				t.Fatal(err)
			}
			gc(t, s)
			if got := has(t, s.Node, branch(mid)); got != step.root {
				t.Errorf("after Unpin(%q) Has(root) = %t, want %t", step.unpin, got, step.root)
			}
			if has(t, s.Node, mid) != step.mid || has(t, s.Node, l) != step.mid {
				t.Errorf("after Unpin(%q) the part below the root: want stored = %t", step.unpin, step.mid)
			}
		}
	}},
	{"names of one root come and go at once", testNamesAtOnce},
	{"a pin needs a name", func(t *testing.T, s Subject) {
		l := leaf("l")
		if err := tryAdd(t, s.Node, "", l); err == nil {
			t.Error("Add without a name returned no error")
		}
		add(t, s.Node, "p", l)
		if err := s.Node.Pin(t.Context(), "", l.cid); err == nil {
			t.Error("Pin without a name returned no error")
		}
		wantPins(t, s.Node, "", "p")
	}},
	{"Pins by prefix and in order", func(t *testing.T, s Subject) {
		for _, name := range []string{"job/2", "job/1/result", "user/x", "job", "job/ü", "jobs"} {
			add(t, s.Node, name, leaf("same"))
		}
		wantPins(t, s.Node, "job/", "job/1/result", "job/2", "job/ü")
		wantPins(t, s.Node, "", "job", "job/1/result", "job/2", "job/ü", "jobs", "user/x")
		wantPins(t, s.Node, "%")
	}},
}

// testNamesAtOnce has one name stay while others of the same root are made and
// removed: none of that may take the root's blocks.
func testNamesAtOnce(t *testing.T, s Subject) {
	l := leaf("l")
	root := branch(l)
	add(t, s.Node, "stays", root, l)
	var workers errgroup.Group
	for w := range 4 {
		workers.Go(func() error {
			for range 8 {
				name := fmt.Sprint("w", w)
				if err := tryAdd(t, s.Node, name, root, l); err != nil {
					return err
				}
				if err := s.Node.Unpin(t.Context(), name); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := workers.Wait(); err != nil {
		t.Error(err)
	}
	wantPins(t, s.Node, "", "stays")
	gc(t, s)
	if _, err := s.Node.Verify(t.Context(), root.cid); err != nil {
		t.Error(err)
	}
}

var verifyTests = []subtest{
	{"it counts each block once", func(t *testing.T, s Subject) {
		l := leaf("l")
		mid := branch(l, l)
		add(t, s.Node, "p", branch(mid, mid, l), mid, l)
		st, err := s.Node.Verify(t.Context(), branch(mid, mid, l).cid)
		if want := (ipfs.Stat{Blocks: 3, Bytes: size(l, mid, branch(mid, mid, l))}); err != nil || st != want {
			t.Errorf("Verify = %+v, %v, want %+v", st, err, want)
		}
	}},
	{"V07 it finds blocks that are gone or damaged", func(t *testing.T, s Subject) {
		l := leaf("l")
		mid := branch(l)
		root := branch(mid)
		for _, b := range []block{root, mid, l} {
			add(t, s.Node, "p", root, mid, l)
			s.Flip(b.cid)
			_, err := s.Node.Verify(t.Context(), root.cid)
			wantKind(t, "Verify with a bit flipped", err, jobspec.KindBlockHash)
			s.Remove(b.cid)
			_, err = s.Node.Verify(t.Context(), root.cid)
			wantKind(t, "Verify with a block removed", err, jobspec.KindFetchTimeout)
		}
	}},
}

var gcTests = []subtest{
	{"it takes what no pin needs, and only that", testGC},
	{"it keeps what a running Add has put", func(t *testing.T, s Subject) {
		fresh, old := leaf("fresh"), leaf("old")
		add(t, s.Node, "p", old)
		if err := s.Node.Unpin(t.Context(), "p"); err != nil {
			t.Fatal(err)
		}
		root := branch(fresh, old)
		_, err := s.Node.Add(t.Context(), "p", func(w ipfs.Session) (jobspec.CID, error) {
			for _, b := range []block{old, fresh, root} { // old is stored, and garbage but for this Add
				if err := w.Put(t.Context(), b.cid, b.data); err != nil {
					return root.cid, err
				}
				gc(t, s)
			}
			return root.cid, nil
		})
		if err != nil {
			t.Fatalf("Add with GC in between: %v", err)
		}
		gc(t, s)
		if _, err := s.Node.Verify(t.Context(), root.cid); err != nil {
			t.Error(err)
		}
	}},
	{"it deletes nothing when a pin cannot be read", func(t *testing.T, s Subject) {
		l := leaf("l")
		mid := branch(l)
		add(t, s.Node, "p", branch(mid), mid, l)
		s.Remove(mid.cid)
		if _, err := s.Node.GC(t.Context()); s.Collect == nil {
			wantKind(t, "GC", err, jobspec.KindFetchTimeout)
		} else if err != nil {
			t.Errorf("GC, which removes nothing: %v", err)
		}
		if !has(t, s.Node, l) {
			t.Error("GC took a leaf below the part that is missing")
		}
	}},
	{"Adds, GCs and Unpins at once", testGCConcurrent},
	{"Stat follows Add and GC", func(t *testing.T, s Subject) {
		want := ipfs.Stat{}
		check := func(when string) {
			t.Helper()
			if st, err := s.Node.Stat(t.Context()); err != nil || st != want {
				t.Errorf("Stat %s = %+v, %v, want %+v", when, st, err, want)
			}
		}
		check("of an empty node")
		l := leaf("l")
		for range 2 {
			add(t, s.Node, "p", branch(l), l)
			want = ipfs.Stat{Blocks: 2, Bytes: size(l, branch(l))}
			check("after Add")
		}
		s.Node = s.Reopen()
		check("after reopening")
		if err := s.Node.Unpin(t.Context(), "p"); err != nil {
			t.Fatal(err)
		}
		wantFreed(t, s, "after Unpin", gc(t, s), want)
		want = ipfs.Stat{}
		check("after GC")
	}},
}

func testGC(t *testing.T, s Subject) {
	shared, own := leaf("shared"), leaf("own")
	var leaves []block
	for i := range 200 {
		leaves = append(leaves, leaf("leaf %d", i))
	}
	kept, dropped := branch(shared), cborBranch(append(leaves, shared, own)...)
	add(t, s.Node, "kept", kept, shared)
	add(t, s.Node, "dropped", dropped, append(leaves, own)...)
	wantFreed(t, s, "with everything pinned", gc(t, s), ipfs.Stat{})
	if err := s.Node.Unpin(t.Context(), "dropped"); err != nil {
		t.Fatal(err)
	}
	want := ipfs.Stat{Blocks: 202, Bytes: size(dropped, own) + size(leaves...)}
	wantFreed(t, s, "after Unpin", gc(t, s), want)
	if _, err := s.Node.Verify(t.Context(), kept.cid); err != nil {
		t.Errorf("Verify of the pinned DAG after GC: %v", err)
	}
	for _, b := range append(leaves, own, dropped) {
		if has(t, s.Node, b) {
			t.Fatalf("block %s outlived GC", b.cid)
		}
	}
}

func testGCConcurrent(t *testing.T, s Subject) {
	ctx := t.Context()
	shared := leaf("shared") // put, dropped and put again by all workers
	var workers, collector errgroup.Group
	done := make(chan struct{})
	collector.Go(func() error {
		for {
			select {
			case <-done:
				return nil
			default:
			}
			if _, err := s.Node.GC(ctx); err != nil {
				return err
			}
			if s.Collect != nil {
				s.Collect()
			}
		}
	})
	for w := range 4 {
		workers.Go(func() error {
			for i := range 15 {
				own := leaf("worker %d round %d", w, i)
				name, root := fmt.Sprintf("w/%d", w), branch(shared, own)
				if err := tryAdd(t, s.Node, name, root, shared, own); err != nil {
					return err
				}
				if _, err := s.Node.Verify(ctx, root.cid); err != nil {
					return err
				}
				if err := s.Node.Unpin(ctx, name); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := workers.Wait(); err != nil {
		t.Error(err)
	}
	close(done)
	if err := collector.Wait(); err != nil {
		t.Error(err)
	}
	gc(t, s)
	if has(t, s.Node, shared) {
		t.Error("the last GC left a block that nobody needs")
	}
}
