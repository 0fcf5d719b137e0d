package ipfstest

import (
	"context"
	"errors"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

var addTests = []subtest{
	{"it pins, and a reopened node still has it", testReopen},
	{"a failed fill leaves nothing pinned", func(t *testing.T, s Subject) {
		b, cause := leaf("x"), errors.New("cause")
		_, err := s.Node.Add(t.Context(), "p", func(w ipfs.Session) (jobspec.CID, error) {
			return b.cid, errors.Join(w.Put(t.Context(), b.cid, b.data), cause)
		})
		if !errors.Is(err, cause) {
			t.Errorf("Add = %v, want the error of fill", err)
		}
		wantPins(t, s.Node, "")
		gc(t, s)
		if has(t, s.Node, b) {
			t.Error("what a failed Add put is still there after GC")
		}
	}},
	{"an ended context leaves nothing pinned", func(t *testing.T, s Subject) {
		b := leaf("x")
		ctx, cancel := context.WithCancel(t.Context())
		_, err := s.Node.Add(ctx, "p", func(w ipfs.Session) (jobspec.CID, error) {
			err := w.Put(ctx, b.cid, b.data)
			cancel()
			return b.cid, err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Add = %v, want context.Canceled", err)
		}
		wantPins(t, s.Node, "")
	}},
	{"a panic of fill leaves nothing behind", func(t *testing.T, s Subject) {
		b := leaf("x")
		func() {
			defer func() { _ = recover() }()
			_, _ = s.Node.Add(t.Context(), "p", func(w ipfs.Session) (jobspec.CID, error) {
				if err := w.Put(t.Context(), b.cid, b.data); err != nil {
					t.Error(err)
				}
				panic("fill")
			})
		}()
		wantPins(t, s.Node, "")
		gc(t, s)
		if has(t, s.Node, b) {
			t.Error("the block is still there after GC")
		}
	}},
	{"V07 a DAG that is not whole is refused", testNotWhole},
	{"no root", func(t *testing.T, s Subject) {
		_, err := s.Node.Add(t.Context(), "p", func(ipfs.Session) (jobspec.CID, error) { return jobspec.CID{}, nil })
		wantKind(t, "Add", err, jobspec.KindCIDHash)
	}},
	{"C42 a codec whose links cannot be found is refused", func(t *testing.T, s Subject) {
		odd := hashed(0x78 /* git-raw */, multihash.SHA2_256, -1, []byte("blob 0"))
		wantKind(t, "Add", tryAdd(t, s.Node, "p", odd), jobspec.KindCodec)
		broken := hashed(cid.DagProtobuf, multihash.SHA2_256, -1, []byte("no dag-pb"))
		wantKind(t, "Add of broken dag-pb", tryAdd(t, s.Node, "p", broken), jobspec.KindCodec)
		nested := make([]byte, 1<<20)
		for i := range nested {
			nested[i] = 0x81 // a list of one list of one list ...
		}
		deep := hashed(cid.DagCBOR, multihash.SHA2_256, -1, nested)
		wantKind(t, "Add of nested CBOR", tryAdd(t, s.Node, "p", deep), jobspec.KindCodec)
		wantPins(t, s.Node, "")
	}},
	{"C40 unrelated blocks do no harm", func(t *testing.T, s Subject) {
		unrelated := branch(leaf("absent"))
		add(t, s.Node, "p", leaf("root"), unrelated, hashed(0x78, multihash.SHA2_256, -1, []byte("odd")))
		gc(t, s)
		if has(t, s.Node, unrelated) {
			t.Error("a block that the root does not reach outlived GC")
		}
	}},
	{"a damaged block is written again", func(t *testing.T, s Subject) {
		l := leaf("leaf")
		add(t, s.Node, "p", branch(l), l)
		s.Flip(l.cid)
		_, err := s.Node.Get(t.Context(), l.cid)
		wantKind(t, "Get of the damaged block", err, jobspec.KindBlockHash)
		add(t, s.Node, "p", branch(l), l)
		if _, err := s.Node.Verify(t.Context(), branch(l).cid); err != nil {
			t.Errorf("Verify after a second Add: %v", err)
		}
	}},
	{"a deep chain", func(t *testing.T, s Subject) {
		chain := []block{leaf("end")}
		for range 5000 {
			chain = append(chain, branch(chain[len(chain)-1]))
		}
		top := len(chain) - 1
		add(t, s.Node, "p", chain[top], chain[:top]...)
		add(t, s.Node, "q", branch(chain[top])) // walks all of it
	}},
}

func testReopen(t *testing.T, s Subject) {
	leaves := []block{leaf("a"), leaf("b")}
	root := branch(leaves...)
	add(t, s.Node, "user/x", root, leaves...)
	n := s.Reopen()
	pins := wantPins(t, n, "", "user/x")
	if pins[0].Root != root.cid || pins[0].Created.IsZero() {
		t.Errorf("pin = %+v, want root %s and a time", pins[0], root.cid)
	}
	st, err := n.Verify(t.Context(), root.cid)
	if want := (ipfs.Stat{Blocks: 3, Bytes: size(root) + size(leaves...)}); err != nil || st != want {
		t.Errorf("Verify = %+v, %v, want %+v", st, err, want)
	}
}

func testNotWhole(t *testing.T, s Subject) {
	a, b := leaf("a"), leaf("b")
	mid := branch(a, b)
	for _, tc := range []struct {
		name string
		root block
		more []block
	}{
		{"root absent", block{cid: leaf("other").cid}, nil},
		{"leaf absent", mid, []block{a}},
		{"branch absent", branch(mid), []block{a, b}},
		{"deep leaf absent", branch(mid), []block{mid, a}},
		{"cbor leaf absent", cborBranch(leaf("c")), nil},
		{"branch put as raw only", branch(mid), []block{{rawOf(mid), mid.data}, a}},
	} {
		gc(t, s) // the case before has left garbage
		_, err := s.Node.Add(t.Context(), "p", func(w ipfs.Session) (jobspec.CID, error) {
			for _, blk := range append(tc.more, tc.root) {
				if blk.data == nil {
					continue
				}
				if err := w.Put(t.Context(), blk.cid, blk.data); err != nil {
					return blk.cid, err
				}
			}
			return tc.root.cid, nil
		})
		wantKind(t, tc.name, err, jobspec.KindFetchTimeout)
	}
	wantPins(t, s.Node, "")
	add(t, s.Node, "b", b)                   // control: what was missing is stored by another Add
	add(t, s.Node, "p", branch(mid), mid, a) // and the DAG is whole with it
	add(t, s.Node, "cbor", cborBranch(mid))
}

func rawOf(b block) jobspec.CID { return jobspec.WrapCID(cid.NewCidV1(cid.Raw, b.cid.Cid().Hash())) }
