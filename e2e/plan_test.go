package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/testenv"
)

// A plan leaves nothing pinned of what it uploaded, also when it fails or is cut,
// and a collection takes it; what was pinned before stays so.
func TestPlanLeavesNothing(t *testing.T) {
	parallel(t)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	n := newNode(t, "--gateway", silent.URL)
	dir := t.TempDir()
	list := write(t, dir, "words", "some\nwords\n")
	script := write(t, dir, "program.py", "def process(file):\n    return file.read()\n")
	n.ok("node", "gc")
	before, blocks := n.ok("pin", "ls", "--all", "-q"), n.blocks()
	same := func(what string) {
		t.Helper()
		if got := n.ok("pin", "ls", "--all", "-q"); got != before {
			t.Errorf("%s: pins are\n%s\nand were\n%s", what, got, before)
		}
	}
	for what, args := range map[string][]string{
		"job plan":             {"job", "plan", "-f", script, "-c", list},
		"with a function here": {"job", "plan", "-x", script, "-c", list},
		"cl plan":              {"cl", "plan", "--each", "cat", list},
		"mr plan":              {"mr", "plan", "--mapper", "cat", "--reducer", "uniq -c", "-c", list},
	} {
		n.ok(args...)
		same(what)
	}
	n.fails(5, "job", "plan", "-f", script, "-c", list, "--memory", "512TiB")
	same("a plan that fails")
	n.fails(2, "job", "plan", "-x", list, "-c", list)
	same("a plan of what is no function")

	const nowhere = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
	plan := exec.Command(filepath.Join(n.bin, "ipdc"), "job", "plan", "-f", script, "-c", nowhere)
	var said testenv.Log
	plan.Env, plan.Stderr = n.env, &said
	if err := plan.Start(); err != nil {
		t.Fatal(err)
	}
	n.await("the upload", 20*time.Second, func() bool { return strings.Contains(n.ok("pin", "ls", "--all"), "hold") })
	_ = plan.Process.Signal(os.Interrupt)
	_ = plan.Wait()
	if code := plan.ProcessState.ExitCode(); code != 130 {
		t.Errorf("a plan after Ctrl-C has exit code %d: %s", code, said.String())
	}
	n.await("the node's end of the plan", time.Minute, func() bool { return n.ok("pin", "ls", "--all", "-q") == before })
	n.ok("node", "gc")
	if got := n.blocks(); got != blocks {
		t.Errorf("%d blocks are stored, and were %d", got, blocks)
	}

	code := n.ok("add", "-q", list) // control, and what a plan must leave
	before = n.ok("pin", "ls", "--all", "-q")
	n.ok("job", "plan", "-e", "cat", "-c", list)
	same("a plan over what is pinned")
	if !strings.Contains(before, code) {
		t.Errorf("what was added is not among the pins\n%s", before)
	}
}
