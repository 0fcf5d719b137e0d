package dataset_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/dataset"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

const tenant = "local"

// bench is a keeper on a real store and a real block store.
type bench struct {
	*dataset.Keeper
	dir  string
	key  identity.Key
	st   *store.Store
	node ipfs.Node
}

func newBench(t testing.TB, dir string) *bench {
	t.Helper()
	return newBenchOn(t, dir, dir)
}

// newBenchOn is newBench with the state on a disk of its own.
func newBenchOn(t testing.TB, dir, disk string) *bench {
	t.Helper()
	b := &bench{dir: dir}
	var err error
	if b.key, err = identity.LoadOrCreate(filepath.Join(dir, "key")); err != nil {
		t.Fatal(err)
	}
	if b.st, err = store.Open(context.Background(), filepath.Join(disk, "state.db"), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.st.Close() })
	if b.node, err = embedded.Open(context.Background(), embedded.Config{Dir: filepath.Join(dir, "ipfs")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.node.Close() })
	b.Keeper = dataset.New(dataset.Config{Key: b.key, Domain: "d", Shared: tenant, Store: b.st, IPFS: b.node})
	return b
}

// file stores a text and returns its CID; it stays pinned.
func (b *bench) file(t testing.TB, text string) jobspec.CID {
	t.Helper()
	c, err := b.node.Add(context.Background(), "user/"+text[:min(8, len(text))], func(s ipfs.Session) (jobspec.CID, error) {
		c, _, err := pack.File(context.Background(), s, strings.NewReader(text))
		return c, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (b *bench) create(t testing.TB, q wire.DatasetWish) {
	t.Helper()
	if _, err := b.Create(t.Context(), tenant, q); err != nil {
		t.Fatal(err)
	}
}

func add(name string, c jobspec.CID) wire.DatasetAppend {
	return wire.DatasetAppend{Entries: []wire.DatasetEntry{{Name: name, Path: c.String()}}}
}

// pinned are the pins of datasets.
func (b *bench) pinned(t testing.TB) (names []string) {
	t.Helper()
	pins, err := b.node.Pins(t.Context(), "dataset/")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pins {
		names = append(names, p.Name)
	}
	return names
}

// TestModel appends, replaces and removes against a map, with the node's garbage
// collected in between.
func TestModel(t *testing.T) {
	b := newBench(t, t.TempDir())
	texts := map[string]jobspec.CID{}
	for _, s := range []string{"one", "two", "three"} {
		texts[s] = b.file(t, s)
	}
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		name := fmt.Sprintf("set-%d", run)
		b.create(t, wire.DatasetWish{Name: name})
		have, version := map[string]string{}, 1
		for range rapid.IntRange(1, 5).Draw(rt, "steps") {
			q := wire.DatasetAppend{Replace: rapid.Bool().Draw(rt, "replace")}
			next := maps.Clone(have)
			clash, gone := false, false
			for _, entry := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 3, rapid.ID[string]).Draw(rt, "entries") {
				if rapid.IntRange(0, 3).Draw(rt, "remove") == 0 {
					q.Remove = append(q.Remove, entry)
					_, there := have[entry]
					gone = gone || !there
					delete(next, entry)
					continue
				}
				text := rapid.SampledFrom([]string{"one", "two", "three"}).Draw(rt, "text")
				q.Entries = append(q.Entries, wire.DatasetEntry{Name: entry, Path: texts[text].String()})
				old, there := have[entry]
				clash = clash || there && old != text
				next[entry] = text
			}
			got, err := b.Append(t.Context(), tenant, name, q)
			want := error(nil)
			switch {
			case clash && !q.Replace:
				want = jobspec.KindConflict.Error()
			case gone:
				want = jobspec.KindNotFound.Error()
			case !maps.Equal(have, next):
				have, version = next, version+1
			}
			if !errors.Is(err, want) {
				rt.Fatalf("Append(%+v) to %v = %v, want %v", q, have, err, want)
			}
			if err == nil && (got.Version != version || got.Entries != len(have)) {
				rt.Fatalf("Append(%+v) = version %d with %d entries, want %d with %v", q, got.Version, got.Entries, version, have)
			}
		}
		if rapid.IntRange(0, 9).Draw(rt, "gc") == 0 {
			if _, err := b.node.GC(t.Context()); err != nil {
				rt.Fatal(err)
			}
		}
		v, err := b.Resolve(t.Context(), tenant, jobspec.DatasetRef{Name: name})
		if err != nil || v.Version != version {
			rt.Fatalf("Resolve = %+v, %v, want version %d", v, err, version)
		}
		links, err := tree.Links(t.Context(), b.node, v.Root, ipfs.Budget{})
		if err != nil || len(links) != len(have) {
			rt.Fatalf("the content has %v, %v, want %v", links, err, have)
		}
		for _, l := range links {
			if l.CID != texts[have[l.Name]] {
				rt.Fatalf("entry %s is %s, want %q", l.Name, l.CID, have[l.Name])
			}
		}
	})
}

