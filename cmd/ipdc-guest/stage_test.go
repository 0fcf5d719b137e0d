package main_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/wire/guest"
)

// stage runs the guest as the command of a task: PID 1 runs map, reduce or
// sample, which runs the user's command.
func (b box) stage(args ...string) result {
	b.t.Helper()
	return b.run(guest.Task{Command: append([]string{binary, "-root", b.root}, args...), Memory: 32 << 20})
}

// mapReduce runs a whole job of one map task by hand and returns the parts.
func mapReduce(t *testing.T, inputs map[string]string, mapArgs, reduceArgs []string, partitions int) string {
	t.Helper()
	b := newBox(t, inputs)
	if r := b.stage(append([]string{"map", fmt.Sprint("--partitions=", partitions)}, mapArgs...)...); r.code != 0 {
		t.Fatalf("map: exit code %d, %s", r.code, r.stderr)
	}
	var all strings.Builder
	for p := range partitions {
		name := fmt.Sprintf("part-%05d", p)
		in := map[string]string{}
		if run, ok := b.outputs()[name]; ok {
			in[name+"/00000000"] = run
		}
		r := newBox(t, in)
		r.must(os.MkdirAll(filepath.Join(r.at(guest.Inputs), name), 0o755))
		if res := r.stage(append([]string{"reduce"}, reduceArgs...)...); res.code != 0 {
			t.Fatalf("reduce: exit code %d, %s", res.code, res.stderr)
		}
		all.WriteString(r.outputs()[name])
	}
	return all.String()
}

