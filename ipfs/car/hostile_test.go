package car_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/ipfs/go-cid"
	carv2 "github.com/ipld/go-car/v2"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/jobspec"
)

// header encodes a CARv1 header whose roots are given as dag-cbor.
func header(roots ...[]byte) []byte {
	h := append([]byte{0xa2, 0x65}, "roots"...)
	h = append(h, 0x99, byte(len(roots)>>8), byte(len(roots)))
	for _, r := range roots {
		h = append(h, r...)
	}
	h = append(append(h, 0x67), "version"...)
	return sized(append(h, 1))
}

func link(c jobspec.CID) []byte {
	return append([]byte{0xd8, 42, 0x58, byte(1 + c.Cid().ByteLen()), 0}, c.Cid().Bytes()...)
}

func section(c jobspec.CID, data string) []byte {
	return sized(append(c.Cid().Bytes(), data...))
}

func sized(data []byte) []byte {
	return append(binary.AppendUvarint(nil, uint64(len(data))), data...)
}

func leafOf(data string) jobspec.CID { return sum(cid.Raw, multihash.SHA2_256, []byte(data)) }

func TestReadHostile(t *testing.T) {
	refusal.Produces(t, jobspec.KindBlockHash, jobspec.KindCARRoots, jobspec.KindCARFormat)
	a, b := leafOf("a"), leafOf("b")
	secA := section(a, "a")
	md5 := sum(cid.Raw, multihash.MD5, []byte("a"))
	inline := sum(cid.Raw, multihash.IDENTITY, []byte("inline"))
	tooLong := sum(cid.Raw, multihash.IDENTITY, make([]byte, 129))
	placeholder := sum(cid.Raw, multihash.IDENTITY, nil)
	many := make([][]byte, 10000)
	for i := range many {
		many[i] = link(a)
	}
	large := string(make([]byte, 2<<20+1))
	for _, tc := range []struct {
		name string
		car  []byte
		o    car.Options
		kind jobspec.Kind // "" when it is fine
	}{
		{"control", cat(header(link(a)), secA), car.Options{}, ""},
		{"C32 identity root", header(link(inline)), car.Options{}, ""},
		{"C32 identity root of 129 bytes", header(link(tooLong)), car.Options{}, jobspec.KindCIDHash},
		{"C33 root by md5", cat(header(link(md5)), section(md5, "a")), car.Options{}, jobspec.KindCIDHash},
		{"C33 block by md5", cat(header(link(a)), secA, section(md5, "a")), car.Options{}, jobspec.KindCIDHash},
		{"C35 block of other bytes", cat(header(link(a)), section(a, "x")), car.Options{}, jobspec.KindBlockHash},
		{"C39 no root", cat(header(), secA), car.Options{}, jobspec.KindCARRoots},
		{"C39 two roots", cat(header(link(a), link(b)), secA, section(b, "b")), car.Options{}, jobspec.KindCARRoots},
		{"C39 10,000 roots", cat(header(many...), secA), car.Options{}, jobspec.KindCARRoots},
		{"C39 root absent", cat(header(link(b)), secA), car.Options{}, jobspec.KindCARRoots},
		{"C39 root null", cat(header([]byte{0xf6}), secA), car.Options{}, jobspec.KindCARRoots},
		{"C39 root of no bytes", cat(header([]byte{0xd8, 42, 0x41, 0}), secA), car.Options{}, jobspec.KindCARRoots},
		{"C39 root a placeholder", cat(header(link(placeholder)), secA), car.Options{}, jobspec.KindCARRoots},
		{"C40 unrelated blocks", cat(header(link(a)), section(b, "b"), secA), car.Options{}, ""},
		{"C41 one block a thousand times", cat(header(link(a)), bytes.Repeat(secA, 1000)), car.Options{MaxBytes: 10000}, jobspec.KindLimitBytes},
		{"C41 within the limit", cat(header(link(a)), bytes.Repeat(secA, 1000)), car.Options{MaxBytes: 100000, MaxBlocks: 1000}, ""},
		{"C41 too many blocks", cat(header(link(a)), bytes.Repeat(secA, 1000)), car.Options{MaxBlocks: 999}, jobspec.KindLimit},
		{"root last", cat(header(link(b)), section(b, "b"), secA), car.Options{RootLast: true}, ""},
		{"root last of no blocks", header(), car.Options{RootLast: true}, jobspec.KindCARRoots},
		{"empty", nil, car.Options{}, jobspec.KindCARFormat},
		{"no CAR", []byte("PK\x03\x04 this is a zip file, not a CAR, and it goes on"), car.Options{}, jobspec.KindCARFormat},
		{"header of 2 EiB", []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0xa2}, car.Options{}, jobspec.KindLimitBytes},
		{"header over 1 MiB", sized(make([]byte, 1<<20+1)), car.Options{}, jobspec.KindLimitBytes},
		{"header is a list of 2^60", sized([]byte{0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0}), car.Options{}, jobspec.KindCARFormat},
		{"version 3", sized(bytes.Replace(header(link(a))[1:], []byte("version\x01"), []byte("version\x03"), 1)), car.Options{}, jobspec.KindCARFormat},
		{"section of 0 bytes", cat(header(link(a)), []byte{0}, secA), car.Options{}, jobspec.KindCARFormat},
		{"section of 1 GiB", cat(header(link(a)), []byte{0x80, 0x80, 0x80, 0x80, 4}), car.Options{}, jobspec.KindLimitBytes},
		{"length over 64 bits", cat(header(link(a)), bytes.Repeat([]byte{0xff}, 20)), car.Options{}, jobspec.KindCARFormat},
		{"section without CID", cat(header(link(a)), sized([]byte("no CID"))), car.Options{}, jobspec.KindCARFormat},
		{"block over 2 MiB", cat(header(link(leafOf(large))), section(leafOf(large), large)), car.Options{}, jobspec.KindLimitBytes},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newNode(t)
			_, err := importInto(t, n, tc.car, tc.o)
			if tc.kind == "" {
				if err != nil {
					t.Errorf("Read: %v", err)
				}
				return
			}
			wantKind(t, "Read", err, tc.kind)
			if pins, err := n.Pins(t.Context(), ""); err != nil || len(pins) > 0 {
				t.Errorf("pins after a refused CAR: %v, %v", pins, err)
			}
		})
	}
}

