package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/wire"
)

// binaries is the directory of the programs under test, built once.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "ipdc-e2e-bin-")
	if err != nil {
		return "", err
	}
	build := func(env string, args ...string) error {
		cmd := exec.Command("go", append([]string{"build", "-o", dir}, args...)...)
		cmd.Env = append(os.Environ(), env)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build: %w\n%s", err, out)
		}
		return nil
	}
	err = build("CGO_ENABLED=0", "github.com/ipdc/ipdc/cmd/ipdc", "github.com/ipdc/ipdc/cmd/ipdc-guest")
	if err == nil && races != "" {
		err = build("CGO_ENABLED=1", "-race", "github.com/ipdc/ipdc/cmd/ipdc")
	}
	return dir, err
})

// races is where the race detector writes what it finds in the nodes. They are
// built with it, and take several times as long, where IPDC_TEST_RACE is set.
var races = func() string {
	if os.Getenv("IPDC_TEST_RACE") == "" {
		return ""
	}
	dir, err := os.MkdirTemp("", "ipdc-race-")
	if err != nil {
		panic(err)
	}
	return filepath.Join(dir, "log")
}()

// images builds the stock images unless the engine has them.
var images = sync.OnceValue(func() error {
	dir, err := binaries()
	if err != nil {
		return err
	}
	if out, err := exec.Command(filepath.Join(dir, "ipdc"), "image", "build").CombinedOutput(); err != nil {
		return fmt.Errorf("build stock images: %w\n%s", err, out)
	}
	return nil
})

