package split_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/split"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// dataset packs files, by path, into a directory.
func dataset(t fataler, s ipfs.Session, files map[string][]byte) jobspec.CID {
	t.Helper()
	var list []merge.File
	for path, data := range files {
		c, _, err := pack.File(context.Background(), s, bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, merge.File{Path: path, CID: c, Size: int64(len(data))})
	}
	root, err := merge.Files(context.Background(), s, list)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func do(t fataler, s ipfs.Session, root jobspec.CID, o split.Options) []split.Shard {
	t.Helper()
	shards, err := split.Split(context.Background(), s, root, o)
	if err != nil {
		t.Fatalf("Split(%+v) = %v", o, err)
	}
	return shards
}

// contents reads all files of a directory.
func contents(t fataler, s ipfs.Getter, root jobspec.CID) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := tree.Read(context.Background(), s, root, ipfs.Budget{}, func(e tree.Entry, c *tree.Content) error {
		if e.Kind != tree.File {
			return nil
		}
		var b strings.Builder
		_, err := c.Copy(context.Background(), &b)
		files[e.Path] = b.String()
		return err
	})
	if err != nil {
		t.Fatalf("read %s: %v", root, err)
	}
	return files
}

// joined puts the contents of shards together, in their order.
func joined(t fataler, s ipfs.Getter, shards []split.Shard) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, sh := range shards {
		var size int64
		part := contents(t, s, sh.CID)
		for _, f := range sh.Files {
			if f.Offset != int64(len(all[f.Path])) || f.Size != int64(len(part[f.Path])) {
				t.Fatalf("shard %s tells of %s: %d bytes at %d, want %d at %d", sh.CID, f.Path, f.Size, f.Offset, len(part[f.Path]), len(all[f.Path]))
			}
		}
		for path, text := range part {
			all[path] += text
			size += int64(len(text))
		}
		if size != sh.Bytes || len(part) != len(sh.Files) || len(part) == 0 {
			t.Fatalf("shard %s of %d bytes and %d files holds %d files of %d bytes", sh.CID, sh.Bytes, len(sh.Files), len(part), size)
		}
	}
	return all
}

func texts(files map[string][]byte) map[string]string {
	m := map[string]string{}
	for path, data := range files {
		m[path] = string(data)
	}
	return m
}

func cids(shards []split.Shard) (list []jobspec.CID) {
	for _, s := range shards {
		list = append(list, s.CID)
	}
	return list
}

// Whatever the dataset: each byte is in one shard, in order, lines are whole,
// and the bounds hold.
func TestShardsHoldAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.StringMatching(`[a-z]{0,40}\n`)
		text := rapid.Custom(func(t *rapid.T) []byte {
			s := strings.Join(rapid.SliceOfN(line, 0, 50).Draw(t, "lines"), "")
			return []byte(s + rapid.StringMatching(`[a-z]{0,9}`).Draw(t, "rest"))
		})
		files := rapid.MapOfN(rapid.StringMatching(`[abc]/[a-d]|[x-z]`), text, 0, 10).Draw(t, "files")
		o := split.Options{
			By:     rapid.SampledFrom([]jobspec.SplitBy{jobspec.SplitSize, jobspec.SplitLines, jobspec.SplitBytes}).Draw(t, "by"),
			Size:   rapid.Int64Range(1, 3000).Draw(t, "size"),
			Into:   rapid.SampledFrom([]int{0, 0, 1, 2, 3, 7, 500}).Draw(t, "into"),
			Record: rapid.SampledFrom([]int64{0, 1, 10, 97, 5000}).Draw(t, "record"),
		}
		s := ipfstest.NewMemory()
		shards := do(t, s, dataset(t, s, files), o)
		if diff := cmp.Diff(texts(files), joined(t, s, shards)); diff != "" {
			t.Fatalf("joined shards (-dataset +shards):\n%s", diff)
		}
		if o.Into > 0 && len(shards) > o.Into {
			t.Fatalf("%d shards, asked for %d", len(shards), o.Into)
		}
		last := ""
		for _, sh := range shards {
			for _, f := range sh.Files {
				if o.By == jobspec.SplitBytes && f.Offset%max(o.Record, 1) != 0 {
					t.Fatalf("a piece of %s begins at %d, inside a record of %d", f.Path, f.Offset, o.Record)
				}
			}
			part := contents(t, s, sh.CID)
			for _, path := range slices.Sorted(maps.Keys(part)) {
				if path < last {
					t.Fatalf("%s comes after %s", path, last)
				}
				last = path
				if o.By == jobspec.SplitSize && part[path] != string(files[path]) {
					t.Fatalf("%s is cut", path)
				}
				if rest := string(files[path]); o.By == jobspec.SplitLines && !strings.HasSuffix(rest, part[path]) && !strings.HasSuffix(part[path], "\n") {
					t.Fatalf("%s is cut inside a line", path)
				}
			}
		}
	})
}

