package car_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	carv2 "github.com/ipld/go-car/v2"
	"github.com/multiformats/go-multihash"
	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/jobspec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sample is a small DAG with repeated and identity blocks, its blocks in the
// order of a depth-first walk, and the CAR of it.
type sample struct {
	mem  *ipfstest.Memory
	root jobspec.CID
	walk []jobspec.CID
	car  []byte
}

func newSample(t testing.TB) sample {
	t.Helper()
	s := sample{mem: ipfstest.NewMemory()}
	a, b := putLeaf(t, s.mem, "a"), putLeaf(t, s.mem, "b")
	inline := sum(cid.Raw, multihash.IDENTITY, []byte("inline"))
	mid := putNode(t, s.mem, a, inline, b, a)
	s.root = putNode(t, s.mem, mid, b, mid)
	s.walk = []jobspec.CID{s.root, mid, a, b, a, b, mid, a, b, a}
	s.car = writeCAR(t, s.mem, s.root)
	return s
}

func writeCAR(t testing.TB, g ipfs.Getter, root jobspec.CID) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := car.Write(t.Context(), &buf, g, root); err != nil {
		t.Fatalf("Write: %v", err)
	}
	return buf.Bytes()
}

func TestWrite(t *testing.T) {
	s := newSample(t)
	got := sections(t, s.car)
	if diff := cmp.Diff(texts(s.walk), texts(got)); diff != "" {
		t.Errorf("blocks of the CAR, as go-car reads them (-want +got):\n%s", diff)
	}
	s.mem.Lose(s.walk[3])
	err := car.Write(t.Context(), io.Discard, s.mem, s.root)
	wantKind(t, "Write of a DAG that is not whole", err, jobspec.KindFetchTimeout)
	s.mem.Lose(s.root)
	var buf bytes.Buffer
	err = car.Write(t.Context(), &buf, s.mem, s.root)
	wantKind(t, "Write of an absent root", err, jobspec.KindFetchTimeout)
	if buf.Len() > 0 {
		t.Errorf("Write of an absent root wrote %d bytes", buf.Len())
	}
}

func TestRead(t *testing.T) {
	s := newSample(t)
	var v2 bytes.Buffer
	if err := carv2.WrapV1(bytes.NewReader(s.car), &v2); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"v1": s.car, "v2 with index": v2.Bytes()} {
		mem := ipfstest.NewMemory()
		root, stats, err := car.Read(t.Context(), bytes.NewReader(data), mem, car.Options{MaxBytes: int64(len(data)), MaxBlocks: 10})
		if err != nil || root != s.root || stats.Blocks != 10 {
			t.Errorf("%s: Read = %s, %+v, %v, want %s", name, root, stats, err, s.root)
		}
		if diff := cmp.Diff(slices.Sorted(slices.Values(texts(s.mem.Blocks()))), slices.Sorted(slices.Values(texts(mem.Blocks())))); diff != "" {
			t.Errorf("%s: blocks (-want +got):\n%s", name, diff)
		}
	}
}

func TestSource(t *testing.T) {
	s := newSample(t)
	src := car.NewSource(bytes.NewReader(s.car))
	for i, c := range s.walk {
		want, _ := s.mem.Get(t.Context(), c)
		if got, err := src.Get(t.Context(), c); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("Get of block %d = %d bytes, %v", i, len(got), err)
		}
	}
	_, err := src.Get(t.Context(), s.root)
	wantKind(t, "Get after the end", err, jobspec.KindCARFormat)

	src = car.NewSource(bytes.NewReader(s.car))
	_, err = src.Get(t.Context(), s.walk[1])
	wantKind(t, "Get out of order", err, jobspec.KindCARFormat)
	_, err = src.Get(t.Context(), s.walk[1])
	wantKind(t, "Get after an error", err, jobspec.KindCARFormat)
}

