package stage_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag/dagtest"
	"github.com/ipdc/ipdc/ipfs/stage"
	"github.com/ipdc/ipdc/jobspec"
)

// arena is a directory with a victim beside the destination.
type arena struct{ dir, dest, victim string }

func newArena(t testing.TB) arena {
	t.Helper()
	dir := tempDir(t)
	a := arena{dir: dir, dest: filepath.Join(dir, "in", "dest"), victim: filepath.Join(dir, "victim")}
	for _, d := range []string{filepath.Dir(a.dest), a.victim} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// untouched reports whether nothing is in the arena but what was there.
func (a arena) untouched(t testing.TB) bool {
	t.Helper()
	return len(names(t, a.dir)) == 2 && len(names(t, a.victim)) == 0 && len(names(t, filepath.Dir(a.dest))) == 0
}

// naive is an extraction as it is often written: it trusts names and follows
// links. It is the positive control of the attacks below. The names of each
// attack stand in the same order as in its DAG.
func naive(dest string, entries []naiveEntry) error {
	if err := os.MkdirAll(dest, 0o755); err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dest, e.name)
		if e.target != "" {
			if err := os.Symlink(e.target, path); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte("evil"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// naiveEntry is one entry as the naive extraction sees it.
type naiveEntry struct{ name, target string }

func TestHostileEscapes(t *testing.T) {
	evil := func(b *dagtest.Builder) dagtest.Node { return b.Raw([]byte("evil")) }
	for _, c := range []struct {
		name    string
		build   func(b *dagtest.Builder, victim string) dagtest.Node
		control func(victim string) []naiveEntry // nil: no file is written by it
		want    jobspec.Kind
	}{
		{"C01 traversal in a name",
			func(b *dagtest.Builder, _ string) dagtest.Node { return b.Dir(evil(b).As("../../victim/x")) },
			func(string) []naiveEntry { return []naiveEntry{{"../../victim/x", ""}} }, jobspec.KindName},
		{"C13 file through a link of its directory's name",
			func(b *dagtest.Builder, victim string) dagtest.Node {
				return b.Dir(b.Symlink(victim).As("d"), b.Dir(evil(b).As("x")).As("d"))
			},
			func(victim string) []naiveEntry { return []naiveEntry{{"d", victim}, {"d/x", ""}} }, jobspec.KindDupName},
		{"C13 the same the other way round",
			func(b *dagtest.Builder, victim string) dagtest.Node {
				return b.Dir(b.Dir(evil(b).As("x")).As("d"), b.Symlink(victim).As("d"))
			}, nil, jobspec.KindDupName},
		{"C16 name with a trailing slash",
			func(b *dagtest.Builder, victim string) dagtest.Node {
				return b.Dir(b.Symlink(victim).As("evil"), b.Dir(evil(b).As("x")).As("evil/"))
			},
			func(victim string) []naiveEntry { return []naiveEntry{{"evil", victim}, {"evil//x", ""}} }, jobspec.KindName},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := dagtest.New(t)
			a := newArena(t)
			root := c.build(b, a.victim)
			_, err := stage.Dir(context.Background(), b, root.CID, a.dest, stage.Options{})
			if !errors.Is(err, c.want.Error()) {
				t.Errorf("Dir = %v, want %s", err, c.want)
			}
			if !a.untouched(t) {
				t.Errorf("Dir changed %q", look(t, a.dir))
			}
			if c.control == nil {
				return
			}
			if err := naive(a.dest, c.control(a.victim)); err != nil {
				t.Fatal(err)
			}
			if len(names(t, a.victim)) == 0 {
				t.Error("the control does not escape: the attack is none")
			}
		})
	}
}

func TestHostileSymlinks(t *testing.T) {
	link := func(target string) func(b *dagtest.Builder) dagtest.Node {
		return func(b *dagtest.Builder) dagtest.Node {
			return b.Dir(b.Dir(b.Symlink(target).As("l")).As("a"), b.Raw([]byte("x")).As("f"))
		}
	}
	for _, c := range []struct {
		name  string
		build func(b *dagtest.Builder) dagtest.Node
		want  jobspec.Kind
	}{
		{"control: inside", link("../f"), ""},
		{"control: to the root", link(".."), ""},
		{"control: to nothing", link("gone/there"), ""},
		{"C11 absolute", link("/etc/shadow"), jobspec.KindSymlink},
		{"C11 proc", link("/proc/1/root"), jobspec.KindSymlink},
		{"C12 out by its text", link("../../x"), jobspec.KindSymlink},
		{"C12 out and in again", link("../../dest/f"), jobspec.KindSymlink},
		{"C12 through a chain", func(b *dagtest.Builder) dagtest.Node {
			// d/up leads to the root, so that d/out leads out of it.
			return b.Dir(b.Dir(b.Symlink("..").As("up")).As("d"), b.Symlink("d/up/..").As("out"))
		}, jobspec.KindSymlink},
		{"C12 through a chain of three", func(b *dagtest.Builder) dagtest.Node {
			return b.Dir(b.Dir(b.Dir(b.Symlink("../..").As("r")).As("e")).As("d"),
				b.Symlink("d/e/r").As("one"), b.Symlink("one/./d/e/r/../x").As("two"))
		}, jobspec.KindSymlink},
		{"C12 a ring", func(b *dagtest.Builder) dagtest.Node {
			return b.Dir(b.Symlink("b").As("a"), b.Symlink("a").As("b"))
		}, jobspec.KindSymlink},
		{"C11 the root is a link", func(b *dagtest.Builder) dagtest.Node { return b.Symlink("/etc") }, jobspec.KindSymlink},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := dagtest.New(t)
			a := newArena(t)
			root := c.build(b)
			_, err := stage.Dir(context.Background(), b, root.CID, a.dest, stage.Options{File: true})
			if c.want == "" && err != nil || c.want != "" && !errors.Is(err, c.want.Error()) {
				t.Errorf("Dir = %v, want %q", err, c.want)
			}
			if c.want != "" && !a.untouched(t) {
				t.Errorf("Dir left %q", look(t, a.dir))
			}
			if err := stage.Tar(context.Background(), b, root.CID, discard{}, ipfs.Budget{}); (err == nil) != (c.want == "") {
				t.Errorf("Tar = %v, want %q", err, c.want)
			}
		})
	}
}

