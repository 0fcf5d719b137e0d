package pack_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dropLeaves keeps no raw block, so that a large file needs no memory.
type dropLeaves struct{ *ipfstest.Memory }

func (d dropLeaves) Put(ctx context.Context, c jobspec.CID, data []byte) error {
	if c.Cid().Type() == cid.Raw {
		return ctx.Err()
	}
	return d.Memory.Put(ctx, c, data)
}

func TestTreeReadsBack(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.txt"), "a")
	write(t, filepath.Join(dir, "d/e/f.txt"), "deep")
	write(t, filepath.Join(dir, "d/.hidden"), "h")
	write(t, filepath.Join(dir, "ünï \"code\""), strings.Repeat("0123456789", 200_000))
	link(t, "../a.txt", filepath.Join(dir, "d/link"))
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	want := []string{"/", "/a.txt a", "/d/", "/d/.hidden h", "/d/e/", "/d/e/f.txt deep", "/d/link -> ../a.txt", "/empty/", "/ünï \"code\" 2000000"}
	mem := ipfstest.NewMemory()
	var calls []int64
	res, err := pack.Tree(t.Context(), mem, dir, pack.Options{Progress: func(n int64) { calls = append(calls, n) }})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, list(t, mem, res.CID)); diff != "" {
		t.Errorf("packed tree (-want +got):\n%s", diff)
	}
	if res.Bytes != 2000006 || res.Entries != 8 {
		t.Errorf("Tree = %+v, want 2000006 bytes and 8 entries", res)
	}
	if len(calls) == 0 || calls[len(calls)-1] != res.Bytes {
		t.Errorf("Progress was told %v, want %d at last", calls, res.Bytes)
	}
	shown := mustTree(t, dir, pack.Options{SkipHidden: true})
	if shown.Entries != 7 || shown.CID == res.CID {
		t.Errorf("Tree without hidden files = %+v", shown)
	}
}

func TestTreeOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "hello world")
	link(t, "f", path+".link")
	for _, p := range []string{path, path + ".link"} { // what the caller names is followed
		res := mustTree(t, p, pack.Options{})
		if res.CID.String() != "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e" || res.Bytes != 11 || res.Entries != 1 {
			t.Errorf("Tree(%s) = %+v", p, res)
		}
	}
	if _, err := pack.Tree(t.Context(), ipfstest.NewMemory(), path+".no", pack.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Tree of nothing = %v, want os.ErrNotExist", err)
	}
}

// TestO11O15Canonical packs the same content with everything else different.
func TestO11O15Canonical(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	names := []string{"b", "a", "c/x", "c/a", "Z", "ä"}
	for i := range names {
		write(t, filepath.Join(a, names[i]), names[i])
		j := len(names) - 1 - i
		write(t, filepath.Join(b, names[j]), names[j])
		p := filepath.Join(b, names[j])
		if err := errors.Join(os.Chmod(p, 0o6755), os.Chtimes(p, time.Unix(1, 0), time.Unix(2, 0))); err != nil {
			t.Fatal(err)
		}
	}
	ra, rb := mustTree(t, a, pack.Options{}), mustTree(t, b, pack.Options{})
	if ra != rb {
		t.Errorf("same content, other order, modes and times: %+v and %+v", ra, rb)
	}
	write(t, filepath.Join(b, "a"), "other")
	if rc := mustTree(t, b, pack.Options{}); rc.CID == ra.CID {
		t.Error("other content has the same CID") // control
	}
}

