package e2e

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/rmtree"
)

// What the sections on map-reduce are about. With IPDC_BENCH_FULL it is a GiB.
const (
	mrWords = 23_000_000 // 221 MB
	mrParts = 4
)

// mrScale is how many times that much is measured, and how often.
func mrScale() (scale, rounds int) {
	scale, rounds = 1, 2
	if os.Getenv("IPDC_BENCH_FULL") != "" {
		scale = 5
	}
	if s := os.Getenv("IPDC_BENCH_ROUNDS"); s != "" {
		_, _ = fmt.Sscan(s, &rounds)
	}
	return scale, rounds
}

// mrTask are flags of each job of ours: tasks of one processor each, and so many
// shards of equal size.
func mrTask(t testing.TB, input string, shards, parts int) []string {
	fi, err := os.Stat(input)
	if err != nil {
		t.Fatal(err)
	}
	size := fi.Size()/int64(shards)>>20 + 1
	return []string{"--cache", "off", "--cpu", "1", "--memory", "1GiB", "--disk", "4GiB", "-k", fmt.Sprint(parts), "--split-size", fmt.Sprintf("%dMiB", size)}
}

func benchWordCount(t testing.TB, w io.Writer) {
	scale, count := mrScale()
	work := t.TempDir()
	for _, dir := range []string{work, filepath.Dir(work)} { // the container's user reads it
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text := filepath.Join(work, "t.txt")
	zipfText(t, text, scale*mrWords)
	n := newNode(t)
	box := newMapReduceBox(t, n, work)
	start := time.Now()
	cid := n.ok("add", "-q", text)
	added := time.Since(start)

	script := func(name string) string { return filepath.Join("testdata", "bench", name) }
	jobs := map[string]*mrJob{}
	ours := func(name string, args ...string) func() {
		return func() {
			root := n.ok(slices.Concat([]string{"mr", "run", "-c", cid}, mrTask(t, text, mrParts*scale, mrParts), args)...)
			jobs[name] = newMRJob(n.job("@last"), root)
		}
	}
	contestants := []func(){
		ours("streaming", "--mapper", "python3 map.py", "--reducer", "python3 reduce.py", "--file", script("map.py"), "--file", script("reduce.py")),
		func() {
			box.sh("cd /work && cat t.txt | python3 map.py | LC_ALL=C sort | python3 reduce.py > plain.txt")
		},
		ours("python", "--map", script("wordcount.py"), "--reduce", script("wordcount.py"), "--combine"),
	}
	names := []string{"`ipdc mr run --mapper 'python3 map.py' --reducer 'python3 reduce.py'`", "`cat t.txt \\| map.py \\| LC_ALL=C sort \\| reduce.py`",
		"`ipdc mr run --map wordcount.py --reduce wordcount.py --combine`"}
	spark := newSpark(t)
	if spark != nil {
		contestants = append(contestants, func() { spark.run(script("spark.py"), text, filepath.Join(work, "spark"), fmt.Sprint(mrParts)) })
		names = append(names, "PySpark "+spark.version+", `local[2]`, flatMap and reduceByKey")
	}
	times := rounds(count, n.forget, contestants...)

	want := sortedLines(t, filepath.Join(work, "plain.txt"))
	for name, j := range jobs {
		dest := filepath.Join(work, name)
		n.ok("get", j.root, dest)
		if got := sortedLines(t, dest); got != want {
			t.Errorf("%s gives other counts than the pipeline: %s", name, j.root)
		}
	}
	if spark != nil && sortedLines(t, filepath.Join(work, "spark")) != want {
		t.Error("PySpark gives other counts than the pipeline")
	}

	fi, err := os.Stat(text)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(w, `
## Map-reduce: word count
%.0f MB of text with %d million words, 50,000 different ones by Zipf's law, rounds: %d; all give the same counts. The two scripts are the
same, unmodified, in the pipeline and in the job, and run in the same image (the pipeline's container is there already, and has no
limits); a task of ours has one processor and 1 GiB. Each round of ours stages its input anew; adding the text, once, took %s.
PySpark runs on the machine itself, the start of its JVM included.

`, float64(fi.Size())/1e6, scale*mrWords/1e6, count, show(added))
	contest(w, times[:2], 1, names[:2]...)
	fmt.Fprintln(w)
	base := len(names) - 1 // PySpark, if it is there
	contest(w, times[2:], base-2, names[2:]...)
	fmt.Fprintf(w, "\nWhere the time of the last round went, in seconds summed over the tasks, two of which run at a time:\n\n")
	breakdown(w, []string{"streaming", "python"}, jobs)
}

// forget lets go of all staged inputs, so that the next job stages its own.
func (n *node) forget() {
	n.t.Helper()
	n.stop()
	if err := rmtree.Remove(filepath.Join(n.dir, "inputs")); err != nil {
		n.t.Fatal(err)
	}
	n.start()
}

// rounds runs the contestants in turns, and before each one what is not timed.
func rounds(count int, before func(), contestants ...func()) [][]time.Duration {
	times := make([][]time.Duration, len(contestants))
	for range count {
		for i, run := range contestants {
			before()
			times[i] = append(times[i], timed(run))
		}
	}
	return sorted(times)
}

// zipfText writes words by Zipf's law, which are the same each time.
func zipfText(t testing.TB, path string, count int) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 0, 50_000)
	for seen := map[string]bool{}; len(words) < cap(words); {
		b := make([]byte, 4+r.IntN(10))
		for i := range b {
			b[i] = "etaoinshrdlucmfwypvbgkjqxz"[min(r.IntN(26), r.IntN(26))]
		}
		if !seen[string(b)] {
			seen[string(b)] = true
			words = append(words, string(b))
		}
	}
	zipf := rand.NewZipf(r, 1.07, 3, uint64(len(words)-1))
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := bufio.NewWriterSize(f, 1<<20)
	for done := 0; done < count; {
		n := 6 + r.IntN(9)
		for range n - 1 {
			_, _ = b.WriteString(words[zipf.Uint64()])
			_ = b.WriteByte(' ')
		}
		_, _ = b.WriteString(words[zipf.Uint64()])
		_ = b.WriteByte('\n')
		done += n
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
}

