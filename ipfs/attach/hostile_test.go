package attach_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	carv2 "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/index"
	"github.com/multiformats/go-multihash"
	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/ipfs/attach"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func section(c jobspec.CID, data []byte) []byte {
	b := append(c.Cid().Bytes(), data...)
	return append(binary.AppendUvarint(nil, uint64(len(b))), b...)
}

// headOf returns the header of a CAR, which ends where the first section begins.
func headOf(data []byte) []byte {
	n, k := binary.Uvarint(data)
	return data[:k+int(n)]
}

// What is no whole and honest CAR is refused with the place, and leaves nothing.
func TestHostileFiles(t *testing.T) {
	s := newSector(t, "a", 3)
	head := headOf(s.car)
	data := []byte("some bytes")
	good := section(rawCID(t, data), data)
	identity := func(n int) []byte {
		h, err := multihash.Sum(make([]byte, n), multihash.IDENTITY, -1)
		if err != nil {
			t.Fatal(err)
		}
		return section(jobspec.WrapCID(cid.NewCidV1(cid.Raw, h)), make([]byte, n))
	}
	var v2 bytes.Buffer
	if err := carv2.WrapV1(bytes.NewReader(s.car), &v2); err != nil {
		t.Fatal(err)
	}
	long := slices.Clone(v2.Bytes())
	binary.LittleEndian.PutUint64(long[carv2.PragmaSize+16+8:], math.MaxInt64/2) // data that is longer than the file
	for name, c := range map[string]struct {
		data []byte
		kind jobspec.Kind
	}{
		"empty":               {nil, jobspec.KindCARFormat},
		"text":                {[]byte("this is no CAR"), jobspec.KindCARFormat},
		"huge header":         {binary.AppendUvarint(nil, 1<<40), jobspec.KindLimitBytes},
		"no roots":            {append([]byte{17}, "\xa2\x65roots\x80\x67version\x01"...), jobspec.KindCARRoots},
		"cut section":         {s.car[:len(s.car)-5], jobspec.KindCARFormat},
		"section past end":    {append(slices.Clone(s.car), binary.AppendUvarint(nil, 1<<20)...), jobspec.KindCARFormat},
		"huge section":        {append(slices.Clone(s.car), binary.AppendUvarint(nil, 1<<40)...), jobspec.KindLimitBytes},
		"length without end":  {append(slices.Clone(s.car), bytes.Repeat([]byte{0xff}, 11)...), jobspec.KindCARFormat},
		"length not minimal":  {append(slices.Clone(s.car), 0x81, 0x00), jobspec.KindCARFormat},
		"empty section":       {append(slices.Clone(s.car), 0), jobspec.KindCARFormat},
		"another block":       {append(slices.Clone(s.car), section(rawCID(t, data), []byte("other bytes"))...), jobspec.KindBlockHash},
		"long identity":       {append(slices.Clone(s.car), identity(129)...), jobspec.KindCIDHash},
		"data past end of v2": {long, jobspec.KindCARFormat},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.refuses(b.write("x.car", c.data), c.kind, "x.car")
			if left, err := os.ReadDir(filepath.Join(b.dir, "attached")); err != nil || len(left) != 0 || len(b.set.List()) != 0 {
				t.Errorf("%v is left, %v", left, err)
			}
		})
	}
	b := newBench(t)
	b.attach(b.write("fine.car", slices.Concat(s.car, good, good, identity(128), s.car[len(head):])))
	if f := b.only(); f.Blocks != int64(len(s.list))+1 || !f.Whole || f.InPlace {
		t.Errorf("repeated and foreign blocks: %+v, want %d blocks, whole, and not mounted itself", f, len(s.list)+1)
	}
}

// The index inside a CARv2 is never believed.
func TestIndexInsideIsNotTrusted(t *testing.T) {
	s := newSector(t, "a", 3)
	lies := index.NewMultihashSorted()
	if err := lies.Load([]index.Record{{Cid: s.list[0].Cid(), Offset: 1}}); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := carv2.WrapV1(bytes.NewReader(s.car), &buf); err != nil {
		t.Fatal(err)
	}
	h := carv2.NewHeader(uint64(len(s.car)))
	out := slices.Clone(buf.Bytes()[:h.IndexOffset])
	var idx bytes.Buffer
	if _, err := index.WriteTo(lies, &idx); err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	b.attach(b.write("a.car", append(out, idx.Bytes()...)))
	for _, c := range s.list {
		if _, err := b.node.Get(t.Context(), c); err != nil {
			t.Errorf("Get(%s) = %v", c, err)
		}
	}
}

