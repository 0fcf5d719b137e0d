package e2e

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// benchAppend appends one file to datasets of some and of many entries.
func benchAppend(t testing.TB, w io.Writer) {
	n := newNode(t)
	dir := t.TempDir()
	const rounds = 20
	fmt.Fprintf(w, `
## An append to a dataset
Of one file of 4 KiB, new in each of %d rounds, by the command line: the file is sent, and the next version is on disk, pinned and signed. Beside
it `+"`ipdc add -q`"+` of another file of that size. Blocks are those that the node has more of afterwards, the file's own included.

`, rounds)
	sizes := []int{0, 1_000, 100_000}
	var filled time.Duration
	for _, entries := range sizes {
		n.ok("dataset", "create", datasetOf(entries))
		if entries > 0 {
			filled = timed(func() { n.ok("dataset", "append", datasetOf(entries), "--list", n.manyEntries(dir, entries)) })
		}
	}
	file := func(round, i int) string {
		path := filepath.Join(dir, fmt.Sprintf("new-%02d-%d.bin", round, i))
		randomFile(t, path, 4096, uint64(time.Now().UnixNano()))
		return path
	}
	var times [][]time.Duration
	blocks := make([]int64, len(sizes))
	for round := range rounds {
		contestants := []func(){func() { n.ok("add", "-q", file(round, len(sizes))) }}
		for i, entries := range sizes {
			contestants = append(contestants, func() { n.ok("dataset", "append", datasetOf(entries), file(round, i)) })
		}
		times = turns(times, round, contestants)
		for i, entries := range sizes { // beside the clock
			before := n.blocks()
			n.ok("dataset", "append", datasetOf(entries), file(round+rounds, i))
			blocks[i] += n.blocks() - before
		}
	}
	names := []string{"`ipdc add -q` of the file"}
	for i, entries := range sizes {
		names = append(names, fmt.Sprintf("`ipdc dataset append`, to %d entries (%.1f blocks)", entries, float64(blocks[i])/rounds))
	}
	contest(w, sorted(times), 0, names...)
	fmt.Fprintf(w, "\nThe %d entries came with one append by `--list`, of files that were there: %s.\n", sizes[len(sizes)-1], show(filled))
}

func datasetOf(entries int) string { return fmt.Sprint("of-", entries) }

// manyEntries writes a list of entries that all have one content.
func (n *node) manyEntries(dir string, entries int) string {
	cid := n.ok("add", "-q", write(n.t, dir, "content", "content\n"))
	var list strings.Builder
	for i := range entries {
		fmt.Fprintf(&list, "{\"name\":\"entry-%06d\",\"path\":%q}\n", i, cid)
	}
	return write(n.t, dir, "list", list.String())
}

// blocks is how many the node has.
func (n *node) blocks() int64 {
	n.t.Helper()
	st, err := n.client().Node(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	return st.Blocks
}