// Versions that are not kept lose their content and no other does; the chain of
// heads stays.
func TestKeep(t *testing.T) {
	b := newBench(t, t.TempDir())
	b.create(t, wire.DatasetWish{Name: "logs", Keep: 2})
	for i := range 4 {
		if _, err := b.Append(t.Context(), tenant, "logs", add(fmt.Sprint("day", i), b.file(t, fmt.Sprint("text", i)))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.node.GC(t.Context()); err != nil {
		t.Fatal(err)
	}
	d, err := b.Show(t.Context(), tenant, jobspec.DatasetRef{Name: "logs"})
	if err != nil || len(d.Versions) != 5 || d.Version != 5 {
		t.Fatalf("Show = %+v, %v", d, err)
	}
	head := d.Head
	for i, v := range d.Versions { // newest first
		_, err := b.Resolve(t.Context(), tenant, jobspec.DatasetRef{Name: "logs", Version: v.Version})
		if kept := i < 2; v.Kept != kept || (err == nil) != kept {
			t.Errorf("version %d: kept %v, %v, want %v", v.Version, v.Kept, err, kept)
		}
		sealed, err := b.node.Get(t.Context(), head)
		if err != nil {
			t.Fatal(err)
		}
		h, c, err := dataset.Open(sealed)
		if err != nil || c != head || h.Version != v.Version || h.Owner != b.key.ID() {
			t.Fatalf("head %s is %+v, %v", head, h, err)
		}
		head, _ = jobspec.ParseCID(h.Previous)
	}
	diff, err := b.Diff(t.Context(), tenant, "logs", 0, 0)
	if err != nil || len(diff.Changes) != 1 || diff.Changes[0].Name != "day3" || diff.From != 4 || diff.To != 5 {
		t.Errorf("Diff = %+v, %v", diff, err)
	}
	if err := b.Remove(t.Context(), tenant, "logs"); err != nil || len(b.pinned(t)) != 0 {
		t.Errorf("Remove = %v, and %v stays pinned", err, b.pinned(t))
	}
}

func TestRefusals(t *testing.T) {
	b := newBench(t, t.TempDir())
	one, two := b.file(t, "one"), b.file(t, "two")
	b.create(t, wire.DatasetWish{Name: "logs"})
	if _, err := b.Append(t.Context(), tenant, "logs", add("a", one)); err != nil {
		t.Fatal(err)
	}
	lost, _ := jobspec.ParseCID("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku")
	for what, c := range map[string]struct {
		do   func() error
		want jobspec.Kind
		says string
	}{
		"a name that is taken": {func() error { _, err := b.Create(t.Context(), tenant, wire.DatasetWish{Name: "logs"}); return err }, jobspec.KindConflict, "already"},
		"a bad name":           {func() error { _, err := b.Create(t.Context(), tenant, wire.DatasetWish{Name: "Logs"}); return err }, jobspec.KindSpec, "letter"},
		"another tenant's": {func() error {
			_, err := b.Append(t.Context(), "ci", "logs", add("b", one))
			return err
		}, jobspec.KindNotFound, "no dataset"},
		"another base": {func() error {
			q := add("b", one)
			q.Base = 1
			_, err := b.Append(t.Context(), tenant, "logs", q)
			return err
		}, jobspec.KindConflict, "version 2 of logs is the newest, not 1"},
		"other content":   {func() error { _, err := b.Append(t.Context(), tenant, "logs", add("a", two)); return err }, jobspec.KindConflict, `"a"`},
		"a path as entry": {func() error { _, err := b.Append(t.Context(), tenant, "logs", add("x/y", two)); return err }, jobspec.KindName, ""},
		"what nobody has": {func() error { _, err := b.Append(t.Context(), tenant, "logs", add("x", lost)); return err }, jobspec.KindFetchTimeout, ""},
		"no such version": {func() error {
			_, err := b.Resolve(t.Context(), tenant, jobspec.DatasetRef{Name: "logs", Version: 9})
			return err
		}, jobspec.KindNotFound, "the newest is 2"},
		"a range beyond the end": {func() error {
			q := add("part", one)
			q.Entries[0].To = 4
			_, err := b.Append(t.Context(), tenant, "logs", q)
			return err
		}, jobspec.KindSpec, "3 bytes"},
	} {
		if err := c.do(); !errors.Is(err, c.want.Error()) || !strings.Contains(jobspec.AsFailure(err).Detail, c.says) {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
	}
	want := []string{"dataset/local/logs/h1", "dataset/local/logs/h2", "dataset/local/logs/v1", "dataset/local/logs/v2"}
	if got := b.pinned(t); !slices.Equal(got, want) {
		t.Errorf("pins are %v, want %v", got, want)
	}
}

// Of appends at once none is lost, and each makes a version of its own, which is
// told of.
func TestConcurrentAppends(t *testing.T) {
	b := newBench(t, t.TempDir())
	var moves atomic.Int32
	b.OnMove(func(_ context.Context, of, name string) {
		if of == tenant && name == "logs" {
			moves.Add(1)
		}
	})
	b.create(t, wire.DatasetWish{Name: "logs"})
	c := b.file(t, "text")
	const n = 8
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if _, err := b.Append(t.Context(), tenant, "logs", add(fmt.Sprint("e", i), c)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	d, err := b.Show(t.Context(), tenant, jobspec.DatasetRef{Name: "logs"})
	if err != nil || d.Version != n+1 || d.Entries != n || moves.Load() != n+1 {
		t.Errorf("Show = version %d with %d entries, %v, told of %d; want %d with %d", d.Version, d.Entries, err, moves.Load(), n+1, n)
	}
}

// A range of a file is a file, and a first version can be an existing directory.
func TestRangeAndFrom(t *testing.T) {
	b := newBench(t, t.TempDir())
	c := b.file(t, "hello world")
	dir, err := b.node.Add(t.Context(), "user/dir", func(s ipfs.Session) (jobspec.CID, error) {
		return merge.Files(t.Context(), s, []merge.File{{Path: "x", CID: c}, {Path: "d/y", CID: c}})
	})
	if err != nil {
		t.Fatal(err)
	}
	b.create(t, wire.DatasetWish{Name: "logs", From: dir.String()})
	v, err := b.Resolve(t.Context(), tenant, jobspec.DatasetRef{Name: "logs"})
	if err != nil || v.Root != dir {
		t.Fatalf("the first version is %+v, %v, want %s", v, err, dir)
	}
	q := wire.DatasetAppend{Entries: []wire.DatasetEntry{{Name: "part", Path: dir.String() + "/x", From: 6, To: 11}}}
	d, err := b.Append(t.Context(), tenant, "logs", q)
	if err != nil {
		t.Fatal(err)
	}
	part, err := tree.Resolve(t.Context(), b.node, d.Root, []string{"part"})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if _, err := tree.Copy(t.Context(), b.node, part, &text, ipfs.Budget{}); err != nil || text.String() != "world" {
		t.Errorf("the part is %q, %v", text.String(), err)
	}
}