// newMapReduceBox is a container of the stock image python that stays up, with
// the text and the scripts in /work.
func newMapReduceBox(t testing.TB, n *node, work string) plainBox {
	t.Helper()
	for _, name := range []string{"map.py", "reduce.py"} {
		b, err := os.ReadFile(filepath.Join("testdata", "bench", name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, work, name, string(b))
	}
	return startBox(t, n, "-v", work+":/work")
}

// sortedLines returns the sum of all lines of a file, or of the files in a
// directory, in the order of LC_ALL=C sort.
func sortedLines(t testing.TB, path string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `LC_ALL=C export LC_ALL; find "$1" -type f ! -name '.*' ! -name '_*' -exec cat {} + | sort | sha256sum`, "sh", path).CombinedOutput()
	if err != nil || strings.HasPrefix(string(out), fmt.Sprintf("%x", sha256.Sum256(nil))) {
		t.Fatalf("%s has no lines: %v: %s", path, err, out)
	}
	return string(out)
}

// spark is a PySpark that scripts/pyspark.sh has made.
type spark struct {
	t               testing.TB
	python, version string
}

// newSpark returns nil where there is none.
func newSpark(t testing.TB) *spark {
	t.Helper()
	found, _ := filepath.Glob("../build/pyspark-*/complete")
	if len(found) == 0 {
		t.Log("there is no PySpark to compare with; make one with scripts/pyspark.sh, or BENCH=mr make bench")
		return nil
	}
	dir, err := filepath.Abs(filepath.Dir(found[len(found)-1]))
	if err != nil {
		t.Fatal(err)
	}
	return &spark{t, filepath.Join(dir, "bin", "python3"), strings.TrimPrefix(filepath.Base(dir), "pyspark-")}
}

// run runs a program with a new directory for its output, the second argument.
func (s *spark) run(args ...string) {
	s.t.Helper()
	if err := os.RemoveAll(args[2]); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(s.python, args...)
	cmd.Env = append(os.Environ(), "PYSPARK_PYTHON="+s.python)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("PySpark: %v: %.2000s", err, out)
	}
}
