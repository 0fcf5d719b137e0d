package attach

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ipfs/go-cid"
	carindex "github.com/ipld/go-car/v2/index"
	"github.com/multiformats/go-multihash"
)

// hashes makes multihashes of two functions and two lengths.
func hashes(t *testing.T, n int) []multihash.Multihash {
	t.Helper()
	var list []multihash.Multihash
	for i := range n {
		code, length := uint64(multihash.SHA2_256), -1
		switch i % 10 {
		case 3:
			code = multihash.BLAKE2B_MIN + 31
		case 7:
			length = 20
		}
		h, err := multihash.Sum(fmt.Appendf(nil, "block %d", i), code, length)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, h)
	}
	return list
}

func build(t *testing.T, size int, list []multihash.Multihash, more ...func(*sorter)) string {
	t.Helper()
	dir := t.TempDir()
	s := newSorter(dir)
	s.size = size
	defer s.close()
	for i, h := range list {
		d, err := multihash.Decode(h)
		if err == nil {
			err = s.add(d, int64(100*i))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range more {
		f(s)
	}
	path := filepath.Join(dir, "index")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := writeIndex(f, s); err != nil {
		t.Fatal(err)
	}
	return path
}

// The index is the one that go-car writes of the same blocks, byte by byte,
// whether it was sorted in memory or in many files; and each block is found.
func TestIndexIsGoCars(t *testing.T) {
	list := hashes(t, 5000)
	var records []carindex.Record
	for i, h := range list {
		records = append(records, carindex.Record{Cid: cid.NewCidV1(cid.Raw, h), Offset: uint64(100 * i)})
	}
	theirs := carindex.NewMultihashSorted()
	if err := theirs.Load(records); err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if _, err := carindex.WriteTo(theirs, &want); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"in memory": 1 << 20, "in files": 4 << 10} {
		path := build(t, size, list)
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s: %d bytes, other than go-car's %d", name, len(got), want.Len())
		}
		x, err := openIndex(path)
		if err != nil {
			t.Fatal(err)
		}
		seen := newBits(x.blocks)
		for i, h := range list {
			off, n, ok, err := x.find(h)
			if err != nil || !ok || off != int64(100*i) || !seen.set(n) {
				t.Fatalf("%s: find(block %d) = %d, %d, %v, %v, want byte %d and a number of its own", name, i, off, n, ok, err, 100*i)
			}
		}
		for i := range 100 {
			h, _ := multihash.Sum(fmt.Appendf(nil, "no block %d", i), multihash.SHA2_256, -1)
			if _, _, ok, err := x.find(h); ok || err != nil {
				t.Errorf("%s: a block that is not there was found, %v", name, err)
			}
		}
		if err := x.close(); err != nil {
			t.Error(err)
		}
	}
}

// Repeated blocks are one, at the first place; digests that begin alike are told
// apart.
func TestIndexOddities(t *testing.T) {
	list := hashes(t, 10)
	path := build(t, 1<<10, append(list, list...), func(s *sorter) {
		for i := range uint64(1000) {
			digest := binary.BigEndian.AppendUint64(make([]byte, 24), i)
			if err := s.add(&multihash.DecodedMultihash{Code: multihash.SHA2_256, Digest: digest}, int64(i)); err != nil {
				t.Fatal(err)
			}
		}
	})
	x, err := openIndex(path)
	if err != nil {
		t.Fatal(err)
	}
	defer x.close()
	if x.blocks != 1010 {
		t.Errorf("%d blocks, want 1010", x.blocks)
	}
	if off, _, ok, _ := x.find(list[4]); !ok || off != 400 {
		t.Errorf("a block that stands twice is at %d, %v, want 400", off, ok)
	}
	for i := range uint64(1000) {
		h, err := multihash.Encode(binary.BigEndian.AppendUint64(make([]byte, 24), i), multihash.SHA2_256)
		if err != nil {
			t.Fatal(err)
		}
		if off, _, ok, err := x.find(h); !ok || err != nil || off != int64(i) {
			t.Fatalf("find(%d) = %d, %v, %v", i, off, ok, err)
		}
	}
}

// An index that is damaged or cut is refused, or finds nothing that is there; it
// never takes more than its file.
func TestIndexDamage(t *testing.T) {
	path := build(t, 1<<20, hashes(t, 200))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	spoil := func(b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		x, err := openIndex(path)
		if err != nil {
			return
		}
		for _, h := range hashes(t, 20) {
			_, _, _, _ = x.find(h)
		}
		if err := x.close(); err != nil {
			t.Error(err)
		}
	}
	for i := range 64 {
		bad := bytes.Clone(data)
		bad[i] ^= 0xff
		spoil(bad)
	}
	for _, n := range []int{0, 1, 5, 40, len(data) - 1} {
		if err := os.WriteFile(path, data[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if x, err := openIndex(path); err == nil {
			t.Errorf("an index cut to %d bytes was opened with %d blocks", n, x.blocks)
		}
	}
}

// The memory that sorting takes does not grow with the number of blocks.
func TestSorterIsBounded(t *testing.T) {
	s := newSorter(t.TempDir())
	s.size = 64 << 10
	defer s.close()
	for i := range 200_000 {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		if err := s.add(&multihash.DecodedMultihash{Code: multihash.SHA2_256, Digest: sum[:]}, int64(i)); err != nil {
			t.Fatal(err)
		}
		if cap(s.buf) > 256<<10 || cap(s.at) > 64<<10 {
			t.Fatalf("%d bytes and %d places are in memory", cap(s.buf), cap(s.at))
		}
	}
	var n int
	var last entry
	err := s.each(func(e entry) error {
		if n++; bytes.Compare(last, e) >= 0 {
			return errors.New("not in order")
		}
		last = append(last[:0], e...)
		return nil
	})
	if err != nil || n != 200_000 {
		t.Errorf("%d entries, %v", n, err)
	}
}

func TestIdentityDiffers(t *testing.T) {
	id := identity{Size: 1, Mtime: 2, Inode: 3}
	for _, other := range []identity{{2, 2, 3}, {1, 3, 3}, {1, 2, 4}} {
		if id.differs(other) == "" {
			t.Errorf("%+v counts as %+v", other, id)
		}
	}
	if why := id.differs(id); why != "" {
		t.Errorf("a file differs from itself: %s", why)
	}
}