func TestMain(m *testing.M) {
	// Tests keep the machine busy, and what else runs on it is not their matter.
	if err := os.Setenv("IPDC_HOST_BUSY", "101"); err != nil {
		panic(err)
	}
	if races != "" {
		_ = os.Setenv("GORACE", "halt_on_error=0 log_path="+races)
	}
	code := runAll(m)
	if found, _ := filepath.Glob(races + ".*"); races != "" && len(found) > 0 {
		fmt.Fprintf(os.Stderr, "the race detector found something in a node: %q\n", found)
		code = 1
	} else if races != "" {
		os.RemoveAll(filepath.Dir(races))
	}
	if dir, err := binaries(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// runAll also looks that all tests together leave nothing behind.
func runAll(m *testing.M) (code int) {
	if !testenv.HasDocker() {
		return m.Run() // each test says what it needs
	}
	take := func() ([]string, error) { return inventory(filepath.Join(os.TempDir(), "ipdc-e2e-")) }
	before, err := take()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code = m.Run()
	if left, err := leftover(before, take); left != "" || err != nil {
		fmt.Fprintf(os.Stderr, "all tests left behind (-before +after): %v\n%s\n", err, left)
		return 1
	}
	return code
}

// node is a real node on a state directory of its own.
type node struct {
	t    testing.TB
	id   string // the part of the node's id that names its engine objects
	dir  string
	bin  string
	env  []string
	own  []string // environment of the node's process alone
	by   []string // command that starts it in its place; nil = none
	via  []string // the same for commands of the CLI
	args []string
	cmd  *exec.Cmd
	log  *testenv.Log

	networked bool // it runs in a container of the engine, on a network

	first []string // the inventory before the test's first node; nil: before this one
}

// newNode starts a node and arranges that, at the end of the test, nothing of
// it is left on the machine. Arguments like IPDC_LEASE=3s are its environment.
func newNode(t testing.TB, args ...string) *node {
	t.Helper()
	return newNodeBy(t, nil, args...)
}

func newNodeBy(t testing.TB, by []string, args ...string) *node {
	t.Helper()
	n := makeNode(t, by, args...)
	before := takeInventory(t, n.dir+"/")
	n.first = firstInventory(t, before)
	t.Cleanup(func() { // after its end
		n.checkInventory(before)
		if left, err := os.ReadDir(filepath.Join(n.dir, "temp")); err != nil || len(left) > 0 {
			t.Errorf("left in the directory for temporary files: %v, %v", left, err)
		}
		if err := os.RemoveAll(n.dir); err != nil {
			t.Errorf("remove state: %v", err)
		}
	})
	n.begin()
	return n
}

// makeNode is a node that has not been started.
func makeNode(t testing.TB, by []string, args ...string) *node {
	t.Helper()
	testenv.Docker(t)
	if err := images(); err != nil {
		t.Fatal(err)
	}
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ipdc-e2e-") // short, so that the socket fits
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, dir: dir, bin: bin, by: by}
	if err := os.Mkdir(filepath.Join(dir, "temp"), 0o700); err != nil {
		t.Fatal(err)
	}
	n.env = append(os.Environ(), "IPDC_PATH="+dir, "HOME="+filepath.Join(dir, "home"), "NO_COLOR=1", "TMPDIR="+filepath.Join(dir, "temp"))
	for _, arg := range args {
		if strings.HasPrefix(arg, "IPDC_") {
			n.env = append(n.env, arg)
		} else {
			n.args = append(n.args, arg)
		}
	}
	return n
}

// begin starts the node for the first time, and ends it with the test.
func (n *node) begin() {
	n.t.Helper()
	t := n.t
	t.Cleanup(func() {
		n.t = t
		n.stopJobs()
		n.stop()
		if t.Failed() {
			t.Logf("node log:\n%s", n.log)
		}
	})
	n.start()
	id := n.ok("node", "status", "-q")
	n.id = id[max(0, len(id)-8):]
}

// start starts the node, with more environment for this time, and waits until
// it answers.
func (n *node) start(env ...string) {
	n.t.Helper()
	n.launch(env...)
	n.answers()
}

// launch starts the node's process.
func (n *node) launch(env ...string) {
	n.t.Helper()
	if n.log == nil {
		n.log = &testenv.Log{}
	}
	words := slices.Concat(n.by, []string{filepath.Join(n.bin, "ipdc"), "node", "start"}, n.args)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env, cmd.Stderr, cmd.Stdout = slices.Concat(n.env, n.own, env), n.log, n.log
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.cmd = cmd // one that was started, for its end
}

func (n *node) answers() {
	n.t.Helper()
	n.await("node to answer", patience, func() bool {
		_, err := n.client().Node(context.Background())
		return err == nil
	})
}

// kill ends the node with SIGKILL, or notes that a failpoint did.
func (n *node) kill() {
	n.t.Helper()
	_ = n.cmd.Process.Kill() // it may be dead already
	_ = n.cmd.Wait()
}

// stopJobs ends what a test that failed has not let go, and what would go on
// without the node.
func (n *node) stopJobs() {
	if !n.t.Failed() {
		return
	}
	for _, id := range strings.Fields(n.ipdc("job", "list", "-q").stdout) {
		n.ipdc("job", "stop", id)
	}
}

func (n *node) stop() {
	if n.cmd == nil || n.cmd.ProcessState != nil {
		return
	}
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	timer := time.AfterFunc(patience, func() {
		n.t.Errorf("node did not stop within %s", patience)
		_ = n.cmd.Process.Kill()
	})
	go func() { defer close(done); _ = n.cmd.Wait() }()
	<-done
	timer.Stop()
}

func (n *node) client(opts ...client.Option) *client.Client {
	c, err := client.New("unix://"+filepath.Join(n.dir, "api.sock"), opts...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(c.Close)
	return c
}

// result is what a command printed and how it ended.
type result struct {
	stdout, stderr string
	code           int
}

// ipdc runs a command of the CLI.
func (n *node) ipdc(args ...string) result {
	n.t.Helper()
	return n.ipdcIn("", args...)
}

func (n *node) ipdcIn(stdin string, args ...string) result {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	words := slices.Concat(n.via, []string{filepath.Join(n.bin, "ipdc")}, args)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	var out, errb bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.Stdin = n.env, &out, &errb, strings.NewReader(stdin)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		n.t.Fatalf("ipdc %q: %v", args, err)
	}
	return result{out.String(), errb.String(), cmd.ProcessState.ExitCode()}
}

// ok runs a command that must succeed and returns its standard output without
// the last newline.
func (n *node) ok(args ...string) string {
	n.t.Helper()
	r := n.ipdc(args...)
	if r.code != 0 {
		n.t.Fatalf("ipdc %q: exit code %d\nstdout: %s\nstderr: %s", args, r.code, r.stdout, r.stderr)
	}
	return strings.TrimSuffix(r.stdout, "\n")
}

// fails runs a command that must end with an exit code.
func (n *node) fails(code int, args ...string) result {
	n.t.Helper()
	r := n.ipdc(args...)
	if r.code != code {
		n.t.Fatalf("ipdc %q: exit code %d, want %d\nstdout: %s\nstderr: %s", args, r.code, code, r.stdout, r.stderr)
	}
	return r
}

// job returns a job's record.
func (n *node) job(ref string) wire.Job {
	n.t.Helper()
	var j wire.Job
	if err := json.Unmarshal([]byte(n.ok("job", "describe", ref, "-o", "json")), &j); err != nil {
		n.t.Fatal(err)
	}
	return j
}

// patience is how long what is sure to come may take on a machine that is slow
// or busy: a test that waits for it fails only when it hangs.
const patience = 2 * time.Minute

// await polls until cond holds, for limit or for [patience], whichever is more.
func (n *node) await(what string, limit time.Duration, cond func() bool) {
	n.t.Helper()
	limit = max(limit, patience)
	deadline := time.After(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			n.t.Fatalf("waited %s for %s; node log:\n%s", limit, what, n.log)
		case <-tick.C:
		}
	}
}

// write makes a file below a directory of the test's and returns its path.
func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// files returns the contents of all files below dir by relative path.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		m[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