// logs is a text of n lines of different lengths.
func logs(n int) []byte {
	var b bytes.Buffer
	r := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		fmt.Fprintf(&b, "%d %s\n", i, strings.Repeat("x", r.IntN(60)))
	}
	return b.Bytes()
}

// A file of several leaves and levels is cut near the multiples, and only the
// leaves at its borders are read.
func TestLinesOfOneLargeFile(t *testing.T) {
	data := logs(200_000) // 8 MB, 8 leaves
	s := ipfstest.NewMemory()
	root := dataset(t, s, map[string][]byte{"log": data})
	s.Reset()
	shards := do(t, s, root, split.Options{By: jobspec.SplitLines, Size: 3 << 20})
	leaves := 0
	for _, c := range s.Order() {
		if c.Cid().Type() == cid.Raw {
			leaves++
		}
	}
	if want := 4 * (len(shards) - 1); leaves == 0 || leaves > want {
		t.Errorf("%d leaves were read for %d borders, want at most %d", leaves, len(shards)-1, want)
	}
	if diff := cmp.Diff(string(data), joined(t, s, shards)["log"]); diff != "" {
		t.Error("the shards are not the file")
	}
	for i, sh := range shards[:len(shards)-1] {
		if off := sh.Bytes - 3<<20; off < -80 || off > 80 {
			t.Errorf("shard %d has %d bytes, want about %d", i, sh.Bytes, 3<<20)
		}
	}
}

// Records are found by counting: no leaf is read, but the one at a border is
// cut.
func TestRecordsOfOneLargeFile(t *testing.T) {
	const record = 100
	data := logs(200_000)
	data = data[:len(data)/record*record+37] // the last one is short
	s := ipfstest.NewMemory()
	root := dataset(t, s, map[string][]byte{"log": data})
	shards := do(t, s, root, split.Options{By: jobspec.SplitBytes, Size: 3 << 20, Record: record})
	var at []int64
	for _, sh := range shards {
		at = append(at, sh.Files[0].Offset)
	}
	want := []int64{0}
	for o := int64(3 << 20); o < int64(len(data)); o += 3 << 20 {
		want = append(want, (o+record-1)/record*record)
	}
	if diff := cmp.Diff(want, at); diff != "" || len(want) < 3 {
		t.Errorf("pieces begin at (-want +got):\n%s", diff)
	}
	if joined(t, s, shards)["log"] != string(data) {
		t.Error("the shards are not the file")
	}
	if got := do(t, s, root, split.Options{By: jobspec.SplitBytes, Size: 3 << 20, Record: 1 << 30}); len(got) != 1 {
		t.Errorf("a file of one record gives %d shards, want 1", len(got))
	}
}

// A dataset that grows by a file keeps its other shards.
func TestShardsOfAGrownDataset(t *testing.T) {
	files := map[string][]byte{}
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 3000 {
		files[fmt.Sprintf("%02d/%04d", i%7, i)] = bytes.Repeat([]byte{byte(i)}, r.IntN(3000))
	}
	s := ipfstest.NewMemory()
	o := split.Options{By: jobspec.SplitSize, Size: 256 << 10}
	before := cids(do(t, s, dataset(t, s, files), o))
	files["03/0000a"] = []byte("new")
	after := cids(do(t, s, dataset(t, s, files), o))
	if len(before) < 20 {
		t.Fatalf("%d shards are too few to tell", len(before))
	}
	gone := 0
	for _, c := range before {
		if !slices.Contains(after, c) {
			gone++
		}
	}
	if gone == 0 || gone > 3 {
		t.Errorf("%d of %d shards changed with one new file, want 1 to 3", gone, len(before))
	}
}