func TestHostileOutputs(t *testing.T) {
	refusal.Produces(t, jobspec.KindSymlink)
	for _, tc := range []struct {
		name  string
		build func(t *testing.T, dir string)
		path  string // named in the error; "" when the tree is fine
		kind  jobspec.Kind
	}{
		{"O04 FIFO", func(t *testing.T, dir string) {
			check(t, unix.Mkfifo(filepath.Join(dir, "result.json"), 0o600))
		}, "result.json", jobspec.KindOutputType},
		{"O04 socket", func(t *testing.T, dir string) {
			l, err := net.Listen("unix", filepath.Join(dir, "sock"))
			check(t, err)
			t.Cleanup(func() { l.Close() })
		}, "sock", jobspec.KindOutputType},
		{"O07 sparse 1 PiB file", func(t *testing.T, dir string) { sparse(t, dir, 1<<50) }, "sparse", jobspec.KindLimitBytes},
		{"O07 within the budget", func(t *testing.T, dir string) { sparse(t, dir, 4<<20) }, "", ""},
		{"O08 many files", func(t *testing.T, dir string) { files(t, dir, 51) }, "many", jobspec.KindLimitEntries},
		{"O08 as many as allowed", func(t *testing.T, dir string) { files(t, dir, 50) }, "", ""},
		{"O08 deep directories", func(t *testing.T, dir string) { deep(t, dir, 8) }, "d/d/d/d/d/d/d/d", jobspec.KindDepth},
		{"O08 as deep as allowed", func(t *testing.T, dir string) { deep(t, dir, 7) }, "", ""},
		{"O14 reserved names are the user's", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, ".ipdc/stdout"), "x")
		}, "", ""},
		{"O18 newline in a name", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "d/a\nb"), "x") }, "d", jobspec.KindName},
		{"O18 invalid UTF-8 name", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "a\xff"), "x") }, "", jobspec.KindName},
		{"C11 absolute symlink", func(t *testing.T, dir string) { link(t, "/etc/shadow", filepath.Join(dir, "l")) }, "l", jobspec.KindSymlink},
		{"C12 escaping symlink", func(t *testing.T, dir string) { link(t, "../x", filepath.Join(dir, "l")) }, "l", jobspec.KindSymlink},
		{"C12 chained escape", func(t *testing.T, dir string) {
			deep(t, dir, 1)
			link(t, "..", filepath.Join(dir, "d/up"))
			link(t, "d/up/../x", filepath.Join(dir, "l"))
		}, "l", jobspec.KindSymlink},
		{"symlink that stays inside", func(t *testing.T, dir string) {
			deep(t, dir, 1)
			link(t, "../no/such", filepath.Join(dir, "d/l"))
		}, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			tc.build(t, dir)
			mem := ipfstest.NewMemory()
			res, err := pack.Tree(t.Context(), mem, dir, pack.Options{
				Budget: ipfs.Budget{Bytes: 8 << 20, Entries: 51, Levels: 8},
			})
			switch {
			case tc.kind == "":
				if err != nil {
					t.Fatalf("Tree: %v", err)
				}
				list(t, mem, res.CID) // what is packed is a valid input
			case !refusal.Is(t, err, tc.kind) || !strings.Contains(err.Error(), tc.path):
				t.Errorf("Tree = %v, want kind %s and the path %q", err, tc.kind, tc.path)
			}
		})
	}
}

func TestO03HardLinks(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), strings.Repeat("x", 1000))
	for _, name := range []string{"b", "c", "d"} {
		check(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, name)))
	}
	res := mustTree(t, dir, pack.Options{Budget: ipfs.Budget{Bytes: 1000}})
	if res.Bytes != 1000 || res.Entries != 4 {
		t.Errorf("Tree = %+v, want 1000 bytes and 4 entries", res)
	}
	_, err := pack.Tree(t.Context(), ipfstest.NewMemory(), dir, pack.Options{Budget: ipfs.Budget{Entries: 3}})
	if !errors.Is(err, jobspec.KindLimitEntries.Error()) {
		t.Errorf("Tree with 3 entries allowed = %v, want %s", err, jobspec.KindLimitEntries)
	}
}

// growing changes a file when the first block of it is put.
type growing struct {
	*ipfstest.Memory
	change func()
}

func (g growing) Put(ctx context.Context, c jobspec.CID, data []byte) error {
	g.change()
	return g.Memory.Put(ctx, c, data)
}

