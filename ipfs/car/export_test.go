package car_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipld/go-car/v2/blockstore"

	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/jobspec"
)

func TestWriteOnce(t *testing.T) {
	s := newSample(t)
	var buf bytes.Buffer
	stats, err := car.WriteOnce(t.Context(), &buf, s.mem, s.root)
	if err != nil || stats != (car.Stats{Blocks: 4, Bytes: int64(buf.Len())}) {
		t.Errorf("WriteOnce = %+v, %v, want 4 blocks and %d bytes", stats, err, buf.Len())
	}
	if diff := cmp.Diff(texts(s.walk[:4]), texts(sections(t, buf.Bytes()))); diff != "" {
		t.Errorf("blocks of the CAR, as go-car reads them (-want +got):\n%s", diff)
	}
	// A second writer that reads the first one's stream checks all of it.
	var again bytes.Buffer
	if _, err := car.WriteOnce(t.Context(), &again, car.NewSource(bytes.NewReader(buf.Bytes())), s.root); err != nil || !bytes.Equal(again.Bytes(), buf.Bytes()) {
		t.Errorf("copy by Source: %v, %d bytes, want the same %d", err, again.Len(), buf.Len())
	}
	cut := buf.Bytes()[:buf.Len()-2] // within the last block
	_, err = car.WriteOnce(t.Context(), &again, car.NewSource(bytes.NewReader(cut)), s.root)
	wantKind(t, "copy of a stream that was cut", err, jobspec.KindCARFormat)
	flipped := bytes.Clone(buf.Bytes())
	flipped[len(flipped)-1] ^= 1
	_, err = car.WriteOnce(t.Context(), &again, car.NewSource(bytes.NewReader(flipped)), s.root)
	wantKind(t, "copy of a stream with a flipped bit", err, jobspec.KindBlockHash)
}

func TestWriteV2(t *testing.T) {
	s := newSample(t)
	path := filepath.Join(t.TempDir(), "x.car")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	stats, err := car.WriteV2(t.Context(), f, s.mem, s.root)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if stats != (car.Stats{Blocks: 4, Bytes: int64(len(data))}) {
		t.Errorf("WriteV2 = %+v, want 4 blocks and %d bytes", stats, len(data))
	}
	mem := ipfstest.NewMemory()
	if root, got, err := car.Read(t.Context(), bytes.NewReader(data), mem, car.Options{}); err != nil || root != s.root || got.Blocks != 4 {
		t.Errorf("Read = %s, %+v, %v", root, got, err)
	}
	// go-car finds each block by the index in the file.
	bs, err := blockstore.OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer bs.Close()
	for _, c := range s.walk {
		want, err := s.mem.Get(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		blk, err := bs.Get(t.Context(), c.Cid())
		if err != nil || !bytes.Equal(blk.RawData(), want) {
			t.Errorf("block %s by the index: %v", c, err)
		}
	}
}

func TestReadRoots(t *testing.T) {
	s := newSample(t)
	other := putLeaf(t, s.mem, "other root")
	size, n := binary.Uvarint(s.car) // of its header
	body := cat(section(other, "other root"), s.car[n+int(size):])
	two := cat(header(link(s.root), link(other)), body)

	roots, stats, err := car.ReadRoots(t.Context(), bytes.NewReader(two), ipfstest.NewMemory(), car.Options{})
	if err != nil || stats.Blocks != 11 {
		t.Fatalf("ReadRoots = %+v, %v", stats, err)
	}
	want := texts([]jobspec.CID{s.root, other})
	if diff := cmp.Diff(want, texts(roots)); diff != "" {
		t.Errorf("roots (-want +got):\n%s", diff)
	}
	if roots, err := car.Roots(bytes.NewReader(two)); err != nil || cmp.Diff(want, texts(roots)) != "" {
		t.Errorf("Roots = %s, %v", roots, err)
	}
	_, _, err = car.Read(t.Context(), bytes.NewReader(two), ipfstest.NewMemory(), car.Options{})
	wantKind(t, "Read of two roots", err, jobspec.KindCARRoots)

	for name, roots := range map[string][][]byte{
		"none":            {},
		"an absent one":   {link(s.root), link(leafOf("absent"))},
		"one of no CID":   {link(s.root), {0x01}},
		"far too many":    manyLinks(1001, s.root),
		"the placeholder": {link(s.root), link(sum(0x55, 0, nil))},
	} {
		_, _, err := car.ReadRoots(t.Context(), bytes.NewReader(cat(header(roots...), body)), ipfstest.NewMemory(), car.Options{})
		wantKind(t, "roots: "+name, err, jobspec.KindCARRoots)
	}
}

func manyLinks(n int, c jobspec.CID) (list [][]byte) {
	for range n {
		list = append(list, link(c))
	}
	return list
}
