package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
)

// module is the path of the WASI module of these tests, built once.
var module = sync.OnceValues(func() (string, error) {
	dir, err := binaries()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "module.wasm")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./testdata/wasi")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build module: %w\n%s", err, out)
	}
	return path, nil
})

func modulePath(t testing.TB) string {
	t.Helper()
	path, err := module()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// newBareNode starts a node on a machine that has no container engine, as far
// as the node can see.
func newBareNode(t testing.TB) *node {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ipdc-e2e-") // short, so that the socket fits
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, dir: dir, bin: bin}
	n.env = append(os.Environ(), "IPDC_PATH="+dir, "HOME="+filepath.Join(dir, "home"), "NO_COLOR=1", "DOCKER_HOST=unix:///nonexistent", "IPDC_ENGINE_WAIT=2s")
	t.Cleanup(func() {
		n.t = t
		n.stopJobs()
		n.await("containers to be removed", 15*time.Second, func() bool { return len(n.supervisors()) == 0 })
		n.stop()
		if t.Failed() {
			t.Logf("node log:\n%s", n.log)
		}
		if left := n.groups(); len(left) > 0 {
			t.Errorf("control groups %v are left", left)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove state: %v", err)
		}
	})
	n.start()
	id := n.ok("node", "status", "-q")
	n.id = id[max(0, len(id)-8):]
	return n
}

// supervisors returns the records of the processes that keep this node's WASI
// containers, by container: pid, start time and boot.
func (n *node) supervisors() map[string]string {
	n.t.Helper()
	files, err := filepath.Glob(filepath.Join(n.dir, "wasm", "*", "process.json"))
	if err != nil {
		n.t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil {
			all[filepath.Base(filepath.Dir(f))] = string(b)
		}
	}
	return all
}

// All forms of a function give one result, by CID and by path.
func TestFunctionForms(t *testing.T) {
	parallel(t)
	n := newNode(t)
	input := t.TempDir()
	write(t, input, "a.txt", "one\n")
	write(t, input, "b/c.txt", "two\n")
	shouted := t.TempDir()
	write(t, shouted, "a.txt", "ONE\n")
	write(t, shouted, "b/c.txt", "TWO\n")
	want := n.ok("add", "-q", "--only-hash", shouted)
	in := n.ok("add", "-q", input)

	dir := t.TempDir()
	file := write(t, dir, "up.py", "def up(f):\n    return f.read().upper()\n")
	write(t, dir, "fn/process.py", "from lib.shout import shout\n\ndef up(f):\n    return shout(f.read())\n")
	write(t, dir, "fn/lib/shout.py", "def shout(b):\n    return b.upper()\n")
	spec := write(t, dir, "job.yaml", "version: ipdc/v1\nrun: {image: shell, command: [tr, a-z, A-Z], per: item}\ninputs: [{cid: bafkqaaa}]\n")
	for form, path := range map[string]string{"file": file, "directory": filepath.Join(dir, "fn"), "spec": spec, "module": modulePath(t)} {
		cid := n.ok("add", "-q", path)
		for _, x := range []string{cid, path} {
			if got := n.ok("job", "submit", "-x", x, "-c", in, "--cache", "off"); got != want {
				t.Errorf("%s -x %s = %s, want %s", form, x, got, want)
			}
		}
		// A function inside a directory is named by its path.
		if form == "file" {
			if got := n.ok("job", "submit", "-x", n.ok("add", "-q", dir)+"/up.py", "-c", in); got != want {
				t.Errorf("-x CID/up.py = %s, want %s", got, want)
			}
		}
	}
	for name, text := range map[string]string{"ELF": "\x7fELF\x02\x01", "without process.py": "", "no Python function": "Dear reader\n"} {
		path := write(t, filepath.Join(t.TempDir(), "d"), "x", text)
		if text == "" {
			path = filepath.Dir(path)
		}
		r := n.fails(2, "job", "submit", "-x", path, "-c", in)
		if !strings.Contains(r.stderr, name) || !strings.Contains(r.stderr, "a function is") {
			t.Errorf("-x of what is none says %q, want what it is (%s) and what is accepted", r.stderr, name)
		}
	}
	// Both executors' containers are cleaned up; newNode looks for Docker's.
	n.await("containers to be removed", 15*time.Second, func() bool { return len(n.supervisors()) == 0 })
}

// A function brings its requirements with it.
func TestFunctionWithRequirements(t *testing.T) {
	parallel(t)
	testenv.Index(t)
	n := newNode(t)
	dir := t.TempDir()
	write(t, dir, "process.py", "import idna\n\ndef version(f):\n    return idna.__version__\n")
	write(t, dir, "requirements.txt", "idna==3.10\n")
	result := n.ok("job", "submit", "-x", n.ok("add", "-q", dir), "-c", logsDir(t))
	if got := n.ok("get", result+"/a.txt", "-"); got != "3.10" {
		t.Errorf("the function saw version %q of its package, want 3.10", got)
	}
}

