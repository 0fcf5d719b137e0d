package stage_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag/dagtest"
	"github.com/ipdc/ipdc/ipfs/stage"
	"github.com/ipdc/ipdc/jobspec"
)

// look describes everything below dir: mode, path, content or target, time.
func look(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		text := ""
		switch {
		case fi.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = string(data)
		case fi.Mode()&fs.ModeSymlink != 0:
			if text, err = os.Readlink(path); err != nil {
				return err
			}
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s @%d %s", fi.Mode(), rel, fi.ModTime().Unix(), text)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// tempDir is t.TempDir for trees with read-only directories.
func tempDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() {
		if err := stage.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func sample(b *dagtest.Builder) dagtest.Node {
	hello := b.Raw([]byte("hello"))
	exec := b.PB(dagtest.UnixFS{Type: dagtest.TypeFile, Data: []byte("suid"), Filesize: 4, Mode: 0o4755})
	return b.Dir(
		b.Dir(hello.As("file"), b.Symlink("../exec").As("link")).As("a"),
		b.Dir().As("empty"),
		exec.As("exec"),
		b.File(hello, hello).As("two"),
	)
}

func TestDir(t *testing.T) {
	b := dagtest.New(t)
	root := sample(b)
	dest := filepath.Join(tempDir(t), "dest")
	var bytes, entries int64
	stat, err := stage.Dir(context.Background(), b, root.CID, dest, stage.Options{
		Sync:     true,
		Progress: func(b, e int64) { bytes, entries = b, e },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"dr-xr-xr-x . @0",
		"dr-xr-xr-x a @0",
		"-r--r--r-- a/file @0 hello",
		"Lrwxrwxrwx a/link @0 ../exec",
		"dr-xr-xr-x empty @0",
		"-r--r--r-- exec @0 suid", // C17: no mode of the DAG's
		"-r--r--r-- two @0 hellohello",
	}
	if diff := cmp.Diff(want, look(t, dest)); diff != "" {
		t.Errorf("Dir: %s", diff)
	}
	if want := (stage.Stat{Files: 3, Dirs: 3, Symlinks: 1, Bytes: 19}); stat != want {
		t.Errorf("Dir = %+v, want %+v", stat, want)
	}
	if bytes != 19 || entries != 7 {
		t.Errorf("Progress ended at %d bytes and %d entries, want 19 and 7", bytes, entries)
	}
	if got := names(t, filepath.Dir(dest)); len(got) != 1 {
		t.Errorf("beside dest there is %q", got)
	}
	if err := stage.Remove(dest); err != nil {
		t.Fatal(err)
	}
	if err := stage.Remove(dest); err != nil {
		t.Errorf("Remove of nothing = %v", err)
	}
}

func TestDirModesAndTimes(t *testing.T) {
	b := dagtest.New(t)
	dest := filepath.Join(tempDir(t), "dest")
	o := stage.Options{FileMode: 0o644, DirMode: 0o755, ModTime: time.Unix(77, 0)}
	if _, err := stage.Dir(context.Background(), b, b.Dir(b.Raw([]byte("x")).As("f")).CID, dest, o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"drwxr-xr-x . @77", "-rw-r--r-- f @77 x"}, look(t, dest)); diff != "" {
		t.Error(diff)
	}
}

// TestDirDestination holds what may be at the destination before, and what is
// there afterwards.
func TestK02DirDestination(t *testing.T) {
	b := dagtest.New(t)
	file := b.Raw([]byte("new"))
	dir := b.Dir(b.Dir(file.As("f")).As("d"), file.As("g"))
	write := func(t *testing.T, path, text string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		root   dagtest.Node
		before func(t *testing.T, dest string)
		o      stage.Options
		want   jobspec.Kind
		after  []string // paths below dest's parent, with the content of files
	}{
		{"directory, nothing there", dir, nil, stage.Options{}, "", []string{"dest/d/f=new", "dest/g=new"}},
		{"directory, empty one there", dir, func(t *testing.T, dest string) {
			if err := os.Mkdir(dest, 0o755); err != nil {
				t.Fatal(err)
			}
		}, stage.Options{}, "", []string{"dest/d/f=new", "dest/g=new"}},
		{"directory, full one there", dir, func(t *testing.T, dest string) { write(t, dest+"/old", "old") },
			stage.Options{}, jobspec.KindConflict, []string{"dest/old=old"}},
		{"directory joins", dir, func(t *testing.T, dest string) {
			write(t, dest+"/old", "old")
			write(t, dest+"/d/old", "old")
			write(t, dest+"/d/f", "old")
		}, stage.Options{Overwrite: true}, "", []string{"dest/d/f=new", "dest/d/old=old", "dest/g=new", "dest/old=old"}},
		{"directory over a file inside", dir, func(t *testing.T, dest string) { write(t, dest+"/d", "old") },
			stage.Options{Overwrite: true}, jobspec.KindConflict, []string{"dest/d=old"}},
		{"file over a directory inside", dir, func(t *testing.T, dest string) { write(t, dest+"/g/old", "old") },
			stage.Options{Overwrite: true}, jobspec.KindConflict, []string{"dest/g/old=old"}},
		{"directory over a file", dir, func(t *testing.T, dest string) { write(t, dest, "old") },
			stage.Options{Overwrite: true}, jobspec.KindConflict, []string{"dest=old"}},
		{"file where it was not asked for", file, nil, stage.Options{}, jobspec.KindUnixFS, nil},
		{"file", file, nil, stage.Options{File: true}, "", []string{"dest=new"}},
		{"file over a file", file, func(t *testing.T, dest string) { write(t, dest, "old") },
			stage.Options{File: true}, jobspec.KindConflict, []string{"dest=old"}},
		{"file over a file, allowed", file, func(t *testing.T, dest string) { write(t, dest, "old") },
			stage.Options{File: true, Overwrite: true}, "", []string{"dest=new"}},
		{"K02 link to a directory elsewhere", dir, func(t *testing.T, dest string) {
			write(t, filepath.Dir(dest)+"/elsewhere/f", "old")
			if err := errors.Join(os.Mkdir(dest, 0o755), os.Symlink("../elsewhere", dest+"/d")); err != nil {
				t.Fatal(err)
			}
		}, stage.Options{Overwrite: true}, jobspec.KindConflict, []string{"elsewhere/f=old"}},
		{"K02 link to a file elsewhere", dir, func(t *testing.T, dest string) {
			write(t, filepath.Dir(dest)+"/elsewhere", "old")
			if err := errors.Join(os.Mkdir(dest, 0o755), os.Symlink("../elsewhere", dest+"/g")); err != nil {
				t.Fatal(err)
			}
		}, stage.Options{Overwrite: true}, "", []string{"dest/d/f=new", "dest/g=new", "elsewhere=old"}},
		{"K02 link in place of the file", file, func(t *testing.T, dest string) {
			write(t, filepath.Dir(dest)+"/elsewhere", "old")
			if err := os.Symlink("elsewhere", dest); err != nil {
				t.Fatal(err)
			}
		}, stage.Options{File: true, Overwrite: true}, "", []string{"dest=new", "elsewhere=old"}},
		{"file over a directory", file, func(t *testing.T, dest string) { write(t, dest+"/old", "old") },
			stage.Options{File: true, Overwrite: true}, jobspec.KindConflict, []string{"dest/old=old"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			parent := tempDir(t)
			dest := filepath.Join(parent, "dest")
			if c.before != nil {
				c.before(t, dest)
			}
			_, err := stage.Dir(context.Background(), b, c.root.CID, dest, c.o)
			if c.want == "" && err != nil || c.want != "" && !errors.Is(err, c.want.Error()) {
				t.Errorf("Dir = %v, want %q", err, c.want)
			}
			var after []string
			for _, line := range look(t, parent) {
				if f := strings.Fields(line); strings.HasPrefix(f[0], "-") {
					after = append(after, f[1]+"="+f[3])
				}
			}
			if !slices.Equal(after, c.after) {
				t.Errorf("afterwards there is %q, want %q", after, c.after)
			}
		})
	}
}

// TestK07DirLeavesNothing breaks each block in turn.
func TestK07DirLeavesNothing(t *testing.T) {
	for i := range 7 {
		b := dagtest.New(t)
		root := sample(b)
		blocks := b.Blocks()
		if len(blocks) != 7 {
			t.Fatalf("the sample has %d blocks", len(blocks))
		}
		slices.SortFunc(blocks, func(a, b jobspec.CID) int { return strings.Compare(a.String(), b.String()) })
		b.Lose(blocks[i])
		parent := tempDir(t)
		_, err := stage.Dir(context.Background(), b, root.CID, filepath.Join(parent, "dest"), stage.Options{})
		if !errors.Is(err, jobspec.KindFetchTimeout.Error()) {
			t.Errorf("Dir without block %d = %v, want E_FETCH_TIMEOUT", i, err)
		}
		if got := names(t, parent); len(got) != 0 {
			t.Errorf("Dir without block %d left %q", i, got)
		}
	}
}

// TestDirHoldsFewFiles stages many directories and files and looks at the open
// descriptors on the way.
func TestDirHoldsFewFiles(t *testing.T) {
	open := func() int { return len(names(t, "/proc/self/fd")) }
	b := dagtest.New(t)
	leaf := b.Raw([]byte("x"))
	var dirs []dagtest.Node
	for i := range 200 {
		var files []dagtest.Node
		for k := range 50 {
			files = append(files, leaf.As(fmt.Sprintf("f%d", k)))
		}
		dirs = append(dirs, b.Dir(files...).As(fmt.Sprintf("d%d", i)))
	}
	root := b.Dir(dirs...)
	before, most := open(), 0
	stat, err := stage.Dir(context.Background(), b, root.CID, filepath.Join(tempDir(t), "dest"), stage.Options{
		Progress: func(_, entries int64) {
			if entries%500 == 0 {
				most = max(most, open())
			}
		},
	})
	if err != nil || stat.Files != 10_000 {
		t.Fatalf("Dir = %+v, %v, want 10,000 files", stat, err)
	}
	if most > before+8 || open() > before {
		t.Errorf("%d descriptors before, %d at most, %d after", before, most, open())
	}
}

func TestDirStopsWithContext(t *testing.T) {
	b := dagtest.New(t)
	root := sample(b)
	ctx, cancel := context.WithCancel(context.Background())
	parent := tempDir(t)
	_, err := stage.Dir(ctx, b, root.CID, filepath.Join(parent, "dest"), stage.Options{Progress: func(_, entries int64) {
		if entries == 3 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Dir = %v, want the context's end", err)
	}
	if got := names(t, parent); len(got) != 0 {
		t.Errorf("Dir left %q", got)
	}
}

func TestCARBudget(t *testing.T) {
	b := dagtest.New(t)
	root := sample(b).CID
	for _, c := range []struct {
		budget ipfs.Budget
		want   jobspec.Kind
	}{
		{ipfs.Budget{Time: time.Hour}, ""},
		{ipfs.Budget{Bytes: 18}, jobspec.KindLimitBytes},
		{ipfs.Budget{Time: time.Nanosecond}, jobspec.KindFetchTimeout},
	} {
		_, err := stage.CAR(t.Context(), b, root, filepath.Join(t.TempDir(), "in", "x.car"), c.budget)
		if c.want == "" && err != nil || c.want != "" && !errors.Is(err, c.want.Error()) {
			t.Errorf("CAR within %+v = %v, want %q", c.budget, err, c.want)
		}
	}
}

func TestDirBudget(t *testing.T) {
	b := dagtest.New(t)
	parent := tempDir(t)
	_, err := stage.Dir(context.Background(), b, sample(b).CID, filepath.Join(parent, "dest"), stage.Options{Budget: ipfs.Budget{Bytes: 18}})
	if !errors.Is(err, jobspec.KindLimitBytes.Error()) || len(names(t, parent)) != 0 {
		t.Errorf("Dir within 18 bytes = %v and left %q", err, names(t, parent))
	}
}
