package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	workload "github.com/ipdc/ipdc/workload/mapreduce"
)

// What mr run and mr status say of a map-reduce, in Python and as a stream: the
// parts on disk, stages, shuffle and lineage, what is remembered when only
// reduce changes, and where an error is.
func TestMapReduceCommand(t *testing.T) {
	parallel(t)
	n := newNode(t)
	dir := t.TempDir()
	write(t, dir, "in/a.txt", "to be or\nnot to be\n")
	write(t, dir, "in/b/c.txt", "to err is 7")
	in := n.ok("add", "-q", filepath.Join(dir, "in"))
	m := write(t, dir, "Map.py", "def map(key, value):\n    for w in value.split():\n        yield w, 1\n\ndef combine(key, values):\n    yield key, sum(values)\n")
	r := write(t, dir, "Reduce.py", "def reduce(key, values):\n    yield key, sum(values)\n")
	const want = "7\t1\nbe\t2\nerr\t1\nis\t1\nnot\t1\nor\t1\nto\t3\n"

	out := filepath.Join(dir, "out")
	n.ok("mr", "run", "-k", "3", "--partition", "range", "--map", m, "--reduce", r, "--combine", "-c", in, "--out", out)
	var got strings.Builder
	for _, part := range []string{"part-00000", "part-00001", "part-00002"} {
		b, err := os.ReadFile(filepath.Join(out, part))
		if err != nil {
			t.Fatal(err)
		}
		got.Write(b)
	}
	if got.String() != want {
		t.Errorf("the parts are %q, want %q", got.String(), want)
	}
	var st workload.Status
	n.decode(&st, "mr", "status", "@last", "-o", "json")
	if len(st.Stages) != 3 || len(st.Parts) != 3 || len(st.Maps) != 1 || st.Shuffle.Pairs != 7 || st.Shuffle.Bytes == 0 || st.Skew != nil {
		t.Errorf("status = %+v, want 3 stages, 3 parts, 1 map task, 7 pairs, bytes and of so few no skew", st)
	}
	for _, p := range st.Parts {
		if !p.Shard.Defined() || !p.Key.Defined() || !p.Output.Defined() || p.Node == "" {
			t.Errorf("lineage of %s is not whole: %+v", p.Name, p)
		}
	}
	if text := n.ok("mr", "status", "@last", "-o", "wide"); !strings.Contains(text, "part-00002") || strings.Contains(text, "Skew:") {
		t.Errorf("mr status -o wide says\n%s", text)
	}

	r = write(t, dir, "Reduce.py", "def reduce(key, values):\n    yield key, -sum(values)\n")
	n.ok("mr", "run", "-k", "3", "--partition", "range", "--map", m, "--reduce", r, "--combine", "-c", in)
	n.decode(&st, "mr", "status", "@last", "-o", "json")
	if st.Stages[0].Remembered != 1 || st.Stages[1].Remembered != 1 || st.Stages[2].Remembered != 0 {
		t.Errorf("with another Reduce.py stages are %+v, want sample and map remembered", st.Stages)
	}

	cid := n.ok("mr", "run", "-k", "1", "--mapper", `tr -s " " "\n"`, "--reducer", "uniq -c | awk '{ print $2 \"\\t\" $1 }'", "-c", in)
	if text := n.ok("get", cid+"/part-00000", "-"); text != strings.TrimSuffix(want, "\n") {
		t.Errorf("the stream gives %q, want %q", text, want)
	}

	bad := write(t, dir, "Bad.py", "def map(key, value):\n    yield value, 1 / (7 - len(value.split()[-1]) - 6)\n")
	n.fails(6, "mr", "run", "--map", bad, "--reduce", r, "-c", in)
	f := n.job("@last").Failure
	if f == nil || f.Kind != jobspec.KindExit || !strings.Contains(f.Detail, "map: b/c.txt, line 1 (byte 0): ZeroDivisionError") || !strings.Contains(f.Detail, "(Bad.py:2)") {
		t.Errorf("failure = %+v, want one that names file, line and place", f)
	}
}
