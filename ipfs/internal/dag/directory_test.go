package dag_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/jobspec"
)

// linked is a node of which only CID and size are known.
type linked struct {
	ipld.Node
	link dag.Link
}

func (n linked) Cid() cid.Cid          { return n.link.CID.Cid() }
func (n linked) Size() (uint64, error) { return n.link.Size, nil }

// quiet is a service that takes nodes without bytes.
type quiet struct{ ipld.DAGService }

func (q quiet) Add(ctx context.Context, nd ipld.Node) error {
	if _, ok := nd.(linked); ok {
		return nil
	}
	return q.DAGService.Add(ctx, nd)
}

// boxoDirectory is the reference: boxo's own dynamic directory.
func boxoDirectory(t *testing.T, names []string, link dag.Link) jobspec.CID {
	t.Helper()
	ctx := context.Background()
	svc := quiet{dag.Service(ipfstest.NewMemory())}
	dir, err := io.NewDirectory(svc, io.WithCidBuilder(dag.CidBuilder()),
		io.WithMaxHAMTFanout(dag.Profile().HAMTShardWidth), io.WithSizeEstimationMode(dag.Profile().HAMTSizeEstimation))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := dir.AddChild(ctx, name, linked{link: link}); err != nil {
			t.Fatal(err)
		}
	}
	nd, err := dir.GetNode()
	if err != nil {
		t.Fatal(err)
	}
	return jobspec.WrapCID(nd.Cid())
}

func TestDirectoryIsBoxos(t *testing.T) {
	leaf := merkledag.NewRawNode([]byte("leaf"))
	link := dag.Link{CID: jobspec.WrapCID(leaf.Cid()), Size: 4}
	hamts := 0
	// One entry takes 2+38+12+2 bytes; 256 KiB are reached at 4,854.6 entries.
	for _, n := range []int{0, 1, 2, 4853, 4854, 4855, 4856, 9000, 20_000} {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf("f%09d", i)
		}
		want := boxoDirectory(t, names, link)
		s := ipfstest.NewMemory()
		d := dag.NewDirectory(s)
		for _, i := range rand.Perm(n) {
			d.Add(names[i], link)
		}
		got, err := d.Write(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if got.CID != want {
			t.Errorf("Write(%d entries) = %s, want %s", n, got.CID, want)
		}
		if _, err := s.Get(context.Background(), got.CID); err != nil {
			t.Errorf("root of %d entries is not stored: %v", n, err)
		}
		if s.Len() > 1 {
			hamts++
		}
	}
	if hamts == 0 || hamts == 9 {
		t.Errorf("%d of 9 directories are HAMTs: the threshold was not crossed", hamts)
	}
}

func TestDirectoryRefusesTwoOfAName(t *testing.T) {
	link := dag.Link{CID: jobspec.WrapCID(merkledag.NewRawNode(nil).Cid())}
	d := dag.NewDirectory(ipfstest.NewMemory())
	d.Add("a", link)
	d.Add("a", link)
	if _, err := d.Write(context.Background()); !errors.Is(err, jobspec.KindDupName.Error()) {
		t.Fatalf("Write = %v, want E_DUP_NAME", err)
	}
}