func TestO16FileThatChanges(t *testing.T) {
	for name, size := range map[string]int64{"grows": 200 << 20, "shrinks": 3 << 20} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			sparse(t, filepath.Dir(path), 100<<20)
			check(t, os.Rename(filepath.Join(filepath.Dir(path), "sparse"), path))
			s := growing{ipfstest.NewMemory(), func() { check(t, os.Truncate(path, size)) }}
			_, err := pack.Tree(t.Context(), s, path, pack.Options{})
			if !errors.Is(err, jobspec.KindSizeMismatch.Error()) {
				t.Errorf("Tree = %v, want %s", err, jobspec.KindSizeMismatch)
			}
		})
	}
}

// TestO06Swap replaces a file by a link while its directory is packed.
func TestO06Swap(t *testing.T) {
	dir, secret := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	write(t, secret, "secret")
	write(t, filepath.Join(dir, "a"), "a")
	write(t, filepath.Join(dir, "z"), "z")
	s := growing{ipfstest.NewMemory(), func() {
		z := filepath.Join(dir, "z")
		if os.Remove(z) == nil {
			link(t, secret, z)
		}
	}}
	_, err := pack.Tree(t.Context(), s, dir, pack.Options{})
	if !errors.Is(err, jobspec.KindSymlink.Error()) {
		t.Errorf("Tree = %v, want %s", err, jobspec.KindSymlink)
	}
}

func TestFileErrors(t *testing.T) {
	cause := errors.New("cable pulled")
	for _, size := range []int64{10, 1 << 20, 5<<20 + 10} {
		r := io.MultiReader(io.LimitReader(newKeystream(t, "x"), size), iotestErr{cause})
		if _, _, err := pack.File(t.Context(), ipfstest.NewMemory(), r); !errors.Is(err, cause) {
			t.Errorf("File of a stream that fails after %d bytes = %v, want %v", size, err, cause)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := growing{ipfstest.NewMemory(), cancel}
	if _, _, err := pack.File(ctx, s, io.LimitReader(newKeystream(t, "x"), 50<<20)); !errors.Is(err, context.Canceled) {
		t.Errorf("File with a cancelled context = %v, want context.Canceled", err)
	}
}

type iotestErr struct{ err error }

func (e iotestErr) Read([]byte) (int, error) { return 0, e.err }

// list reads a DAG back with the reader for hostile inputs.
func list(t *testing.T, g ipfs.Getter, root jobspec.CID) (lines []string) {
	t.Helper()
	err := tree.Walk(t.Context(), g, root, ipfs.Budget{}, func(e tree.Entry) error {
		line := "/" + e.Path
		switch {
		case e.Kind == tree.Dir && e.Path != "":
			line += "/"
		case e.Kind == tree.Symlink:
			line += " -> " + e.Target
		case e.Kind == tree.File:
			var text strings.Builder
			n, err := tree.Copy(t.Context(), g, e.CID, &text, ipfs.Budget{})
			if err != nil {
				return err
			}
			if line += " " + text.String(); n > 100 {
				line = line[:len(line)-int(n)] + "2000000"
			}
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatalf("read back: %v", err)
	}
	return lines
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	check(t, os.Symlink(target, path))
}

func sparse(t *testing.T, dir string, size int64) {
	t.Helper()
	path := filepath.Join(dir, "sparse")
	write(t, path, "")
	err := os.Truncate(path, size)
	if errors.Is(err, unix.EFBIG) { // the file system stops before 1 PiB; its own maximum will do
		err = os.Truncate(path, 1<<43)
	}
	check(t, err)
}

func files(t *testing.T, dir string, n int) {
	t.Helper()
	for i := range n {
		write(t, filepath.Join(dir, "many", strings.Repeat("f", i+1)), "x")
	}
}

func deep(t *testing.T, dir string, levels int) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Join(dir, strings.Repeat("d/", levels)), 0o755))
}