// TestChainControl shows that the chain of links leads out although each link
// alone does not.
func TestChainControl(t *testing.T) {
	a := newArena(t)
	for _, step := range []func() error{
		func() error { return os.MkdirAll(filepath.Join(a.dest, "d"), 0o755) },
		func() error { return os.Symlink("..", filepath.Join(a.dest, "d", "up")) },
		func() error { return os.Symlink("d/up/..", filepath.Join(a.dest, "out")) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	real, err := filepath.EvalSymlinks(filepath.Join(a.dest, "out"))
	if err != nil || real != filepath.Dir(a.dest) {
		t.Errorf("the chain leads to %q, %v, want %q", real, err, filepath.Dir(a.dest))
	}
}

// TestDirLongPath is C06: a path of over 4096 bytes is written, as each file is
// opened relative to its directory.
func TestDirLongPath(t *testing.T) {
	b := dagtest.New(t)
	n := b.Raw([]byte("deep")).As("file")
	for range 60 {
		n = b.Dir(n).As(strings.Repeat("n", 255))
	}
	dest := filepath.Join(tempDir(t), "dest")
	stat, err := stage.Dir(context.Background(), b, n.CID, dest, stage.Options{Sync: true})
	if err != nil || stat.Files != 1 || stat.Dirs != 60 {
		t.Fatalf("C06 Dir = %+v, %v, want 1 file in 60 directories", stat, err)
	}
	root, err := os.OpenRoot(dest)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	path := strings.Repeat(strings.Repeat("n", 255)+"/", 59) + "file"
	if data, err := root.ReadFile(path); err != nil || string(data) != "deep" {
		t.Errorf("the file at %d bytes of path reads %q, %v", len(path), data, err)
	}
	if err := stage.Remove(dest); err != nil {
		t.Errorf("Remove = %v", err)
	}
	if _, err := os.Lstat(dest); err == nil {
		t.Error("Remove left the tree")
	}
	_, err = stage.Dir(context.Background(), b, b.Dir(b.Dir(b.Dir(b.Dir(b.Dir(n).As("n")).As("n")).As("n")).As("n")).CID, dest, stage.Options{})
	if !errors.Is(err, jobspec.KindDepth.Error()) {
		t.Errorf("Dir of 65 levels = %v, want E_DEPTH", err)
	}
	if _, err := os.Lstat(dest); err == nil {
		t.Error("Dir of 65 levels left a tree")
	}
}

// FuzzStageDir: whatever the blocks are, nothing outside dest changes, an
// error leaves nothing, and the budget holds.
func FuzzStageDir(f *testing.F) {
	for _, s := range dagtest.Seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, code []byte) {
		b, root := dagtest.Program(t, code)
		a := newArena(t)
		stat, err := stage.Dir(context.Background(), b, root.CID, a.dest, stage.Options{
			Budget: ipfs.Budget{Bytes: 1 << 16, Entries: 100, Levels: 8, DAGDepth: 8, Blocks: 1000},
			File:   true,
		})
		if err != nil {
			if k := jobspec.AsFailure(err).Kind; k == jobspec.KindInternal {
				t.Errorf("Dir = %v, want a kind", err)
			}
			if !a.untouched(t) {
				t.Errorf("Dir = %v and left %q", err, look(t, a.dir))
			}
			return
		}
		if len(names(t, a.dir)) != 2 || len(names(t, a.victim)) != 0 || len(names(t, filepath.Dir(a.dest))) != 1 {
			t.Errorf("Dir changed what is outside: %q", look(t, a.dir))
		}
		if stat.Bytes > 1<<16 || stat.Files+stat.Dirs+stat.Symlinks > 101 {
			t.Errorf("Dir wrote %+v", stat)
		}
		checkInside(t, a.dest)
	})
}

// checkInside resolves every link of a staged tree as the kernel does.
func checkInside(t *testing.T, dest string) {
	for _, line := range look(t, dest) {
		fields := strings.Fields(line)
		if !strings.HasPrefix(fields[0], "L") {
			continue
		}
		real, err := filepath.EvalSymlinks(filepath.Join(dest, fields[1]))
		if err == nil && real != dest && !strings.HasPrefix(real, dest+"/") {
			t.Errorf("%q leads to %q", fields[1], real)
		}
	}
}
