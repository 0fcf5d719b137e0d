package merge_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag/dagtest"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// build stores the tree of the given files ("a/b=text") through Files. The
// tests of ipfs/pack hold that packing gives the same CIDs.
func build(t testing.TB, b *dagtest.Builder, files ...string) jobspec.CID {
	t.Helper()
	var list []merge.File
	for _, f := range files {
		path, text, _ := strings.Cut(f, "=")
		list = append(list, merge.File{Path: path, CID: b.Raw([]byte(text)).CID})
	}
	c, err := merge.Files(context.Background(), b.Memory, list)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestUnion(t *testing.T) {
	b := dagtest.New(t)
	one := build(t, b, "a/x=1", "a/deep/er/y=2", "same=s", "top=t")
	two := build(t, b, "a/z=3", "a/deep/er/w=4", "same=s", "b/q=5")
	want := build(t, b, "a/x=1", "a/deep/er/y=2", "a/z=3", "a/deep/er/w=4", "same=s", "b/q=5", "top=t")
	for _, roots := range [][]jobspec.CID{{one, two}, {two, one}, {one, two, one}, {want, one}, {want}} {
		got, err := merge.Union(context.Background(), b.Memory, roots)
		if err != nil || got != want {
			t.Errorf("Union(%v) = %s, %v, want %s", roots, got, err, want)
		}
	}
	if got, err := merge.Union(context.Background(), b.Memory, nil); err != nil || got != b.Dir().CID {
		t.Errorf("Union() = %s, %v, want the empty directory", got, err)
	}
}

func TestConcat(t *testing.T) {
	b := dagtest.New(t)
	one := build(t, b, "a/x=1\n", "log=one\n", "same=s", "left=l")
	two := build(t, b, "a/x=2\n", "log=two\n", "same=s", "right=r")
	empty := build(t, b, "log=")
	text := func(root jobspec.CID) map[string]string {
		t.Helper()
		files := map[string]string{}
		err := tree.Read(t.Context(), b.Memory, root, ipfs.Budget{}, func(e tree.Entry, c *tree.Content) error {
			if e.Kind != tree.File {
				return nil
			}
			var s strings.Builder
			_, err := c.Copy(t.Context(), &s)
			files[e.Path] = s.String()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	for _, tt := range []struct {
		roots []jobspec.CID
		want  map[string]string
	}{
		{nil, map[string]string{}},
		{[]jobspec.CID{one}, text(one)},
		{[]jobspec.CID{one, empty, two}, map[string]string{"a/x": "1\n2\n", "log": "one\ntwo\n", "same": "ss", "left": "l", "right": "r"}},
		{[]jobspec.CID{two, one}, map[string]string{"a/x": "2\n1\n", "log": "two\none\n", "same": "ss", "left": "l", "right": "r"}},
		{[]jobspec.CID{empty, empty}, map[string]string{"log": ""}},
	} {
		got, err := merge.Concat(t.Context(), b.Memory, tt.roots)
		if err != nil {
			t.Errorf("Concat(%v) = %v", tt.roots, err)
			continue
		}
		if diff := cmp.Diff(tt.want, text(got)); diff != "" {
			t.Errorf("Concat(%v) (-want +got):\n%s", tt.roots, diff)
		}
	}
	clash := build(t, b, "log/inside=x")
	if _, err := merge.Concat(t.Context(), b.Memory, []jobspec.CID{one, clash}); !errors.Is(err, jobspec.KindDupName.Error()) {
		t.Errorf("Concat of a file and a directory = %v, want E_DUP_NAME", err)
	}
}

// TestUnionReadsNoFile makes every file's block unavailable.
func TestUnionReadsNoFile(t *testing.T) {
	b := dagtest.New(t)
	one, two := build(t, b, "a/x=1", "c=3"), build(t, b, "a/y=2", "c=3")
	want := build(t, b, "a/x=1", "a/y=2", "c=3")
	for _, text := range []string{"1", "2", "3"} {
		b.Lose(b.Raw([]byte(text)).CID)
	}
	if got, err := merge.Union(context.Background(), b.Memory, []jobspec.CID{one, two}); err != nil || got != want {
		t.Errorf("Union = %s, %v, want %s", got, err, want)
	}
}

// TestUnionSwitchesToHAMT unites two plain directories into one that is too
// large to be plain.
func TestUnionSwitchesToHAMT(t *testing.T) {
	b := dagtest.New(t)
	var parts [2][]string
	for i := range 6000 {
		parts[i%2] = append(parts[i%2], fmt.Sprintf("d/f%08d=%d", i, i%7))
	}
	one, two := build(t, b, parts[0]...), build(t, b, parts[1]...)
	want := build(t, b, append(parts[0], parts[1]...)...)
	got, err := merge.Union(context.Background(), b.Memory, []jobspec.CID{one, two})
	if err != nil || got != want {
		t.Errorf("Union = %s, %v, want %s", got, err, want)
	}
	b.Reset()
	if _, err := tree.Links(context.Background(), b, mustResolve(t, b, got, "d"), ipfs.Budget{}); err != nil || len(b.Order()) < 10 {
		t.Errorf("the union is read in %d blocks, %v: it is no HAMT", len(b.Order()), err)
	}
}

func TestUnionClashes(t *testing.T) {
	refusal.Produces(t, jobspec.KindDupName)
	b := dagtest.New(t)
	var one, two []string
	for i := range 25 {
		one = append(one, fmt.Sprintf("d/f%02d=one", i))
		two = append(two, fmt.Sprintf("d/f%02d=two", i))
	}
	one, two = append(one, "x/y=1"), append(two, "x=file")
	_, err := merge.Union(context.Background(), b.Memory, []jobspec.CID{build(t, b, one...), build(t, b, two...)})
	f := jobspec.AsFailure(err)
	if !refusal.Is(t, err, jobspec.KindDupName) {
		t.Fatalf("Union = %v, want E_DUP_NAME", err)
	}
	for _, want := range []string{"26 outputs clash", `"d/f00"`, `"d/f19"`, "and 6 more"} {
		if !strings.Contains(f.Detail, want) {
			t.Errorf("detail %q lacks %q", f.Detail, want)
		}
	}
	if strings.Contains(f.Detail, "f20") {
		t.Errorf("detail %q lists over 20 paths", f.Detail)
	}
}

// However many names clash, the refusal names a few and counts the rest.
func TestUnionOfManyClashes(t *testing.T) {
	const names = 20_000
	b := dagtest.New(t)
	var roots []jobspec.CID
	for _, text := range []string{"one", "two"} {
		leaf := b.Raw([]byte(text))
		files := make([]merge.File, names)
		for i := range files {
			files[i] = merge.File{Path: fmt.Sprintf("name-%06d", i), CID: leaf.CID, Size: 3}
		}
		c, err := merge.Files(t.Context(), b.Memory, files)
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, c)
	}
	_, err := merge.Union(t.Context(), b.Memory, roots)
	if f := jobspec.AsFailure(err); f.Kind != jobspec.KindDupName || len(f.Detail) > 1000 || !strings.Contains(f.Detail, "20000 outputs clash") || !strings.Contains(f.Detail, "and 19980 more") {
		t.Errorf("Union = %.2000v", err)
	}
	if _, err := merge.Shards(t.Context(), b.Memory, roots); err != nil {
		t.Errorf("Shards of the same = %v", err)
	}
}

func TestUnionRefuses(t *testing.T) {
	b := dagtest.New(t)
	file := b.Raw([]byte("x"))
	evil := b.Dir(file.As(".."))
	deep := func(text string) jobspec.CID {
		n := b.Raw([]byte(text)).As(text)
		for range 65 {
			n = b.Dir(n).As("d")
		}
		return n.CID
	}
	gone := b.Dir(file.As("gone"))
	b.Lose(gone.CID)
	for _, c := range []struct {
		name  string
		roots []jobspec.CID
		want  jobspec.Kind
	}{
		{"a file as root", []jobspec.CID{file.CID}, jobspec.KindUnixFS},
		{"C02 a name that is not allowed", []jobspec.CID{evil.CID, b.Dir().CID}, jobspec.KindName},
		{"C08 a name twice in one root", []jobspec.CID{b.Dir(file.As("a"), b.Raw(nil).As("a")).CID}, jobspec.KindDupName},
		{"C26 too deep", []jobspec.CID{deep("a"), deep("b")}, jobspec.KindDepth},
		{"missing block", []jobspec.CID{gone.CID}, jobspec.KindFetchTimeout},
	} {
		if _, err := merge.Union(context.Background(), b.Memory, c.roots); !errors.Is(err, c.want.Error()) {
			t.Errorf("%s: Union = %v, want %s", c.name, err, c.want)
		}
	}
}

func TestShards(t *testing.T) {
	b := dagtest.New(t)
	var roots []jobspec.CID
	var want []string
	for i := range 11 {
		roots = append(roots, build(t, b, fmt.Sprintf("f=%d", i%3)))
		want = append(want, fmt.Sprintf("%02d/f=%d", i, i%3))
	}
	got, err := merge.Shards(context.Background(), b.Memory, roots)
	if all := build(t, b, want...); err != nil || got != all {
		t.Errorf("Shards = %s, %v, want %s", got, err, all)
	}
	got, err = merge.Shards(context.Background(), b.Memory, roots[:1])
	if one := build(t, b, "0/f=0"); err != nil || got != one {
		t.Errorf("Shards of one = %s, %v, want %s", got, err, one)
	}
	if got, err = merge.Shards(context.Background(), b.Memory, nil); err != nil || got != b.Dir().CID {
		t.Errorf("Shards of none = %s, %v, want the empty directory", got, err)
	}
}

func TestWrap(t *testing.T) {
	b := dagtest.New(t)
	ctx := context.Background()
	leaf := b.Raw([]byte("x"))
	if got, err := merge.Wrap(ctx, b.Memory, "data", leaf.CID); err != nil || got != build(t, b, "data=x") {
		t.Errorf("Wrap = %s, %v", got, err)
	}
	if _, err := merge.Wrap(ctx, b.Memory, "a/b", leaf.CID); !errors.Is(err, jobspec.KindName.Error()) {
		t.Errorf("C03 Wrap(a/b) = %v, want E_NAME", err)
	}
}

func TestFiles(t *testing.T) {
	b := dagtest.New(t)
	ctx := context.Background()
	x, y := b.Raw([]byte("x")), b.Raw([]byte("yy"))
	big := b.File(x, y)
	want := b.Honest(
		b.Honest(x.As("x"), big.As("big")).As("a"),
		y.As("y")).CID
	got, err := merge.Files(ctx, b.Memory, []merge.File{{Path: "y", CID: y.CID}, {Path: "a/x", CID: x.CID}, {Path: "a/big", CID: big.CID}, {Path: "a/x", CID: x.CID}})
	if err != nil || got != want {
		t.Errorf("Files = %s, %v, want %s", got, err, want)
	}
	b.Lose(x.CID) // a known size saves the reading
	got, err = merge.Files(ctx, b.Memory, []merge.File{{Path: "y", CID: y.CID}, {Path: "a/x", CID: x.CID, Size: 1}, {Path: "a/big", CID: big.CID, Size: 3}})
	if err != nil || got != want {
		t.Errorf("Files with sizes = %s, %v, want %s", got, err, want)
	}
	for _, c := range []struct {
		name  string
		files []merge.File
		want  jobspec.Kind
	}{
		{"C08 a path twice", []merge.File{{Path: "a", CID: y.CID}, {Path: "a", CID: big.CID}}, jobspec.KindDupName},
		{"C08 file, then directory", []merge.File{{Path: "a", CID: y.CID}, {Path: "a/b", CID: y.CID}}, jobspec.KindDupName},
		{"C08 directory, then file", []merge.File{{Path: "a/b", CID: y.CID}, {Path: "a", CID: y.CID}}, jobspec.KindDupName},
		{"C01 traversal", []merge.File{{Path: "../a", CID: y.CID}}, jobspec.KindName},
		{"C03 absolute", []merge.File{{Path: "/a", CID: y.CID}}, jobspec.KindName},
		{"no path", []merge.File{{CID: y.CID}}, jobspec.KindName},
		{"C26 too deep", []merge.File{{Path: strings.Repeat("d/", 64) + "f", CID: y.CID}}, jobspec.KindDepth},
		{"no CID", []merge.File{{Path: "a", Size: 1}}, jobspec.KindCIDHash},
		{"missing block", []merge.File{{Path: "a", CID: x.CID}}, jobspec.KindFetchTimeout},
	} {
		if _, err := merge.Files(ctx, b.Memory, c.files); !errors.Is(err, c.want.Error()) {
			t.Errorf("%s: Files = %v, want %s", c.name, err, c.want)
		}
	}
}
