package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/jobspec"
)

var oneCID = regexp.MustCompile(`^baf[a-z2-7]{56,}\n$`)

// logs is a small directory of text files.
func logsDir(t testing.TB) string {
	dir := t.TempDir()
	write(t, dir, "a.txt", "one 997\ntwo\n")
	write(t, dir, "b/c.txt", "three 99x\nfour\n")
	write(t, dir, "b/empty.txt", "")
	return dir
}

func TestExpressionPerFile(t *testing.T) {
	parallel(t)
	n := newNode(t)
	cid := n.ok("add", "-q", logsDir(t))
	r := n.ipdc("job", "submit", "-e", "sed -n /99./p", "-c", cid)
	if r.code != 0 || !oneCID.MatchString(r.stdout) {
		t.Fatalf("submit = %+v, want one CID on stdout", r)
	}
	dest := filepath.Join(t.TempDir(), "out")
	n.ok("get", strings.TrimSpace(r.stdout), dest)
	want := map[string]string{"a.txt": "one 997\n", "b/c.txt": "three 99x\n", "b/empty.txt": ""}
	if diff := cmp.Diff(want, files(t, dest)); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

func TestInputForms(t *testing.T) {
	parallel(t)
	n := newNode(t)
	dir := logsDir(t)
	cid := n.ok("add", "-q", dir)
	sub := n.ok("add", "-q", filepath.Join(dir, "b"))
	submit := func(input string) string {
		r := n.ipdc("job", "submit", "-e", "cat", "-c", input, "--cache", "off")
		if r.code != 0 {
			t.Fatalf("submit -c %s: %+v", input, r)
		}
		return strings.TrimSpace(r.stdout)
	}
	if got := submit(cid); got != cid {
		t.Errorf("cat over %s = %s, want the input itself", cid, got)
	}
	for _, form := range []string{cid + "/b", "/ipfs/" + cid + "/b", "ipfs://" + cid + "/b", filepath.Join(dir, "b")} {
		if got := submit(form); got != sub {
			t.Errorf("cat over %s = %s, want %s", form, got, sub)
		}
	}
	file := submit(cid + "/a.txt")
	if got := n.ok("ls", file, "-o", "json"); !strings.Contains(got, `"a.txt"`) {
		t.Errorf("a lone file keeps its name: ls = %s", got)
	}
}

func TestOnce(t *testing.T) {
	parallel(t)
	n := newNode(t)
	r := n.ipdc("job", "submit", "--once", "-e", "pwd; find . -type f | sort > /outputs/list", "-c", logsDir(t))
	if r.code != 0 {
		t.Fatal(r)
	}
	if got := n.ok("job", "logs", "@last"); got != "/inputs" {
		t.Errorf("log = %q, want the working directory /inputs", got)
	}
	if got := n.ok("get", strings.TrimSpace(r.stdout)+"/list", "-"); got != "./a.txt\n./b/c.txt\n./b/empty.txt" {
		t.Errorf("list = %q", got)
	}
}

func TestSpecFile(t *testing.T) {
	parallel(t)
	n := newNode(t)
	cid := n.ok("add", "-q", logsDir(t))
	spec := fmt.Sprintf("version: ipdc/v1\nname: by-file\nrun:\n  image: shell\n  command: [wc, -l]\n  per: item\ninputs: [{cid: %s}]\n", cid)
	path := write(t, t.TempDir(), "job.yaml", spec)
	first := n.ok("job", "submit", path)
	r := n.ipdcIn(spec, "job", "submit", "-", "--cache", "off")
	if r.code != 0 || strings.TrimSpace(r.stdout) != first {
		t.Errorf("submit - = %+v, want %s", r, first)
	}
	dry := n.ok("job", "submit", path, "--dry-run", "-o", "json")
	if !strings.Contains(dry, `"memory": "512MiB"`) {
		t.Errorf("dry run lacks the defaults:\n%s", dry)
	}
	if got := n.job("by-file").SpecCID.String(); got == "" || !strings.Contains(n.ipdc("job", "submit", path, "--dry-run").stderr, n.specCIDOf(first)) {
		t.Errorf("dry run names another spec CID than the record has")
	}
}

func (n *node) specCIDOf(result string) string {
	for _, id := range strings.Fields(n.ok("job", "list", "-q")) {
		if j := n.job(id); j.Result.String() == result && j.Spec.Cache == jobspec.CacheUse {
			return j.SpecCID.String()
		}
	}
	n.t.Fatalf("no job has result %s", result)
	return ""
}

func TestProgramFails(t *testing.T) {
	refusal.Produces(t, jobspec.KindExit)
	n := newNode(t)
	dir := logsDir(t)
	r := n.fails(6, "job", "submit", "--once", "-c", dir, "-e", "echo partial > /outputs/p; echo to-log; echo to-err >&2; exit 19")
	if r.stdout != "" {
		t.Errorf("stdout = %q, want nothing", r.stdout)
	}
	j := n.job("@last")
	if j.State != jobspec.JobFailed || !refusal.Is(t, j.Failure.Error(), jobspec.KindExit) || j.Failure.ExitCode != 19 {
		t.Errorf("job = %s %+v, want failed by exit 19", j.State, j.Failure)
	}
	if got := n.ok("get", j.Partial.String()+"/p", "-"); got != "partial" {
		t.Errorf("partial output = %q", got)
	}
	logs := n.ipdc("job", "logs", "@last")
	if logs.stdout != "to-log\n" || logs.stderr != "to-err\n" {
		t.Errorf("logs = %+v", logs)
	}
	// The same for a per-file program: what was done before stays.
	n.fails(6, "job", "submit", "-c", dir, "-e", `test "$IPDC_ITEM" = a.txt && cat || exit 19`)
	j = n.job("@last")
	if j.Failure.ExitCode != 19 || !strings.Contains(j.Failure.Detail, "b/") {
		t.Errorf("failure = %+v, want exit 19 at a file in b", j.Failure)
	}
}

func TestFailureKinds(t *testing.T) {
	refusal.Produces(t, jobspec.KindSignal, jobspec.KindOOM, jobspec.KindTimeout, jobspec.KindQuota, jobspec.KindImageRun, jobspec.KindImageRef, jobspec.KindFetchTimeout, jobspec.KindOutputType, jobspec.KindNoOutput)
	n := newNode(t)
	input := logsDir(t)
	early := write(t, t.TempDir(), "early.py", "import os\ndef f(file):\n    os._exit(0)\n")
	for _, c := range []struct {
		name string
		kind jobspec.Kind
		code int
		args []string
	}{
		{"signal", jobspec.KindSignal, 6, []string{"--once", "-e", "kill -SEGV $$"}},
		{"oom", jobspec.KindOOM, 6, []string{"--memory", "32MiB", "--once", "-e", "x=$(head -c 100m /dev/zero | tr '\\0' x)"}},
		{"timeout", jobspec.KindTimeout, 6, []string{"--timeout", "1s", "--once", "-e", "sleep 60"}},
		{"F18 quota", jobspec.KindQuota, 6, []string{"--disk", "8MiB", "--once", "-e", "head -c 64m /dev/zero > /outputs/big"}},
		{"quota per file", jobspec.KindQuota, 6, []string{"--disk", "8MiB", "-e", "head -c 64m /dev/zero"}},
		{"missing command", jobspec.KindImageRun, 127, []string{"--image", "shell", "--once", "-e", "true"}},
		{"missing image", jobspec.KindImageRef, 125, []string{"--image", "sha256:" + strings.Repeat("0", 64), "-e", "true"}},
		{"missing CID", jobspec.KindFetchTimeout, 6, []string{"-e", "true", "-c", "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36aaa"}},
		{"fifo", jobspec.KindOutputType, 6, []string{"--once", "-e", "mkfifo /outputs/result.json"}},
		{"program that ends early", jobspec.KindNoOutput, 6, []string{"-f", early}},
		{"escaping link", jobspec.KindSymlink, 6, []string{"--once", "-e", "ln -s /etc/shadow /outputs/x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"job", "submit"}, c.args...)
			if c.name != "missing CID" {
				args = append(args, "-c", input)
			}
			if c.name == "missing command" {
				spec := write(t, t.TempDir(), "job.yaml", "version: ipdc/v1\nrun: {image: shell, command: [no-such-program]}\n")
				args = []string{"job", "submit", spec}
			}
			n.t = t
			r := n.fails(c.code, args...)
			f := n.job("@last").Failure
			if f == nil || !refusal.Is(t, f.Error(), c.kind) {
				t.Fatalf("failure = %+v, want %s", f, c.kind)
			}
			if f.Hint == "" || !strings.Contains(r.stderr, string(c.kind)) {
				t.Errorf("failure %+v shown as %q: want a hint, and the kind shown", f, r.stderr)
			}
		})
	}
}

func TestStopAtEveryStage(t *testing.T) {
	parallel(t)
	n := newNode(t, "--cpu", "1")
	input := logsDir(t)
	running := n.ok("job", "submit", "-d", "--once", "-e", "trap '' TERM; echo begun > /outputs/f; echo written; while :; do sleep 1; done", "-c", input)
	n.await("the program to write", 20*time.Second, func() bool { return n.ipdc("job", "logs", running).stdout == "written\n" })
	queued := n.ok("job", "submit", "-d", "--once", "-e", "sleep 300", "-c", input)
	n.await("the reason of the wait", 10*time.Second, func() bool { return strings.Contains(n.job(queued).Waiting, "asks 1, free 0") })
	n.ok("job", "stop", queued)
	n.ok("job", "stop", running) // a program that ignores SIGTERM and has no end
	for _, id := range []string{running, queued} {
		if j := n.job(id); j.State != jobspec.JobStopped {
			t.Errorf("job = %s, want stopped", j.State)
		}
	}
	if got := n.ok("get", n.job(running).Partial.String()+"/f", "-"); got != "begun" {
		t.Errorf("output of the stopped job = %q", got)
	}
	n.fails(8, "job", "wait", running)
	n.ok("job", "rm", running, queued)
	n.fails(4, "job", "describe", running)
}

// The result must not depend on how many tasks did it.
func TestBatchesGiveOneResult(t *testing.T) {
	parallel(t)
	dir := t.TempDir()
	for i := range 40 {
		write(t, dir, fmt.Sprintf("d%d/f%02d", i%3, i), strings.Repeat("x", i*100))
	}
	var results []string
	for _, cpus := range []string{"1", "4"} {
		n := newNode(t, "--cpu", cpus)
		results = append(results, n.ok("job", "submit", "-e", "wc -c", "-c", dir))
		tasks := map[int]bool{}
		for _, a := range n.job("@last").Attempts {
			tasks[a.ID.Task] = true
		}
		if want := map[string]int{"1": 1, "4": 4}[cpus]; len(tasks) != want {
			t.Errorf("with %s CPUs %d tasks, want %d", cpus, len(tasks), want)
		}
	}
	if results[0] != results[1] {
		t.Errorf("one task gives %s, four give %s", results[0], results[1])
	}
}

func TestRemembered(t *testing.T) {
	parallel(t)
	n := newNode(t)
	dir := logsDir(t)
	first := n.ok("job", "submit", "-e", "wc -c", "-c", dir)
	if again := n.ok("job", "submit", "-e", "wc -c", "-c", dir); again != first {
		t.Errorf("again = %s, want %s", again, first)
	}
	if j := n.job("@last"); j.Remembered != 3 || len(j.Attempts) != 0 {
		t.Errorf("remembered %d of 3 items with %d attempts, want all and none", j.Remembered, len(j.Attempts))
	}
	write(t, dir, "new.txt", "new")
	n.ok("job", "submit", "-e", "wc -c", "-c", dir)
	j := n.job("@last")
	if j.Remembered != 3 || len(j.Attempts) != 1 || j.Attempts[0].ItemsDone != 1 {
		t.Errorf("one more file: remembered %d, attempts %+v", j.Remembered, j.Attempts)
	}
	if off := n.ok("job", "submit", "-e", "wc -c", "-c", dir, "--cache", "off"); off != j.Result.String() {
		t.Errorf("--cache off = %s, want %s", off, j.Result)
	}
	// What was remembered goes with the record that holds it.
	for _, id := range strings.Fields(n.ok("job", "list", "-q")) {
		n.ok("job", "rm", id)
	}
	n.ok("node", "gc")
	n.ok("job", "submit", "-e", "wc -c", "-c", dir)
	if j := n.job("@last"); j.Remembered != 0 {
		t.Errorf("remembered %d items of removed jobs", j.Remembered)
	}
}

// A program that writes more than its item's own file gives the same result
// when it is submitted again: what the items do not account for is run anew.
func TestRememberedOnlyWhatIsExplained(t *testing.T) {
	parallel(t)
	n := newNode(t)
	dir := logsDir(t)
	args := []string{"job", "submit", "-c", dir, "-e", `cat; mkdir -p "/outputs/m/$(dirname "$IPDC_ITEM")"; echo m > "/outputs/m/$IPDC_ITEM"`}
	first := n.ok(args...)
	if again := n.ok(args...); again != first {
		t.Errorf("again = %s, want %s", again, first)
	}
	// An output that was cut by its quota is not remembered, although the
	// program says that it succeeded.
	big := t.TempDir()
	write(t, big, "f", strings.Repeat("x", 16<<20))
	n.fails(6, "job", "submit", "-c", big, "-e", "cat; true", "--disk", "8MiB")
	whole := n.ok("job", "submit", "-c", big, "-e", "cat; true")
	if want := n.ok("add", "-q", big); whole != want {
		t.Errorf("after a cut run the result is %s, want %s", whole, want)
	}
}

func TestOutDownloads(t *testing.T) {
	parallel(t)
	n := newNode(t)
	out := filepath.Join(t.TempDir(), "res")
	n.ok("job", "submit", "-e", "cat", "-c", logsDir(t), "--out", out)
	if len(files(t, out)) != 3 {
		t.Errorf("downloaded %v", files(t, out))
	}
	n.fails(1, "job", "submit", "-e", "cat", "-c", logsDir(t), "--out", out) // not empty
	if err := os.WriteFile(filepath.Join(out, "a.txt"), []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	n.ok("job", "get", "@last", out, "--force")
	if got := files(t, out)["a.txt"]; got != "one 997\ntwo\n" {
		t.Errorf("--force left %q", got)
	}
}
