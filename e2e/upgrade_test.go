package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// laterProgram builds this program as one of a later version, which knows one
// migration of the state database more, and returns its directory and the version
// of the database that it makes.
func laterProgram(t *testing.T) (dir string, schema int) {
	t.Helper()
	migrations, err := filepath.Abs("../store/migrations")
	if err != nil {
		t.Fatal(err)
	}
	known, err := os.ReadDir(migrations)
	if err != nil {
		t.Fatal(err)
	}
	dir, schema = t.TempDir(), len(known)+1
	script := write(t, t.TempDir(), "more.sql", "CREATE TABLE more (x TEXT) STRICT; ALTER TABLE jobs ADD COLUMN more TEXT;")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(migrations, fmt.Sprintf("%04d_more.sql", schema)): script,
	}})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-overlay", write(t, t.TempDir(), "overlay.json", string(overlay)),
		"-ldflags", "-X main.version=later", "-o", dir, "github.com/ipdc/ipdc/cmd/ipdc", "github.com/ipdc/ipdc/cmd/ipdc-guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return dir, schema
}

// install puts the programs of a directory in the place of the node's, as a
// package manager does: by names.
func (n *node) install(from string) {
	n.t.Helper()
	for _, name := range []string{"ipdc", "ipdc-guest"} {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			n.t.Fatal(err)
		}
		to := filepath.Join(n.bin, name)
		if err := os.WriteFile(to+".new", data, 0o755); err != nil {
			n.t.Fatal(err)
		}
		if err := os.Rename(to+".new", to); err != nil {
			n.t.Fatal(err)
		}
	}
}

// A program that is replaced under its state and its jobs: what runs goes on in
// its container, what waits is run by the later one. The earlier one refuses the
// later one's state, says why and what to do, and touches no job.
func TestF67UpgradeWhileJobsRun(t *testing.T) {
	n := newNode(t, "--cpu", "1")
	n.stop()
	earlier := n.bin
	later, schema := laterProgram(t)
	n.bin = t.TempDir()
	n.install(earlier)
	n.start()
	runs := n.ok("job", "submit", "-d", "--once", "--cpu", "1", "-c", logsDir(t),
		"-e", "i=0; until [ -e /tmp/end ]; do echo $i; i=$((i+1)); sleep 1; done")
	n.await("the container to run", time.Minute, func() bool {
		j := n.job(runs)
		return len(j.Attempts) > 0 && j.Attempts[0].State == jobspec.AttemptRunning
	})
	waits := n.ok("job", "submit", "-d", "--once", "--cpu", "1", "-c", logsDir(t), "-e", "cat; echo later > /outputs/x")
	first := n.containers()

	n.stop()
	n.install(later)
	n.start()
	if got := n.ok("version", "-q"); got != "later" {
		t.Errorf("version = %s, want later", got)
	}
	if now := n.containers(); len(first) != 1 || !slices.Equal(now, first) {
		t.Errorf("after the upgrade the containers are %v, want %v", now, first)
	}

	n.stop()
	n.install(earlier)
	r := n.fails(1, "node", "start")
	if want := fmt.Sprintf("has version %d, this program knows up to %d", schema, schema-1); !strings.Contains(r.stderr, want) || !strings.Contains(r.stderr, "use the newer ipdc") {
		t.Errorf("the earlier program says %q, want %q and what to do", r.stderr, want)
	}
	if now := n.containers(); !slices.Equal(now, first) {
		t.Errorf("after the refused downgrade the containers are %v, want %v", now, first)
	}

	n.install(later)
	n.start()
	container := strings.Fields(first[0])[0]
	if out, err := exec.Command("docker", "exec", container, "touch", "/tmp/end").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, id := range []string{runs, waits} {
		n.ok("job", "wait", id)
		if j := n.job(id); len(j.Attempts) != 1 {
			t.Errorf("job %s took %d attempts, want 1: %+v", id, len(j.Attempts), j.Attempts)
		}
	}
	if j := n.job(runs); j.Attempts[0].Container != container {
		t.Errorf("the job ended in container %s, want %v", j.Attempts[0].Container, first)
	}
	lines := strings.Fields(n.ipdc("job", "logs", runs).stdout)
	for i, line := range lines {
		if line != fmt.Sprint(i) {
			t.Errorf("line %d of %d of the log is %q", i, len(lines), line)
		}
	}
	if len(lines) == 0 {
		t.Error("the log is empty")
	}
}
