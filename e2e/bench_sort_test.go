package e2e

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

const sortRecords = 2_200_000 // 220 MB

func benchTeraSort(t testing.TB, w io.Writer) {
	scale, count := mrScale()
	work := t.TempDir()
	records, sorted := filepath.Join(work, "records"), filepath.Join(work, "sorted")
	recordLines(t, records, scale*sortRecords)
	n := newNode(t)
	start := time.Now()
	cid := n.ok("add", "-q", records)
	added := time.Since(start)
	jobs := map[string]*mrJob{}
	ours := func(name string, args ...string) func() {
		return func() {
			root := n.ok(slices.Concat([]string{"mr", "run", "-c", cid, "--partition", "range"}, mrTask(t, records, 2*scale, 2*scale), args)...)
			jobs[name] = newMRJob(n.job("@last"), root)
		}
	}
	times := rounds(count, n.forget,
		ours("streaming", "--reducer", "cat"),
		ours("python", "--map", "../examples/mapreduce/terasort/terasort.py", "--reduce", "../examples/mapreduce/terasort/terasort.py", "--records", "bytes:100"),
		command(t, "sh", "-c", `LC_ALL=C exec sort --parallel=2 -S 2G -o "$2" "$1"`, "sh", records, sorted))
	for name, j := range jobs {
		dest := filepath.Join(work, name)
		n.ok("get", j.root, dest)
		if out, err := exec.Command("sh", "-c", `cat "$1"/part-* | cmp - "$2"`, "sh", dest, sorted).CombinedOutput(); err != nil {
			t.Errorf("%s is not what sort gives: %v: %s", name, err, out)
		}
	}
	fmt.Fprintf(w, `
## Map-reduce: TeraSort
%d records of 100 bytes with random keys of 10, which are lines, so that GNU sort can sort them, too; rounds: %d; the parts, one behind
the other, are byte for byte what GNU sort gives. It reads and writes plain files, without fsync, with as much memory as two tasks of
ours have. Each round of ours stages its input anew; adding the records, once, took %s.

`, scale*sortRecords, count, show(added))
	contest(w, times, 2, "`ipdc mr run --partition range --reducer cat`", "`ipdc mr run --partition range --records bytes:100 --map terasort.py --reduce terasort.py`",
		"`LC_ALL=C sort --parallel=2 -S 2G`")
	fmt.Fprintf(w, "\nWhere the time of the last round went, in seconds summed over the tasks, two of which run at a time:\n\n")
	breakdown(w, []string{"streaming", "python"}, jobs)
}

// recordLines writes records of 100 bytes that are lines, the same each time.
func recordLines(t testing.TB, path string, count int) {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 4))
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := bufio.NewWriterSize(f, 1<<20)
	for i := range count {
		var key [10]byte
		for k, bits := 0, r.Uint64(); k < len(key); k, bits = k+1, bits>>6 {
			key[k] = byte(' ' + bits&63 + bits>>58&31)
		}
		_, _ = fmt.Fprintf(b, "%s  %032X  %053d\n", key[:], i, i*7)
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
}
