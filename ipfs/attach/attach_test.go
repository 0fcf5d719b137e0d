package attach_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	carv2 "github.com/ipld/go-car/v2"
	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/attach"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killEnv); dir != "" {
		fmt.Println("error:", verifyUntilKilled(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// bench is a node beside a set of attached files.
type bench struct {
	*testing.T
	dir  string
	set  *attach.Set
	node *embedded.Node
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, dir: t.TempDir()}
	b.open()
	t.Cleanup(b.close)
	return b
}

func (b *bench) open() {
	b.Helper()
	var err error
	if b.set, err = attach.Open(b.Context(), attach.Config{Dir: filepath.Join(b.dir, "attached"), Node: filepath.Join(b.dir, "attached")}); err != nil {
		b.Fatal(err)
	}
	if b.node, err = embedded.Open(b.Context(), embedded.Config{Dir: filepath.Join(b.dir, "ipfs"), Beside: b.set}); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) close() {
	if err := errors.Join(b.node.Close(), b.set.Close()); err != nil {
		b.Error(err)
	}
}

func (b *bench) restart() { b.close(); b.open() }

// sector is a DAG with some files, and a CAR of it.
type sector struct {
	mem  *ipfstest.Memory
	root jobspec.CID
	list []jobspec.CID // of all blocks
	car  []byte
}

func newSector(t *testing.T, name string, files int) sector {
	t.Helper()
	s := sector{mem: ipfstest.NewMemory()}
	var list []merge.File
	for i := range files {
		data := bytes.Repeat([]byte(fmt.Sprintf("%s %d ", name, i)), 2000)
		c := rawCID(t, data)
		if err := s.mem.Put(t.Context(), c, data); err != nil {
			t.Fatal(err)
		}
		list = append(list, merge.File{Path: fmt.Sprintf("d%d/f%d", i%3, i), CID: c, Size: int64(len(data))})
	}
	var err error
	if s.root, err = merge.Files(t.Context(), s.mem, list); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if _, err := car.WriteOnce(t.Context(), &buf, s.mem, s.root); err != nil {
		t.Fatal(err)
	}
	s.car, s.list = buf.Bytes(), s.mem.Blocks()
	return s
}

func rawCID(t *testing.T, data []byte) jobspec.CID {
	t.Helper()
	c, err := cid.V1Builder{Codec: cid.Raw, MhType: 0x12}.Sum(data)
	if err != nil {
		t.Fatal(err)
	}
	return jobspec.WrapCID(c)
}

func (b *bench) write(name string, data []byte) string {
	b.Helper()
	path := filepath.Join(b.dir, "data", name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
		b.Fatal(err)
	}
	return path
}

func (b *bench) attach(path string) wire.Attached {
	b.Helper()
	out, err := b.set.Attach(b.Context(), b.node, path, "")
	if err != nil {
		b.Fatalf("Attach(%s): %v", path, err)
	}
	return out
}

func (b *bench) refuses(path string, kind jobspec.Kind, words ...string) {
	b.Helper()
	_, err := b.set.Attach(b.Context(), b.node, path, "")
	if !errors.Is(err, kind.Error()) {
		b.Errorf("Attach(%s) = %v, want %s", path, err, kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			b.Errorf("Attach(%s) = %q, which does not say %q", path, err, w)
		}
	}
}

func (b *bench) only() wire.AttachedFile {
	b.Helper()
	list := b.set.List()
	if len(list) != 1 {
		b.Fatalf("%d files are listed, want 1: %+v", len(list), list)
	}
	return list[0]
}

// Blocks of both versions of CARs are read in place, count as stored, and are
// never copied, also after a restart.
func TestServesInPlace(t *testing.T) {
	s := newSector(t, "a", 20)
	var v2 bytes.Buffer
	if err := carv2.WrapV1(bytes.NewReader(s.car), &v2); err != nil {
		t.Fatal(err)
	}
	for version, data := range map[int][]byte{1: s.car, 2: v2.Bytes()} {
		t.Run(fmt.Sprint("v", version), func(t *testing.T) {
			b := newBench(t)
			path := b.write("a.car", data)
			out := b.attach(path)
			if f := b.only(); out.Root != s.root || f.State != wire.AttachedOK || f.Version != version || f.Blocks != int64(len(s.list)) || !f.Whole || !f.InPlace || f.Size != int64(len(data)) {
				t.Errorf("attached %+v with root %s, want %d blocks of %s", f, out.Root, len(s.list), s.root)
			}
			b.restart()
			for _, c := range s.list {
				want, _ := s.mem.Get(t.Context(), c)
				if got, err := b.node.Get(t.Context(), c); err != nil || !bytes.Equal(got, want) {
					t.Errorf("Get(%s) = %d bytes, %v, want %d", c, len(got), err, len(want))
				}
			}
			if err := b.node.Pin(t.Context(), "user/x", s.root); err != nil {
				t.Errorf("pin: %v", err)
			}
			if _, err := b.node.GC(t.Context()); err != nil {
				t.Errorf("gc: %v", err)
			}
			if st, err := b.node.Verify(t.Context(), s.root); err != nil || st.Blocks != int64(len(s.list)) {
				t.Errorf("Verify = %+v, %v, want %d blocks", st, err, len(s.list))
			}
			if st, err := b.node.Stat(t.Context()); err != nil || st.Blocks != 0 {
				t.Errorf("the node has %d blocks of its own, %v, want none", st.Blocks, err)
			}
			other := rawCID(t, []byte("elsewhere"))
			if ok, err := b.node.Has(t.Context(), other); ok || err != nil {
				t.Errorf("Has(a block that is nowhere) = %v, %v", ok, err)
			}
		})
	}
}

// A directory's files are attached by the same rules, and their roots joined.
// Links, and names that are hidden or others, are passed over.
func TestDirectory(t *testing.T) {
	b := newBench(t)
	one, two := newSector(t, "one", 3), newSector(t, "two", 4)
	b.write("d/one.car", one.car)
	b.write("d/sub/two.car", two.car)
	b.write("d/README", []byte("no CAR"))
	b.write("d/.part.car", []byte("half of one"))
	bad := b.write("d/bad.car", []byte("no CAR either"))
	outside := b.write("outside/three.car", newSector(t, "three", 1).car)
	dir := filepath.Join(b.dir, "data", "d")
	if err := errors.Join(os.Symlink(outside, filepath.Join(dir, "link.car")), os.Symlink(filepath.Dir(outside), filepath.Join(dir, "linked"))); err != nil {
		t.Fatal(err)
	}
	out := b.attach(dir)
	if len(out.Files) != 2 || len(out.Refused) != 1 || out.Refused[0].Path != bad || out.Refused[0].Failure.Kind == "" {
		t.Fatalf("attached %+v", out)
	}
	got := map[string]bool{}
	err := tree.Walk(t.Context(), b.node, out.Root, ipfs.Budget{}, func(e tree.Entry) error {
		got[e.Path] = true
		return nil
	})
	if err != nil || !got["one.car/d0/f0"] || !got["sub/two.car/d0/f3"] || slices.Contains(slices.Collect(maps.Keys(got)), "link.car") {
		t.Errorf("the root shows %v, %v", slices.Sorted(maps.Keys(got)), err)
	}
	if _, err := b.node.GC(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ok, _ := b.node.Has(t.Context(), out.Root); !ok {
		t.Error("the directory of roots went with a collection, and it is pinned")
	}
	before := b.set.List()
	three := newSector(t, "new", 2)
	b.write("d/new.car", three.car)
	if again := b.attach(dir); len(again.Files) != 3 || again.Root == out.Root || !again.Files[1].Verified.Equal(before[0].Verified) && !again.Files[1].Attached.Equal(before[0].Attached) {
		t.Errorf("attached again: %+v, want one more and the others as they were", again)
	}
	if gone, err := b.set.Detach(t.Context(), b.node, dir); err != nil || len(gone.Files) != 3 || len(b.set.List()) != 0 {
		t.Errorf("Detach = %+v, %v", gone, err)
	}
	if pins, err := b.node.Pins(t.Context(), "data/"); err != nil || len(pins) != 0 {
		t.Errorf("pins after detach: %v, %v", pins, err)
	}
}