// pipeline is what the shell makes of the same.
func pipeline(t *testing.T, text, mapper, reducer string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", fmt.Sprintf("(%s) | LC_ALL=C sort | (%s)", mapper, reducer))
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func sortLines(text string) string {
	lines := strings.SplitAfter(text, "\n")
	sort.Strings(lines)
	return strings.Join(lines, "")
}

func TestStreaming(t *testing.T) {
	const mapper = `tr -s ' ' '\n' | awk '{print $0 "\t" 1}'`
	const reducer = `awk -F'\t' '$1 != k {if (NR > 1) print k "\t" n; k = $1; n = 0} {n += $2} END {if (NR) print k "\t" n}'`
	inputs := map[string]string{"a": strings.Repeat("the quick brown fox\n", 3000), "b/c": "no end: the fox", "d": "", "e": "next file\n"}
	want := pipeline(t, inputs["a"]+inputs["b/c"]+"\n"+inputs["e"], mapper, reducer)
	for _, k := range []int{1, 3, 12} {
		for _, combiner := range []string{"", reducer} {
			args := []string{"--combiner=" + combiner, "--", "sh", "-c", mapper}
			if got := mapReduce(t, inputs, args, []string{"--", "sh", "-c", reducer}, k); sortLines(got) != want {
				t.Errorf("K = %d, combiner %q: got %q, want %q", k, combiner, got, want)
			}
		}
	}
	if got := mapReduce(t, inputs, nil, nil, 1); got != pipeline(t, inputs["a"]+inputs["b/c"]+"\n"+inputs["e"], "cat", "cat") {
		t.Errorf("identity: got %d bytes", len(got))
	}
}

func TestStageEnds(t *testing.T) {
	big := map[string]string{"a": strings.Repeat("line\n", 1<<20), "b": "x\n"}
	for _, tc := range []struct {
		name   string
		inputs map[string]string
		args   []string
		code   int
		signal int
		detail string
	}{
		{name: "a mapper that stops reading", inputs: big, args: []string{"map", "--", "head", "-n", "1"}},
		{name: "a mapper that dies", inputs: big, args: []string{"map", "--", "sh", "-c", "exit 7"}, code: 7, detail: "the mapper ended with exit code 7"},
		{name: "a mapper that is killed", inputs: big, args: []string{"map", "--", "sh", "-c", "kill -9 $$"}, code: 137, signal: 9, detail: "signal 9"},
		{name: "a mapper that crashes", inputs: big, args: []string{"map", "--", "sh", "-c", "kill -SEGV $$"}, code: 139, signal: 11, detail: "signal 11"},
		{name: "the file is named", inputs: big, args: []string{"map", "--records=file", "--", "sh", "-c", "exec >&2; [ $IPDC_ITEM = a ]"}, code: 1, detail: "exit code 1 at b"},
		{name: "no such mapper", inputs: big, args: []string{"map", "--", "no-such-program"}, code: 127, detail: "no such program"},
		{name: "a combiner that dies", inputs: big, args: []string{"map", "--combiner=exit 3", "--", "cat"}, code: 3, detail: "the combiner ended with exit code 3"},
		{name: "a line without an end", inputs: big, args: []string{"map", "--", "cat", "/dev/zero"}, code: 125, detail: "with this task's memory it may have 2097152"},
		{name: "text for frames", inputs: big, args: []string{"map", "--io=frames", "--", "echo", "hello world, this is text"}, code: 125, detail: "print to stdout itself"},
		{name: "wrong arguments", args: []string{"map", "--partitions=0"}, code: 125, detail: "--partitions 0: want 1 to 10000"},
		{name: "another format", args: []string{"reduce", "--format=2"}, code: 125, detail: "knows format 1"},
		{name: "a run that is none", inputs: map[string]string{"part-00000/00000000": "hello, world, this is text"}, args: []string{"reduce"}, code: 125, detail: "not a whole run"},
		{name: "a process that got away", inputs: big, args: []string{"map", "--", "sh", "-c", "setsid sh -c 'echo $$ >$IPDC_OUTPUTS/pid; exec sleep 1000 2>/dev/null' & until [ -s $IPDC_OUTPUTS/pid ]; do :; done; head -n 1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBox(t, tc.inputs)
			r := b.stage(tc.args...)
			if pid, err := os.ReadFile(b.at(guest.Outputs + "/pid")); err == nil {
				b.must(exec.Command("kill", strings.TrimSpace(string(pid))).Run()) // it is still there
			}
			end := r.lines[len(r.lines)-1]
			if r.code != tc.code || end.Signal != tc.signal || !strings.Contains(r.stderr, tc.detail) {
				t.Errorf("exit code %d, signal %d, stderr %q, want %d, %d, %q", r.code, end.Signal, r.stderr, tc.code, tc.signal, tc.detail)
			}
			if tc.code != 0 && (len(r.lines) != 2 || !strings.Contains(r.lines[0].Detail, tc.detail)) {
				t.Errorf("report %+v, want %q", r.lines, tc.detail)
			}
			if tc.code == 0 && (len(r.lines) != 2 || r.lines[0].Counters["map.pairs"] != 1) {
				t.Errorf("report %+v, want one pair", r.lines)
			}
		})
	}
}

func TestSampleAndRange(t *testing.T) {
	var text bytes.Buffer
	for i := range 50_000 {
		fmt.Fprintf(&text, "%05d\tx\n", i*7919%50_000)
	}
	b := newBox(t, map[string]string{"00000/a": text.String()})
	if r := b.stage("sample"); r.code != 0 || r.lines[0].Counters["sample.pairs"] != 50_000 {
		t.Fatalf("sample: exit code %d, %s, %+v", r.code, r.stderr, r.lines)
	}
	in := newBox(t, map[string]string{"data/a": text.String(), "side/sample/00000/keys": b.outputs()["keys"]})
	if r := in.stage("map", "--partition=range", "--partitions=4", "--data=/inputs/data"); r.code != 0 {
		t.Fatalf("map: exit code %d, %s", r.code, r.stderr)
	}
	var all string
	for p := range 4 {
		name := fmt.Sprintf("part-%05d", p)
		red := newBox(t, map[string]string{name + "/00000000": in.outputs()[name]})
		if r := red.stage("reduce"); r.code != 0 {
			t.Fatalf("reduce: exit code %d, %s", r.code, r.stderr)
		}
		part := red.outputs()[name]
		if n := strings.Count(part, "\n"); n < 11_500 || n > 13_500 {
			t.Errorf("part %d has %d lines of 50000", p, n)
		}
		all += part
	}
	if all != sortLines(text.String()) {
		t.Error("the parts one behind the other are not sorted")
	}
}

// A command's output comes to us, and may wait in its buffers.
func TestOutputIsBuffered(t *testing.T) {
	t.Setenv("PYTHONUNBUFFERED", "1")
	t.Setenv("KEPT", "yes")
	b := newBox(t, map[string]string{"a": "x\n"})
	if r := b.stage("map", "--", "sh", "-c", `echo "${PYTHONUNBUFFERED-unset} $KEPT"`); r.code != 0 {
		t.Fatalf("exit code %d, %s", r.code, r.stderr)
	}
	if got := b.outputs()["part-00000"]; !strings.Contains(got, "unset yes") {
		t.Errorf("the mapper saw %q", got)
	}
}

// reduceBox has one map task's only partition in it.
func reduceBox(t *testing.T, text string) box {
	t.Helper()
	b := newBox(t, map[string]string{"a": text})
	if r := b.stage("map"); r.code != 0 {
		t.Fatalf("map: exit code %d, %s", r.code, r.stderr)
	}
	return newBox(t, map[string]string{"part-00000/00000000": b.outputs()["part-00000"]})
}

func TestReduceEnds(t *testing.T) {
	lines := strings.Repeat("a\t1\n", 1<<20) + "b\t2\n"
	for _, tc := range []struct {
		name, reducer, out, detail string
		code                       int
	}{
		{name: "a reducer that stops reading", reducer: "head -n 1", out: "a\t1\n"},
		{name: "a reducer that reads all", reducer: "wc -l", out: "1048577\n"},
		{name: "a reducer that dies", reducer: "read x; echo $x; exit 9", out: "a 1\n", code: 9, detail: "the reducer ended with exit code 9"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := reduceBox(t, lines)
			r := b.stage("reduce", "--", "sh", "-c", tc.reducer)
			if got := b.outputs()["part-00000"]; r.code != tc.code || got != tc.out || !strings.Contains(r.stderr, tc.detail) {
				t.Errorf("exit code %d, output %.50q, stderr %q", r.code, got, r.stderr)
			}
		})
	}
	t.Run("counters", func(t *testing.T) {
		r := reduceBox(t, lines).stage("reduce")
		c := r.lines[0].Counters
		if c["reduce.pairs"] != 1<<20+1 || c["reduce.groups"] != 2 || c["reduce.largest_group"] != 1<<20 || c["reduce.records"] != 2 || c["reduce.bytes_out"] != int64(len(lines)) {
			t.Errorf("counters %v", c)
		}
	})
	t.Run("no run at all", func(t *testing.T) {
		b := newBox(t, nil)
		b.must(os.Mkdir(b.at(guest.Inputs+"/part-00042"), 0o755))
		r := b.stage("reduce", "--", "wc", "-l")
		if got, ok := b.outputs()["part-00042"]; r.code != 0 || !ok || strings.TrimSpace(got) != "0" {
			t.Errorf("exit code %d, output %q, %v, %s", r.code, got, ok, r.stderr)
		}
	})
}

