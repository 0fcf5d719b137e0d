package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// countBytes is a Python job whose keys are bytes of any kind.
const countBytes = `
import base64

def map(key, value):
    yield base64.b64decode(value), len(value)

def reduce(key, values):
    yield base64.b64encode(key) + b" %d\n" % sum(values)
`

// tagged is a Python job that says which of several it is.
func tagged(tag string) string {
	return fmt.Sprintf(`
def map(key, value):
    yield value, %q

def reduce(key, values):
    yield key, " ".join(values)
`, tag)
}

// python writes a Python file, always of one name, and returns its path.
func python(t testing.TB, source string) string {
	t.Helper()
	return write(t, t.TempDir(), "Job.py", source)
}

func (n *node) mrPython(file, input string, args ...string) string {
	n.t.Helper()
	return n.ok(append([]string{"mr", "run", "-q", "-k", "2", "--map", file, "--reduce", file, "-c", input}, args...)...)
}

// What a job gives is of its own program, bytes and input: of two at once, of
// the same file with other functions, of an input that has grown.
func TestMapReduceOfWhatChanges(t *testing.T) {
	parallel(t)
	n := newNode(t)
	t.Run("any bytes are keys", func(t *testing.T) { anyBytes(t, n) })
	t.Run("two jobs at once", func(t *testing.T) { twoAtOnce(t, n) })
	t.Run("a file more", func(t *testing.T) { oneFileMore(t, n) })
}

func anyBytes(t *testing.T, n *node) {
	keys := map[string]int{"AA==": 3, "//4=": 2, "RG9uZURvbmU=": 2, "RG9uZQBEb25l": 1, "": 0, "4pyTCgk=": 4}
	var in strings.Builder
	want := ""
	for key, times := range keys {
		in.WriteString(strings.Repeat(key+"\n", times))
		if times > 0 {
			want += fmt.Sprintf("%s %d\n", key, times*len(key))
		}
	}
	dir := t.TempDir()
	write(t, dir, "keys", in.String())
	if got := inOrder(n.parts(n.mrPython(python(t, countBytes), dir), 2)...); got != inOrder(want) {
		t.Errorf("keys of any bytes:\n%swant\n%s", got, inOrder(want))
	}
}

func twoAtOnce(t *testing.T, n *node) {
	dir := t.TempDir()
	write(t, dir, "words", "a\nb\nc\n")
	input := n.ok("add", "-q", dir)
	check := func(tag, result string) {
		t.Helper()
		if got, want := inOrder(n.parts(result, 2)...), fmt.Sprintf("a\t%[1]s\nb\t%[1]s\nc\t%[1]s\n", tag); got != want {
			t.Errorf("the job tagged %s gave %q, want %q", tag, got, want)
		}
	}
	var both sync.WaitGroup
	var file, result [2]string
	for i, tag := range []string{"one", "two"} {
		file[i] = python(t, tagged(tag))
		both.Go(func() { result[i] = n.mrPython(file[i], input) })
	}
	both.Wait()
	check("one", result[0])
	check("two", result[1])
	if err := os.WriteFile(file[0], []byte(tagged("changed")), 0o644); err != nil {
		t.Fatal(err)
	}
	check("changed", n.mrPython(file[0], input))
}

// shardFiles writes n files, each of which is a shard of --split-size 64KiB.
func shardFiles(t testing.TB, dir string, n int) {
	t.Helper()
	for i := range n {
		line := fmt.Sprintf("file %d has these words\n", i)
		write(t, dir, fmt.Sprintf("%d.txt", i), strings.Repeat(line, 64<<10/len(line)+1))
	}
}

func oneFileMore(t *testing.T, n *node) {
	dir := t.TempDir()
	shardFiles(t, dir, 5)
	run := func() {
		t.Helper()
		result := n.mr("wordcount/wordcount.py", 2, dir, "--combine", "--split-size", "64KiB")
		if got := merged(t, n.parts(result, 2)); got != counted(t, dir) {
			t.Errorf("word count:\n%swant\n%s", got, counted(t, dir))
		}
	}
	run()
	first := len(n.job("@last").Attempts)
	write(t, dir, "zz.txt", "one more\n")
	run()
	second := len(n.job("@last").Attempts)
	if first != 5+2 || second != 1+2 {
		t.Errorf("%d tasks are run at first, want 5 and 2; %d with one file more, want the map of the new shard and both reduces", first, second)
	}
	if out := n.ok("mr", "status", "@last"); !strings.Contains(out, "5 of 8 tasks") {
		t.Errorf("mr status does not say that 5 of 8 tasks are remembered:\n%s", out)
	}
}

// A worker is killed while it maps: its tasks, and no others, are run again, and
// the result is that of a node alone.
func TestMapReduceLosesAWorker(t *testing.T) {
	parallel(t)
	const lease = "IPDC_LEASE=6s" // of a minute, which the test would wait for
	owner := newMember(t, lease)
	dir := t.TempDir()
	shardFiles(t, dir, 6)
	input := owner.ok("add", "-q", dir)
	args := []string{"--combine", "--split-size", "64KiB", "--cache", "off"}
	alone := owner.mr("wordcount/wordcount.py", 2, input, args...)
	if got := merged(t, owner.parts(alone, 2)); got != counted(t, dir) {
		t.Errorf("word count:\n%swant\n%s", got, counted(t, dir))
	}
	victim := newMember(t, lease, "--labels", "work=yes", "IPDC_FAILPOINT=running.after-completion=kill") // as soon as it is at work
	other := newMember(t, lease, "--labels", "work=yes")
	victim.joins(owner)
	other.joins(owner)

	count := mapreduce + "wordcount/wordcount.py"
	id := owner.ok(append([]string{"mr", "run", "-d", "-k", "2", "--map", count, "--reduce", count, "-c", input, "--require", "label.work=yes"}, args...)...)
	(&crasher{node: victim}).ended(2 * time.Minute)
	owner.ok("job", "wait", id)
	j := owner.job(id)
	if j.Result.String() != alone {
		t.Errorf("with a worker killed: %s, a node alone %s", j.Result, alone)
	}
	again, gone := map[int]int{}, map[int]bool{}
	for _, a := range j.Attempts {
		again[a.ID.Task]++
		lost := a.Failure != nil && a.Failure.Kind == jobspec.KindLost // a slow machine may lose the other one's, too
		gone[a.ID.Task] = gone[a.ID.Task] || lost || a.Node == victim.peerID()
	}
	for task, n := range again {
		if n > 1 && !gone[task] {
			t.Errorf("task %d was run %d times, though no attempt of it was lost", task, n)
		}
	}
	if lost(j) == 0 {
		t.Errorf("no attempt was lost: %+v", j.Attempts)
	}
	victim.start("IPDC_FAILPOINT=") // what it had begun is ended, and goes
	since := time.Now()             // of nothing: it takes its tasks up again before it hears that they are lost
	victim.await("nothing of what it had begun is left", 2*time.Minute, func() bool {
		volumes, err := filepath.Glob(filepath.Join(victim.dir, "volumes", "0*"))
		node, nerr := victim.client().Node(t.Context())
		if err != nil || nerr != nil || len(volumes) > 0 || node.Jobs > 0 || len(victim.containers()) > 0 {
			since = time.Now()
		}
		return time.Since(since) > 3*time.Second
	})
}
