package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/internal/testenv"
)

// threeLevels is a tree with what an import profile decides about: files of
// no, one and several chunks, names in every order, empty directories, links.
func threeLevels(t testing.TB) string {
	dir := t.TempDir()
	random := rand.NewChaCha8([32]byte{4})
	for name, size := range map[string]int{
		"empty": 0, "one": 1, "chunk": 1 << 20, "more": 1<<20 + 1, "Z": 7, "é ü": 9,
		"a/large": 3<<20 + 17, "a/b/deep.txt": 300, "a/b/c/deeper.txt": 5, "a-b": 4,
	} {
		data := make([]byte, size)
		_, _ = random.Read(data) // fails never
		write(t, dir, name, string(data))
	}
	if err := os.MkdirAll(filepath.Join(dir, "a", "nothing"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("b/deep.txt", filepath.Join(dir, "a", "link")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tenThousand is one directory of 10,000 files, which is a HAMT.
func tenThousand(t testing.TB) string {
	dir := t.TempDir()
	for i := range 10_000 {
		write(t, dir, fmt.Sprintf("file-%05d.txt", i), fmt.Sprintln(i))
	}
	return dir
}

// Done-when 2 of one node: the CIDs are Kubo's, and CARs go both ways.
func TestKuboHasTheSameCIDs(t *testing.T) {
	parallel(t)
	n := newNode(t)
	for name, dir := range map[string]string{"three levels": threeLevels(t), "10,000 entries": tenThousand(t)} {
		t.Run(name, func(t *testing.T) {
			n.t = t
			theirs, fresh := testenv.Kubo(t), testenv.Kubo(t)
			want := theirs.Run("add", "--recursive", "--quieter", dir)
			theirCAR := filepath.Join(t.TempDir(), "theirs.car")
			exportCAR(t, theirs, want, theirCAR)
			if got := n.ok("import", "-q", theirCAR); got != want {
				t.Errorf("ipdc import of Kubo's CAR = %s, want %s", got, want)
			}
			checkTree(t, dir, func(dest string) { n.ok("get", want, dest) })

			if got := n.ok("add", "-q", dir); got != want {
				t.Errorf("ipdc add = %s, Kubo's is %s", got, want)
			}
			for _, version := range []string{"1", "2"} {
				ourCAR := filepath.Join(t.TempDir(), "ours.car")
				n.ok("export", want, "--car-version", version, "-o", ourCAR)
				if got := fresh.Run("dag", "import", ourCAR); !strings.Contains(got, want) {
					t.Errorf("Kubo's import of our CARv%s says %q, want the root %s pinned", version, got, want)
				}
			}
			checkTree(t, dir, func(dest string) { fresh.Run("get", want, "--output", dest) })
		})
	}
	n.t = t
}

// exportCAR writes what `ipfs dag export` prints.
func exportCAR(t *testing.T, k *testenv.KuboDaemon, root, path string) {
	t.Helper()
	resp, err := http.Post(k.API+"/api/v0/dag/export?arg="+root, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("dag export: %s, %v", resp.Status, err)
	}
	write(t, filepath.Dir(path), filepath.Base(path), string(data))
}

// checkTree compares a directory with what get makes of it.
func checkTree(t *testing.T, dir string, get func(dest string)) {
	t.Helper()
	dest := filepath.Join(t.TempDir(), "got")
	get(dest)
	if diff := cmp.Diff(files(t, dir), files(t, dest)); diff != "" {
		t.Errorf("content (-added +got):\n%s", diff[:min(len(diff), 2000)])
	}
}

// onKubo restarts a node with its blocks in the Kubo whose RPC is at api.
func (n *node) onKubo(api string) {
	n.t.Helper()
	n.stop()
	n.args = append(slices.Clone(n.args), "--ipfs", strings.Replace(api, "http://127.0.0.1:", "/ip4/127.0.0.1/tcp/", 1))
	n.start()
}

// usersOwn is what must be as it was before: Kubo's pins, his files, and the
// configuration.
func usersOwn(t *testing.T, k *testenv.KuboDaemon) []string {
	t.Helper()
	config, err := os.ReadFile(filepath.Join(k.Repo, "config"))
	if err != nil {
		t.Fatal(err)
	}
	pins := strings.Split(k.Run("pin", "ls", "--type=recursive", "--names")+"\n"+k.Run("pin", "ls", "--type=direct", "--names"), "\n")
	slices.Sort(pins)
	return append(pins, k.Run("files", "stat", "--hash", "/"), string(config))
}

// Done-when 3 of one node: one job gives one result CID, wherever blocks are
// kept, killed or not; and the Kubo is in the end what it was.
func TestKuboKeepsTheBlocks(t *testing.T) {
	parallel(t)
	n := newNode(t)
	k := testenv.Kubo(t)
	dir := logsDir(t)
	// The input is in Kubo already, pinned and named by its user.
	input := k.Run("add", "--recursive", "--quieter", "--pin-name=mine", dir)
	before := usersOwn(t, k)
	jobs := [][]string{
		{"job", "submit", "-e", "sed -n /99./p", "-c", input},
		{"job", "submit", "--once", "-e", "find . -type f | sort > /outputs/list", "-c", input},
	}
	if got := n.ok("add", "-q", dir); got != input {
		t.Fatalf("add = %s, Kubo's is %s", got, input)
	}
	var want []string
	for _, job := range jobs {
		want = append(want, n.ok(job...))
	}
	if got := n.ok("node", "status"); !strings.Contains(got, "embedded") {
		t.Errorf("status does not name the node inside:\n%s", got)
	}

	n.onKubo(k.API)
	if got := n.ok("node", "status"); !strings.Contains(got, "Kubo 0.43.0 at 127.0.0.1:") {
		t.Errorf("status does not name the Kubo:\n%s", got)
	}
	for i, job := range jobs {
		if got := n.ok(job...); got != want[i] { // remembered, but not in this Kubo
			t.Errorf("%q on Kubo = %s, on the node inside %s", job, got, want[i])
		}
		k.Run("repo", "gc", "--silent")
		if got := n.ok(append(slices.Clone(job), "--cache", "off")...); got != want[i] {
			t.Errorf("%q on Kubo again = %s, on the node inside %s", job, got, want[i])
		}
		checkTree(t, fetched(t, k, want[i]), func(dest string) { n.ok("get", want[i], dest) })
	}

	id := n.ok("job", "submit", "-d", "--once", "-e", untilLetGo+"cat a.txt > /outputs/a.txt", "-c", input)
	runs := n.running()
	n.kill()
	k.Run("repo", "gc", "--silent")
	n.start()
	n.release(runs)
	killed := n.ok("job", "wait", id)
	if got := n.ok("get", killed+"/a.txt", "-"); got+"\n" != "one 997\ntwo\n" {
		t.Errorf("the result of the job that outlived a kill is %q", got)
	}
	for _, point := range []string{"queued.after-effect", "packaged.after-effect", "published.after-effect", "succeeded.before-effect"} {
		k.Run("repo", "gc", "--silent")
		id := n.crash(point, "cat; wc -c", input)
		n.ok("job", "wait", id)
		n.checkHistory(id, 1)
	}
	own := usersOwn(t, k)
	if missing := slices.DeleteFunc(slices.Clone(before), func(line string) bool { return slices.Contains(own, line) }); len(missing) > 0 {
		t.Errorf("after jobs and a kill, gone of what is the user's: %q", missing)
	}

	for _, id := range strings.Fields(n.ok("job", "list", "-q")) {
		n.ok("job", "rm", id)
	}
	if pins := n.ok("pin", "ls", "-q"); pins != "" {
		n.ok(append([]string{"pin", "rm"}, strings.Fields(pins)...)...)
	}
	if got := n.ok("node", "gc"); !strings.Contains(got, "ipfs repo gc") {
		t.Errorf("node gc = %q, want who removes the blocks", got)
	}
	n.await("pins to be taken off", 10*time.Second, func() bool { return slices.Equal(before, usersOwn(t, k)) })
}

// fetched is a directory of what Kubo's own get makes of a CID.
func fetched(t *testing.T, k *testenv.KuboDaemon, cid string) string {
	t.Helper()
	dest := filepath.Join(t.TempDir(), "theirs")
	k.Run("get", cid, "--output", dest)
	return dest
}

// crash submits a job to a node that kills itself at a failpoint, starts the
// node again, and returns the job's id.
func (n *node) crash(failpoint, expr, cid string) string {
	n.t.Helper()
	// The failpoint must not be met by the cleaning of an earlier job.
	n.await("earlier attempts to be cleaned", 20*time.Second, func() bool {
		for _, a := range n.job("@last").Attempts {
			if !a.State.Final() {
				return false
			}
		}
		return true
	})
	n.stop()
	n.start("IPDC_FAILPOINT=" + failpoint + "=kill")
	submit := []string{"job", "submit", "-d", "-e", expr, "-c", cid, "--cache", "off", "--idempotency-key", failpoint}
	n.ipdc(submit...) // its answer may be lost with the node
	if err := n.cmd.Wait(); err == nil {
		n.t.Fatal("the node ended in order, want SIGKILL at the failpoint")
	}
	n.start()
	return n.ok(submit...) // F60: sent again it is the same job
}