// A machine without Docker is a whole node for WASI modules.
func TestNodeWithoutDocker(t *testing.T) {
	parallel(t)
	n := newBareNode(t)
	input := t.TempDir()
	write(t, input, "a", "one two three\n")
	write(t, input, "b/c", "four")
	cid := n.ok("add", "-q", input)
	code := n.codeOf()
	spec := func(per string, args ...string) string {
		return write(t, t.TempDir(), "job.yaml", fmt.Sprintf(
			"version: ipdc/v1\nrun: {image: wasm, command: [module.wasm, %s], code: %s, per: %s}\ninputs: [{cid: %s}]\n", strings.Join(args, ", "), code, per, cid))
	}
	counts := n.ok("job", "submit", spec("item", "count"))
	if a, b := n.ok("get", counts+"/a", "-"), n.ok("get", counts+"/b/c", "-"); a != "3" || b != "1" {
		t.Errorf("word counts = %s and %s, want 3 and 1", a, b)
	}
	if again := n.ok("job", "submit", spec("item", "count")); again != counts || n.job("@last").Remembered != 2 {
		t.Errorf("again = %s with %d remembered, want %s and 2", again, n.job("@last").Remembered, counts)
	}

	status := n.ok("node", "status")
	for _, want := range []string{"docker cannot be used", "apt-get install docker.io", "wasm wazero"} {
		if !strings.Contains(status, want) {
			t.Errorf("node status lacks %q:\n%s", want, status)
		}
	}
	r := n.fails(5, "job", "submit", "-e", "cat", "-c", cid)
	if f := n.job("@last").Failure; f.Kind != jobspec.KindPolicy || f.Hint == "" || !strings.Contains(r.stderr, "no container engine") {
		t.Errorf("a job that needs Docker fails with %+v, shown as %q", f, r.stderr)
	}

	for _, c := range []struct {
		what string
		kind jobspec.Kind
		code int
		args []string
	}{
		{"exit", jobspec.KindExit, 6, nil},
		{"hog", jobspec.KindOOM, 6, []string{"--memory", "64MiB"}},
		{"fill", jobspec.KindQuota, 6, []string{"--disk", "8MiB"}},
		{"spin", jobspec.KindTimeout, 6, []string{"--timeout", "5s"}},
	} {
		r := n.fails(c.code, append([]string{"job", "submit", spec("task", c.what)}, c.args...)...)
		f := n.job("@last").Failure
		if f == nil || f.Kind != c.kind || f.Hint == "" || !strings.Contains(r.stderr, string(c.kind)) {
			t.Errorf("%s: failure = %+v, shown as %q; want %s with a hint", c.what, f, r.stderr, c.kind)
		}
		if c.what == "exit" && (f.ExitCode != 19 || n.ipdc("job", "logs", "@last").stderr != "to-err\n") {
			t.Errorf("exit: %+v, logs %+v", f, n.ipdc("job", "logs", "@last"))
		}
	}
	id := n.ok("job", "submit", "-d", spec("task", "spin"))
	n.await("the module to run", time.Minute, func() bool {
		a := n.job(id).Attempts
		return len(a) > 0 && a[0].State == jobspec.AttemptRunning
	})
	n.ok("job", "stop", id)
	n.fails(8, "job", "wait", id)
}

// codeOf adds a directory with the module, for specs.
func (n *node) codeOf() string {
	n.t.Helper()
	dir := n.t.TempDir()
	b, err := os.ReadFile(modulePath(n.t))
	if err != nil {
		n.t.Fatal(err)
	}
	write(n.t, dir, "module.wasm", string(b))
	return n.ok("add", "-q", dir)
}

// F02 for modules: kill -9 of the node while one runs: the same processes go
// on, and there is one result.
func TestKillNodeWhileModuleRuns(t *testing.T) {
	parallel(t)
	n := newBareNode(t)
	spec := write(t, t.TempDir(), "job.yaml", fmt.Sprintf("version: ipdc/v1\nrun: {image: wasm, command: [module.wasm, tick], code: %s}\n", n.codeOf()))
	id := n.ok("job", "submit", "-d", spec)
	n.await("the module to tick", time.Minute, func() bool { return strings.Contains(n.ipdc("job", "logs", id).stdout, "1\n") })
	first := n.supervisors()
	if len(first) != 1 {
		t.Fatalf("supervisors = %v, want one", first)
	}
	for i := range 3 {
		n.kill()
		n.start()
		if now := n.supervisors(); fmt.Sprint(now) != fmt.Sprint(first) {
			t.Fatalf("after kill %d supervisors = %v, want %v", i+1, now, first)
		}
	}
	outputs, err := filepath.Glob(filepath.Join(n.dir, "volumes", "[^s]*", "mnt", "outputs")) // but spare-
	if err != nil || len(outputs) != 1 {
		t.Fatalf("outputs of the module: %q, %v", outputs, err)
	}
	write(t, outputs[0], "go", "")
	j := n.tickedOnce(id)
	if !strings.HasPrefix(j.Attempts[0].Container, "wasm/") {
		t.Errorf("attempts = %+v, want one of a module", j.Attempts)
	}
	ticked := n.ok("get", j.Result.String()+"/ticks", "-")
	if got := n.ok("job", "logs", id); got+"\nend" != ticked {
		t.Errorf("the log has %q, the module wrote %q", got, ticked)
	}
}

// The README's example of a function by CID is what is printed there.
func TestReadmeFunction(t *testing.T) {
	parallel(t)
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t)
	fn := n.ok("add", "-q", "../examples/words")
	result := n.ok("job", "submit", "-x", fn, "-c", "../LICENSE")
	words := n.ok("get", result+"/data", "-")
	for _, line := range []string{
		"added " + fn + " examples/words\n$ ipdc job submit -x " + fn + " -c LICENSE\nadded ",
		" succeeded in 1.2 s\n" + result + "\n$ ipdc get " + result + "/data -\n" + words + "\n",
		"-x words.wasm -c LICENSE 2>/dev/null\n" + result + "\n",
	} {
		if !strings.Contains(string(readme), line) {
			t.Errorf("the README lacks %q", line)
		}
	}
	path := filepath.Join(t.TempDir(), "words.wasm")
	cmd := exec.Command("go", "build", "-o", path, "../examples/words-wasi")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if got := n.ok("job", "submit", "-q", "-x", path, "-c", "../LICENSE"); got != result {
		t.Errorf("the module gives %s, want %s", got, result)
	}
}