// Only regular files are opened, and no open waits.
func TestOddPaths(t *testing.T) {
	b := newBench(t)
	s := newSector(t, "a", 2)
	path := b.write("a.car", s.car)
	link, fifo := path+".link.car", path+".fifo.car"
	if err := errors.Join(os.Symlink(path, link), unix.Mkfifo(fifo, 0o644)); err != nil {
		t.Fatal(err)
	}
	b.refuses(link, jobspec.KindSymlink, "symbolic link")
	b.refuses(fifo, jobspec.KindCARFormat, "no regular file")
	b.refuses("/dev/zero", jobspec.KindCARFormat, "no regular file")
	b.refuses("a.car", jobspec.KindSpec, "not absolute")
	b.refuses(filepath.Join(b.dir, "attached", "x.car"), jobspec.KindPolicy, "own directory")
	b.refuses(path+".none", jobspec.KindNotFound)
	b.refuses(t.TempDir(), jobspec.KindNotFound, "no regular file whose name ends in .car")
	linked := filepath.Join(b.dir, "linked")
	if err := os.Symlink(filepath.Dir(path), linked); err != nil {
		t.Fatal(err)
	}
	if out := b.attach(filepath.Join(linked, "..", "linked", "a.car")); out.Files[0].Path != path {
		t.Errorf("attached as %s, want %s", out.Files[0].Path, path)
	}
}

// A file that is written to while it is read is refused.
func TestWrittenMeanwhile(t *testing.T) {
	b := newBench(t)
	path := b.write("a.car", newSector(t, "a", 2).car)
	calls := 0
	set, err := attach.Open(t.Context(), attach.Config{Dir: filepath.Join(b.dir, "other"), Now: attach.Clock(func() {
		if calls++; calls == 1 { // it begins
			if err := os.Truncate(path, 10); err != nil {
				t.Error(err)
			}
		}
	})})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	if _, err := set.Attach(t.Context(), b.node, path, ""); err == nil || len(set.List()) != 0 {
		t.Errorf("Attach of a file that changed = %v, %v", err, set.List())
	}
}

// A million tiny blocks take a fixed amount of memory; with
// IPDC_TEST_ATTACH_BLOCKS=10000000 it is ten.
func TestManyTinyBlocks(t *testing.T) {
	n := 200_000
	if text := os.Getenv("IPDC_TEST_ATTACH_BLOCKS"); text != "" {
		if _, err := fmt.Sscan(text, &n); err != nil {
			t.Fatal(err)
		}
	}
	b := newBench(t)
	path := b.write("many.car", headOf(newSector(t, "a", 1).car))
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var buf []byte
	block := func(i int) []byte { return fmt.Appendf(nil, "%d", i) }
	for i := range n {
		if buf = append(buf, section(rawCID(t, block(i)), block(i))...); len(buf) > 1<<20 || i == n-1 {
			if _, err := f.Write(buf); err != nil {
				t.Fatal(err)
			}
			buf = buf[:0]
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b.attach(path)
	if got := b.only(); got.Blocks != int64(n) || got.Whole {
		t.Errorf("%+v, want %d blocks, and that its root is missing", got, n)
	}
	for i := 0; i < n; i += n / 100 {
		if data, err := b.node.Get(t.Context(), rawCID(t, block(i))); err != nil || !bytes.Equal(data, block(i)) {
			t.Fatalf("Get(block %d) = %q, %v", i, data, err)
		}
	}
}

const killEnv = "IPDC_TEST_ATTACH_KILL"

// verifyUntilKilled is the other process of TestKill: it indexes a file anew, for
// ever.
func verifyUntilKilled(dir string) error {
	ctx := context.Background()
	set, err := attach.Open(ctx, attach.Config{Dir: filepath.Join(dir, "attached")})
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		out, err := set.Verify(ctx, "")
		if err != nil || len(out.Refused) > 0 {
			return fmt.Errorf("verify: %v, %w", out.Refused, err)
		}
		fmt.Println("done", i)
		at := time.Unix(int64(i), 0) // it changed
		if err := os.Chtimes(filepath.Join(dir, "data", "a.car"), at, at); err != nil {
			return err
		}
	}
}

// A process that is killed leaves a file attached as it was or as it is, and no
// half of an index.
func TestKill(t *testing.T) {
	b := newBench(t)
	s := newSector(t, "a", 200)
	b.attach(b.write("a.car", s.car))
	for round := range 5 {
		b.close()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killEnv+"="+b.dir)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 5+40*round)); err != nil {
			t.Errorf("the other process said less than expected: %v", err)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		b.open()
		f := b.only()
		if f.State != wire.AttachedOK && f.State != wire.AttachedChanged || f.Roots[0] != s.root {
			t.Fatalf("round %d: %+v", round, f)
		}
		if _, err := b.set.Verify(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if _, err := b.node.Get(t.Context(), s.root); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if _, err := b.node.GC(t.Context()); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(filepath.Join(b.dir, "attached")); err != nil || len(left) != 2 {
			t.Errorf("round %d: %v is left, %v, want a record and an index", round, left, err)
		}
	}
}

// The sections that the scan finds are where go-car finds them.
func TestScanOffsets(t *testing.T) {
	s := newSector(t, "a", 5)
	idx, err := carv2.GenerateIndex(bytes.NewReader(s.car))
	if err != nil {
		t.Fatal(err)
	}
	_, err = car.Scan(t.Context(), bytes.NewReader(s.car), func(sec car.Section) error {
		want, err := index.GetFirst(idx, sec.CID.Cid())
		if err == nil && int64(want) != sec.Offset {
			err = fmt.Errorf("%s is at %d, go-car says %d", sec.CID, sec.Offset, want)
		}
		return err
	}, nil)
	if err != nil {
		t.Error(err)
	}
}
