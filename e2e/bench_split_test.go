package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/split"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// benchEntries splits and merges directories of many entries in a node's store.
func benchEntries(t testing.TB, w io.Writer) {
	fmt.Fprint(w, `
## Split and merge of many entries
Files of some bytes in one directory, split by size into a hundredth as many shards, and these shards united into one directory
again, whose CID is the first one's. In the store of a node, fsync included; 3 rounds, the median.

| entries | shards | split | an entry | merge | an entry |
|---|---|---|---|---|---|
`)
	for _, entries := range []int{10_000, 100_000} {
		var cut, joined []time.Duration
		for range 3 {
			c, j := splitAndMerge(t, entries)
			cut, joined = append(cut, c), append(joined, j)
		}
		sorted([][]time.Duration{cut, joined})
		each := func(d time.Duration) string {
			return fmt.Sprintf("%.1f µs", float64(d.Nanoseconds())/1e3/float64(entries))
		}
		s, m := quantile(cut, 0.5), quantile(joined, 0.5)
		fmt.Fprintf(w, "| %d | %d | %s | %s | %s | %s |\n", entries, entries/100, show(s), each(s), show(m), each(m))
	}
}

func splitAndMerge(t testing.TB, entries int) (cut, joined time.Duration) {
	ctx := t.Context()
	n, err := embedded.Open(ctx, embedded.Config{Dir: filepath.Join(t.TempDir(), "node")})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	add := func(name string, fill func(ipfs.Session) (jobspec.CID, error)) (jobspec.CID, time.Duration) {
		start := time.Now()
		c, err := n.Add(ctx, name, fill)
		if err != nil {
			t.Fatal(err)
		}
		return c, time.Since(start)
	}
	whole, _ := add("whole", func(s ipfs.Session) (jobspec.CID, error) {
		files := make([]merge.File, entries)
		for i := range files {
			text := fmt.Appendf(nil, "content %03d", i%1000)
			c, size, err := pack.File(ctx, s, bytes.NewReader(text))
			if err != nil {
				return c, err
			}
			files[i] = merge.File{Path: fmt.Sprintf("entry-%06d", i), CID: c, Size: size}
		}
		return merge.Files(ctx, s, files)
	})
	var roots []jobspec.CID
	_, cut = add("shards", func(s ipfs.Session) (jobspec.CID, error) {
		shards, err := split.Split(ctx, s, whole, split.Options{By: jobspec.SplitSize, Into: entries / 100})
		for _, s := range shards {
			roots = append(roots, s.CID)
		}
		if err != nil {
			return whole, err
		}
		return merge.Shards(ctx, s, roots)
	})
	again, joined := add("union", func(s ipfs.Session) (jobspec.CID, error) { return merge.Union(ctx, s, roots) })
	if again != whole {
		t.Errorf("the union of %d shards is %s, not %s", len(roots), again, whole)
	}
	return cut, joined
}

// linesSize is the size of the file of benchLines. 10 GB take five times that
// on the disk: the file, two stores, and twice the rival's copies.
func linesSize() int64 {
	size := int64(10_000_000_000)
	if s := os.Getenv("IPDC_BENCH_LINES"); s != "" {
		_, _ = fmt.Sscan(s, &size)
	}
	return size
}

func benchLines(t testing.TB, w io.Writer) {
	size := linesSize()
	src := filepath.Join(t.TempDir(), "src")
	lineFile(t, filepath.Join(src, "log"), size)
	n, k := newNode(t), testenv.Kubo(t)
	cid := n.ok("add", "-q", src)
	if theirs := k.Run("add", "--recursive", "--quieter", src); theirs != cid {
		t.Fatalf("ipdc add gives %s, Kubo %s", cid, theirs)
	}
	if err := os.RemoveAll(src); err != nil {
		t.Fatal(err)
	}
	var plan wire.Plan
	start := time.Now()
	text := n.ok("job", "plan", "--split", "lines", "--split-size", "64MiB", "-e", "cat", "-c", cid, "-o", "json")
	ours := time.Since(start)
	if err := json.Unmarshal([]byte(text), &plan); err != nil {
		t.Fatal(err)
	}
	dest := t.TempDir()
	start = time.Now()
	k.Run("get", cid, "--output", filepath.Join(dest, "got"))
	gotten := time.Since(start)
	cut := exec.Command("split", "-C", "64M", "-a", "4", filepath.Join(dest, "got", "log"), filepath.Join(dest, "part-"))
	if out, err := cut.CombinedOutput(); err != nil {
		t.Fatalf("split: %v: %s", err, out)
	}
	theirs := time.Since(start)
	fmt.Fprintf(w, `
## A file of lines, %.0f GB, split by lines
Into shards of 64 MiB that end at line ends: %d of them, as `+"`ipdc job plan --split lines`"+` shows them, once, against `+"`ipfs get`"+` and GNU `+"`split -C`"+`.
ipdc reads two blocks at each border and links to the rest; both daemons have the file already, stored on the same disk.

| what | time | bytes written | ratio |
|---|---|---|---|
| `+"`ipdc job plan --split lines`"+` | %s | the shards' nodes | %.4f |
| `+"`ipfs get`"+` and `+"`split -C 64M`"+` | %s (get %s) | twice the file | 1 |
`, float64(size)/1e9, len(plan.Tasks), show(ours), ours.Seconds()/theirs.Seconds(), show(theirs), show(gotten))
}

// lineFile writes lines of 40 to 140 bytes.
func lineFile(t testing.TB, path string, size int64) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := bufio.NewWriterSize(f, 1<<20)
	pad := strings.Repeat("0123456789", 10)
	for i, done := 0, int64(0); done < size && err == nil; i++ {
		var n int
		n, err = fmt.Fprintf(b, "%012d sensor %04d value %s\n", i, i%977, pad[:10+i*7%90])
		done += int64(n)
	}
	if err == nil {
		err = b.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
}