func TestWriter(t *testing.T) {
	var buf bytes.Buffer
	w := car.NewWriter(&buf)
	leaf := putLeaf(t, w, "leaf")
	putLeaf(t, w, "leaf")
	big := putLeaf(t, w, string(make([]byte, 1<<20)))
	root := putNode(t, w, leaf, big)
	if _, err := w.Get(t.Context(), root); err != nil {
		t.Errorf("Get of a node that was put: %v", err)
	}
	_, err := w.Get(t.Context(), leaf)
	wantKind(t, "Get of a leaf that was put", err, jobspec.KindFetchTimeout)
	large := make([]byte, ipfs.MaxBlock+1)
	wantKind(t, "Put of a large block", w.Put(t.Context(), leafOf(string(large)), large), jobspec.KindLimitBytes)

	if diff := cmp.Diff(texts([]jobspec.CID{leaf, big, root}), texts(sections(t, buf.Bytes()))); diff != "" {
		t.Errorf("blocks of the stream (-want +got):\n%s", diff)
	}
	got, stats, err := car.Read(t.Context(), &buf, ipfstest.NewMemory(), car.Options{RootLast: true})
	if err != nil || got != root || stats.Blocks != 3 {
		t.Errorf("Read = %s, %+v, %v, want %s", got, stats, err, root)
	}
}

func TestWriterBoundsMemory(t *testing.T) {
	w := car.NewWriter(io.Discard)
	var first jobspec.CID
	for i := range 40 {
		nd := merkledag.NodeWithData(append(make([]byte, 2<<20-64), byte(i)))
		c := sum(cid.DagProtobuf, multihash.SHA2_256, nd.RawData())
		if err := w.Put(t.Context(), c, nd.RawData()); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = c
		} else if _, err := w.Get(t.Context(), c); err != nil {
			t.Errorf("Get of the newest node: %v", err)
		}
	}
	_, err := w.Get(t.Context(), first)
	wantKind(t, "Get of a node after 80 MiB of others", err, jobspec.KindFetchTimeout)
}

func TestWriterKeepsItsError(t *testing.T) {
	cause := errors.New("broken pipe")
	pr, pw := io.Pipe()
	pr.CloseWithError(cause)
	w := car.NewWriter(pw)
	data := []byte("x")
	for range 2 {
		if err := w.Put(t.Context(), sum(cid.Raw, multihash.SHA2_256, data), data); !errors.Is(err, cause) {
			t.Errorf("Put = %v, want %v", err, cause)
		}
	}
}

// importInto is what the API does with an upload.
func importInto(t testing.TB, n ipfs.Node, data []byte, o car.Options) (jobspec.CID, error) {
	t.Helper()
	return n.Add(t.Context(), "upload", func(s ipfs.Session) (jobspec.CID, error) {
		root, _, err := car.Read(t.Context(), bytes.NewReader(data), s, o)
		return root, err
	})
}

func newNode(t testing.TB) *embedded.Node {
	t.Helper()
	n, err := embedded.Open(t.Context(), embedded.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// sections lists the blocks of a CAR by go-car's reader.
func sections(t testing.TB, data []byte) (list []jobspec.CID) {
	t.Helper()
	br, err := carv2.NewBlockReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for {
		blk, err := br.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, jobspec.WrapCID(blk.Cid()))
	}
}

func putLeaf(t testing.TB, s ipfs.Session, data string) jobspec.CID {
	t.Helper()
	c := sum(cid.Raw, multihash.SHA2_256, []byte(data))
	put(t, s, c, []byte(data))
	return c
}

func putNode(t testing.TB, s ipfs.Session, links ...jobspec.CID) jobspec.CID {
	t.Helper()
	nd := merkledag.NodeWithData(nil)
	for i, l := range links {
		if err := nd.AddRawLink(fmt.Sprint(i), &ipld.Link{Name: fmt.Sprint(i), Cid: l.Cid()}); err != nil {
			t.Fatal(err)
		}
	}
	c := sum(cid.DagProtobuf, multihash.SHA2_256, nd.RawData())
	put(t, s, c, nd.RawData())
	return c
}

func put(t testing.TB, s ipfs.Session, c jobspec.CID, data []byte) {
	t.Helper()
	if err := s.Put(context.WithoutCancel(t.Context()), c, data); err != nil {
		t.Fatal(err)
	}
}

func sum(codec, hash uint64, data []byte) jobspec.CID {
	h, err := multihash.Sum(data, hash, -1)
	if err != nil {
		panic(err)
	}
	return jobspec.WrapCID(cid.NewCidV1(codec, h))
}

func texts(cids []jobspec.CID) (list []string) {
	for _, c := range cids {
		list = append(list, c.String())
	}
	return list
}

func wantKind(t testing.TB, what string, err error, kinds ...jobspec.Kind) {
	t.Helper()
	for _, k := range kinds {
		if refusal.Is(t, err, k) {
			return
		}
	}
	t.Errorf("%s: error %v, want kind %s", what, err, kinds)
}
