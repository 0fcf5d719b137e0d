package split_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/split"
	"github.com/ipdc/ipdc/jobspec"
)

// A sample is pieces of the input that are spread over all of it, whole lines
// each, or the whole input where it is no larger.
func TestSample(t *testing.T) {
	m := ipfstest.NewMemory()
	var text bytes.Buffer
	for i := range 400_000 {
		fmt.Fprintf(&text, "%07d a line\n", i)
	}
	half := text.Len()/2 - text.Len()/2%15
	files := map[string][]byte{"d/a": text.Bytes()[:half], "b": text.Bytes()[half:], "empty": nil}
	root := dataset(t, m, files)
	for _, by := range []jobspec.SplitBy{jobspec.SplitLines, jobspec.SplitBytes} {
		o := split.Options{By: by, Record: 15, Size: 64 << 10, Sample: 8}
		if by == jobspec.SplitLines {
			o.Record = 0
		}
		shards := do(t, m, root, o)
		if len(shards) != 1 || len(shards[0].Files) != 8 {
			t.Fatalf("by %s: shards %+v, want one with 8 pieces", by, shards)
		}
		got := contents(t, m, shards[0].CID)
		for i, f := range shards[0].Files {
			number, path, _ := strings.Cut(f.Path, "/")
			from := files[path][f.Offset:]
			if number != fmt.Sprintf("%05d", i) || !bytes.HasPrefix(from, []byte(got[f.Path])) || f.Offset%15 != 0 || len(got[f.Path])%15 != 0 || f.Size < 64<<10 || f.Size > 65<<10 {
				t.Errorf("by %s: piece %d is %+v", by, i, f)
			}
			if at := int64(i) * int64(text.Len()) / 8; f.Offset+map[string]int64{"b": 0, "d/a": int64(text.Len() - half)}[path]-at > 15 {
				t.Errorf("by %s: piece %d begins %d bytes into %s", by, i, f.Offset, path)
			}
		}
	}
	all := do(t, m, root, split.Options{By: jobspec.SplitLines, Size: 1 << 20, Sample: 8})
	if got := contents(t, m, all[0].CID); len(all) != 1 || len(got) != 3 || got["00000/d/a"] != string(files["d/a"]) {
		t.Errorf("the sample of a small input has %d files", len(got))
	}
	whole := do(t, m, root, split.Options{By: jobspec.SplitSize, Size: 64 << 10, Sample: 8})
	if got := contents(t, m, whole[0].CID); len(got) < 2 || got["00000/b"] != string(files["b"]) {
		t.Errorf("a sample of whole files has %d", len(got))
	}
	if none := do(t, m, dataset(t, m, nil), split.Options{By: jobspec.SplitLines, Sample: 8}); len(none) != 0 {
		t.Errorf("a sample of nothing has %d shards", len(none))
	}
}

// Of a file of one line, of tiny files, and of windows that overlap, a sample has
// each byte at most once, and the first line in any case.
func TestSampleOfOddInputs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := ipfstest.NewMemory()
		files := map[string][]byte{}
		for i := range rapid.IntRange(1, 12).Draw(rt, "files") {
			lines := rapid.SliceOfN(rapid.IntRange(0, 3000), 0, 40).Draw(rt, "lines")
			var b bytes.Buffer
			for _, n := range lines {
				fmt.Fprintf(&b, "%s\n", strings.Repeat("x", n))
			}
			files[fmt.Sprintf("f%02d", i)] = b.Bytes()
		}
		root := dataset(rt, m, files)
		shards := do(rt, m, root, split.Options{By: jobspec.SplitLines, Size: int64(rapid.IntRange(1, 4000).Draw(rt, "size")), Sample: rapid.IntRange(1, 30).Draw(rt, "sample")})
		if len(shards) == 0 {
			for path, data := range files {
				if len(data) > 0 {
					rt.Fatalf("no sample, and %s has %d bytes", path, len(data))
				}
			}
			return
		}
		got, ends := contents(rt, m, shards[0].CID), map[string]int64{}
		for _, f := range shards[0].Files {
			_, path, _ := strings.Cut(f.Path, "/")
			if f.Offset < ends[path] || !bytes.HasPrefix(files[path][f.Offset:], []byte(got[f.Path])) || f.Offset > 0 && files[path][f.Offset-1] != '\n' {
				rt.Fatalf("piece %+v is wrong", f)
			}
			ends[path] = f.Offset + f.Size
		}
	})
}