// The guest keeps within the container's limit, whatever the size of the input.
func TestMapMemory(t *testing.T) {
	var text bytes.Buffer
	for i := range 1_500_000 {
		fmt.Fprintf(&text, "%d line of a text\t%d\n", i*7919%1_500_000, i)
	}
	b := newBox(t, map[string]string{"a": text.String()})
	r := b.stage("map", "--partitions=2")
	c := r.lines[0].Counters
	if r.code != 0 || c["map.spills"] < 2 || c["map.pairs"] != 1_500_000 || c["map.records"] != 1_500_000 || c["map.bytes_spilled"] < int64(text.Len()) {
		t.Errorf("exit code %d, %s, counters %v", r.code, r.stderr, c)
	}
	if rss := r.lines[1].MaxRSS; rss > 32<<20 {
		t.Errorf("%d MiB were resident, of 32", rss>>20)
	}
}

// A command that is run for each file is told its path in the whole input, also
// where it is a piece of a sample.
func TestSampleOfFiles(t *testing.T) {
	b := newBox(t, map[string]string{"00000/d/a": "x", "00003/b": "y"})
	r := b.stage("sample", "--records=file", "--", "sh", "-c", `echo "$IPDC_ITEM"`)
	if keys := b.outputs()["keys"]; r.code != 0 || !strings.Contains(keys, "d/a") || strings.Contains(keys, "0000") {
		t.Errorf("exit code %d, %s, sample %q", r.code, r.stderr, keys)
	}
}