func TestShardsAreBounded(t *testing.T) {
	s := ipfstest.NewMemory()
	empty, _, err := pack.File(t.Context(), s, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	tiny := make([]merge.File, 12_000)
	for i := range tiny {
		tiny[i] = merge.File{Path: fmt.Sprintf("%05d", i), CID: empty}
	}
	root, err := merge.Files(t.Context(), s, tiny)
	if err != nil {
		t.Fatal(err)
	}
	for _, sh := range do(t, s, root, split.Options{By: jobspec.SplitSize, Size: 1 << 40}) {
		if len(sh.Files) > 10_000 {
			t.Errorf("a shard has %d files, want at most 10,000", len(sh.Files))
		}
	}
	if got := do(t, s, dataset(t, s, nil), split.Options{By: jobspec.SplitLines}); len(got) != 0 {
		t.Errorf("an empty dataset has %d shards, want none", len(got))
	}
}

// A line that is longer than several shards stays whole.
func TestLongLine(t *testing.T) {
	data := []byte("short\n" + strings.Repeat("l", 5<<20) + "\nend\n")
	s := ipfstest.NewMemory()
	for _, o := range []split.Options{{Size: 1 << 20}, {Into: 5}} {
		o.By = jobspec.SplitLines
		shards := do(t, s, dataset(t, s, map[string][]byte{"f": data}), o)
		if len(shards) != 2 || joined(t, s, shards)["f"] != string(data) {
			t.Errorf("Split(%+v) gave %+v, want the end as a shard of its own", o, shards)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := ipfstest.NewMemory()
	c, _, err := pack.File(t.Context(), s, strings.NewReader("a\nb\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := split.Split(t.Context(), s, c, split.Options{By: jobspec.SplitLines}); !errors.Is(err, jobspec.KindUnixFS.Error()) {
		t.Errorf("Split of a file = %v, want E_UNIXFS", err)
	}
	root := dataset(t, s, map[string][]byte{"a": []byte("1"), "b": []byte("2")})
	few := split.Options{By: jobspec.SplitSize, Budget: ipfs.Budget{Entries: 1}}
	if _, err := split.Split(t.Context(), s, root, few); !errors.Is(err, jobspec.KindLimitEntries.Error()) {
		t.Errorf("Split over its budget = %v, want E_LIMIT_ENTRIES", err)
	}
	few.Budget.Entries = 2
	if _, err := split.Split(t.Context(), s, root, few); err != nil {
		t.Errorf("Split within its budget = %v", err)
	}
}

// Each entry of the root is a shard of its own, whatever its size, under its
// own name.
func TestShardsOfEntries(t *testing.T) {
	s := ipfstest.NewMemory()
	big := make([]byte, 3<<20)
	files := map[string][]byte{"a/x": []byte("1"), "a/y/z": []byte("2"), "a.b/x": big, "a-/x": nil, "b": []byte("3")}
	shards := do(t, s, dataset(t, s, files), split.Options{By: jobspec.SplitEntries})
	want := [][]string{{"a-/x"}, {"a.b/x"}, {"a/x", "a/y/z"}, {"b"}}
	var got [][]string
	for _, sh := range shards {
		got = append(got, slices.Sorted(maps.Keys(contents(t, s, sh.CID))))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("shards (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(texts(files), joined(t, s, shards)); diff != "" {
		t.Errorf("joined shards (-dataset +shards):\n%s", diff)
	}
	files["a/new"] = []byte("4")
	if again := do(t, s, dataset(t, s, files), split.Options{By: jobspec.SplitEntries}); !slices.Equal(cids(shards[:2]), cids(again[:2])) || again[3].CID != shards[3].CID {
		t.Errorf("shards changed where nothing did: %v, then %v", cids(shards), cids(again))
	}
}
