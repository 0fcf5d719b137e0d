package e2e

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// manyLogs are three files, of which one is larger than a shard.
func manyLogs(t testing.TB) (dir string, whole map[string]string) {
	dir, whole = t.TempDir(), map[string]string{}
	for name, lines := range map[string]int{"a.log": 200, "big.log": 30_000, "z/c.log": 300} {
		var b strings.Builder
		for i := range lines {
			fmt.Fprintf(&b, "%s line %d %s\n", name, i, strings.Repeat("x", i%50))
		}
		write(t, dir, name, b.String())
		whole[name] = b.String()
	}
	return dir, whole
}

// filtered is what grep leaves of each file.
func filtered(whole map[string]string, word string) map[string]string {
	out := map[string]string{}
	for name, text := range whole {
		for line := range strings.Lines(text) {
			if strings.Contains(line, word) {
				out[name] += line
			}
		}
	}
	return out
}

func TestSplitByLines(t *testing.T) {
	parallel(t)
	n := newNode(t)
	dir, whole := manyLogs(t)
	submit := []string{"job", "submit", "--split", "lines", "--split-size", "256KiB", "-e", "grep 7 || true", "-c"}
	got := n.ok(append(submit, dir)...)
	dest := filepath.Join(t.TempDir(), "out")
	n.ok("get", got, dest)
	if diff := cmp.Diff(filtered(whole, "7"), files(t, dest)); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	first := n.job("@last")
	if first.ItemsTotal < 5 || len(first.Attempts) < 5 {
		t.Errorf("%d pieces in %d tasks: the large file was not split", first.ItemsTotal, len(first.Attempts))
	}

	// With one more file only its own shard, and perhaps its neighbour, is run.
	write(t, dir, "zz.log", "new line 7\n")
	whole["zz.log"] = "new line 7\n"
	got = n.ok(append(submit, dir)...)
	n.ok("get", got, dest, "--force")
	if diff := cmp.Diff(filtered(whole, "7"), files(t, dest)); diff != "" {
		t.Errorf("result with one more file (-want +got):\n%s", diff)
	}
	if j := n.job("@last"); j.Remembered == 0 || j.ItemsTotal-j.Remembered > 3 {
		t.Errorf("%d of %d pieces remembered, want all but the new one and its neighbours", j.Remembered, j.ItemsTotal)
	}

	// Into halves, once for each: the files are as the program wrote them.
	got = n.ok("job", "submit", "--split", "lines", "--into", "2", "--once", "-e", "cat $(find . -type f | sort) > /outputs/all", "-c", dir)
	all := whole["a.log"] + whole["big.log"] + whole["z/c.log"] + whole["zz.log"]
	dest = filepath.Join(t.TempDir(), "all")
	n.ok("get", got, dest)
	if diff := cmp.Diff(map[string]string{"all": all}, files(t, dest)); diff != "" {
		t.Errorf("two halves concatenated are not the dataset")
	}
}

func TestSplitBySize(t *testing.T) {
	parallel(t)
	n := newNode(t)
	dir, whole := manyLogs(t)
	cid := n.ok("add", "-q", dir)
	got := n.ok("job", "submit", "--split", "size", "--into", "2", "--once", "-e", "cp -r . /outputs", "-c", cid)
	if got != cid {
		t.Errorf("copies of the shards, united, are %s, want the dataset %s", got, cid)
	}
	if tasks := n.job("@last").Attempts; len(tasks) != 2 {
		t.Errorf("%d tasks, want 2", len(tasks))
	}
	got = n.ok("job", "submit", "--split", "size", "--into", "3", "--merge", "shards", "--once", "-e", "cp -r . /outputs", "-c", cid)
	dest := filepath.Join(t.TempDir(), "out")
	n.ok("get", got, dest)
	joined := map[string]string{}
	for path, text := range files(t, dest) {
		_, name, _ := strings.Cut(path, "/")
		joined[name] += text
	}
	if !maps.Equal(joined, whole) {
		t.Error("the folders of the shards do not hold the dataset")
	}
	n.fails(2, "job", "submit", "--into", "3", "--once", "-e", "true", "-c", cid)
}