// TestC36Truncated cuts a CAR at each offset. Nothing is taken but a whole DAG:
// one whose repeated blocks were cut off, or with RootLast another root, which
// the client compares with its own.
func TestC36Truncated(t *testing.T) {
	s := newSample(t)
	n := newNode(t)
	for _, o := range []car.Options{{}, {RootLast: true}} {
		taken := 0
		for i := range s.car {
			root, err := importInto(t, n, s.car[:i], o)
			if err == nil {
				taken++
				if _, err := n.Verify(t.Context(), root); err != nil || !o.RootLast && root != s.root {
					t.Errorf("Read of %d of %d bytes took %s: %v", i, len(s.car), root, err)
				}
			} else {
				wantKind(t, fmt.Sprintf("Read of %d of %d bytes", i, len(s.car)), err,
					jobspec.KindCARFormat, jobspec.KindCARRoots, jobspec.KindFetchTimeout)
			}
			if err := n.Unpin(t.Context(), "upload"); err != nil {
				t.Fatal(err)
			}
			if _, err := n.GC(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if taken > len(s.walk) {
			t.Errorf("%d cuts were taken, but there are only %d between sections", taken, len(s.walk))
		}
	}
	for i := range s.car {
		if err := drain(t, car.NewSource(bytes.NewReader(s.car[:i])), s.walk); !errors.Is(err, jobspec.KindCARFormat.Error()) {
			t.Errorf("Source of %d of %d bytes: %v, want %s", i, len(s.car), err, jobspec.KindCARFormat)
		}
	}
	if _, err := importInto(t, n, s.car, car.Options{}); err != nil {
		t.Errorf("Read of the whole CAR: %v", err) // control
	}
}

func drain(t *testing.T, g ipfs.Getter, cids []jobspec.CID) error {
	for _, c := range cids {
		if _, err := g.Get(t.Context(), c); err != nil {
			return err
		}
	}
	return nil
}

func TestC35EachBitFlipped(t *testing.T) {
	s := newSample(t)
	for i := range s.car {
		for bit := range 8 {
			data := bytes.Clone(s.car)
			data[i] ^= 1 << bit
			mem := ipfstest.NewMemory()
			root, _, err := car.Read(t.Context(), bytes.NewReader(data), mem, car.Options{})
			if err != nil {
				continue
			}
			// What is taken is another CAR of blocks that hash to their CIDs.
			for _, c := range append(mem.Blocks(), root) {
				if _, err := mem.Get(t.Context(), c); err != nil {
					t.Errorf("byte %d, bit %d: block %s: %v", i, bit, c, err)
				}
			}
		}
	}
}

func TestC38CARv2Lies(t *testing.T) {
	s := newSample(t)
	v2 := func(offset, size, index uint64, tail []byte) []byte {
		h := append(bytes.Clone(carv2.Pragma), make([]byte, 16)...)
		h = binary.LittleEndian.AppendUint64(h, offset)
		h = binary.LittleEndian.AppendUint64(h, size)
		h = binary.LittleEndian.AppendUint64(h, index)
		return cat(h, s.car, tail)
	}
	size := uint64(len(s.car))
	garbage := bytes.Repeat([]byte{0xff}, 1000)
	for _, tc := range []struct {
		name string
		car  []byte
		bad  bool
	}{
		{"control", v2(51, size, 0, nil), false},
		{"index of garbage", v2(51, size, 51+size, garbage), false},
		{"index past the end", v2(51, size, 1<<40, nil), false},
		{"index over the data", v2(51, size, 60, garbage), false},
		{"data past the end", v2(1<<40, size, 0, nil), true},
		{"data before the header's end", v2(11, size, 0, nil), true},
		{"data at a negative offset", v2(1<<63, size, 0, nil), true},
		{"size past the end", v2(51, size+1, 0, nil), true},
		{"size huge", v2(51, 1<<62, 0, nil), true},
		{"size too small", v2(51, size-1, 0, nil), true},
		{"size zero", v2(51, 0, 0, nil), true},
		{"CARv2 in CARv2", cat(v2(51, size+51, 0, nil)[:51], v2(51, size, 0, nil)), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root, _, err := car.Read(t.Context(), bytes.NewReader(tc.car), ipfstest.NewMemory(), car.Options{})
			switch {
			case tc.bad:
				wantKind(t, "Read", err, jobspec.KindCARFormat)
			case err != nil || root != s.root:
				t.Errorf("Read = %s, %v, want %s", root, err, s.root)
			}
		})
	}
}

// TestDeclaredLengthsCostNothing: what a stream declares allocates at most a block.
func TestDeclaredLengthsCostNothing(t *testing.T) {
	data := cat(header(link(leafOf("a"))), binary.AppendUvarint(nil, 2<<20), []byte("x"))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := car.Read(t.Context(), bytes.NewReader(data), ipfstest.NewMemory(), car.Options{})
	runtime.ReadMemStats(&after)
	wantKind(t, "Read", err, jobspec.KindCARFormat)
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("Read of %d bytes allocated %d", len(data), n)
	}
}

func FuzzRead(f *testing.F) {
	s := newSample(f)
	f.Add(s.car, false)
	f.Add(s.car, true)
	f.Add(append(bytes.Clone(carv2.Pragma), make([]byte, 40)...), false)
	f.Fuzz(func(t *testing.T, data []byte, rootLast bool) {
		mem := ipfstest.NewMemory()
		root, _, err := car.Read(t.Context(), bytes.NewReader(data), mem, car.Options{RootLast: rootLast, MaxBytes: 1 << 20})
		if err == nil {
			if _, err := mem.Get(t.Context(), root); err != nil {
				t.Errorf("root of a CAR that was taken: %v", err)
			}
		}
	})
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
