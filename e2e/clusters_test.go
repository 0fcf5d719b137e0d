package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/workload/tensorflow"
)

// markedWorker is what the tasks of a cluster run here: a server that, asked to
// "scan", says who answers at each port that a task of a gang can have, and at
// the names of the tasks of both clusters.
const markedWorker = `
import os, socket, threading
MARK = "%s"
ME = MARK + "/" + os.environ["IPDC_TASK"]
def ask(host, port):
    try:
        with socket.create_connection((host, port), 60) as c:
            c.sendall(b"who\n")
            return c.makefile().readline().strip()
    except OSError:
        return ""
def scan():
    ports = range(20000, 20008)
    said = {ask("127.0.0.1", p) for p in ports}
    for name in "left-0", "left-1", "ps-0", "worker-0", "worker-1":
        said |= {ask(name, p) for p in ports}
    return " ".join([ME + ":"] + sorted(said - {""})) + "\n"
def answer(c):
    with c:
        c.sendall((scan() if c.makefile().readline().strip() == "scan" else ME + "\n").encode())
s = socket.create_server(("127.0.0.1", int(os.environ["IPDC_PORT"])), backlog=64)
while True:
    threading.Thread(target=answer, args=s.accept()[:1]).start()
`

// twin is one of two clusters of one user.
type twin struct {
	dir   string
	roles []string // flags
	tasks []string // as they answer
	up    result
}

// Two clusters of one user on one node are started at the same time. Each task
// reaches all of its own cluster, and none of the other one; so does the user, by
// the addresses of each; and the end of one leaves the other as it is.
func TestTwoClustersDoNotMeet(t *testing.T) {
	n := newNode(t, "--cpu", "2")
	twins := []*twin{
		{roles: []string{"--local", "2"}, tasks: []string{"one/local-0", "one/local-1"}},
		{roles: []string{"--ps", "1", "--worker", "2"}, tasks: []string{"two/ps-0", "two/worker-0", "two/worker-1"}},
	}
	var starts sync.WaitGroup
	for i, c := range twins {
		c.dir = t.TempDir()
		write(t, c.dir, tensorflow.WorkerFile, fmt.Sprintf(markedWorker, []string{"one", "two"}[i]))
		starts.Go(func() {
			c.up = n.ipdc(append([]string{"tf", "up", "--dir", c.dir, "--image", "python", "--cpu", "0.25", "--memory", "128MiB"}, c.roles...)...)
		})
	}
	starts.Wait()
	for _, c := range twins {
		if c.up.code != 0 {
			t.Fatalf("tf up: %+v", c.up)
		}
	}
	ids := []string{n.isUp(twins[0]), n.isUp(twins[1])}
	if ids[0] == ids[1] {
		t.Errorf("both clusters are job %s", ids[0])
	}
	want := slices.Concat(twins[0].all(), twins[1].all())
	if got := n.scans(twins); !slices.Equal(got, want) {
		t.Errorf("with both up, tasks reach\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	n.ok("tf", "down", "--dir", twins[0].dir)
	if got := n.fails(4, "tf", "status", "--dir", twins[0].dir).stderr; !strings.Contains(got, "this directory has no cluster") {
		t.Errorf("status of the one that is down: %s", got)
	}
	if j := n.job(ids[0]); j.State != jobspec.JobStopped {
		t.Errorf("the job of the one that is down is %s", j.State)
	}
	if id := n.isUp(twins[1]); id != ids[1] {
		t.Errorf("the other one is job %s now, and was %s", id, ids[1])
	}
	if got, want := n.scans(twins[1:]), twins[1].all(); !slices.Equal(got, want) {
		t.Errorf("with one down, tasks of the other reach\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	n.ok("tf", "down", "--dir", twins[1].dir)
}

// all is what the tasks say that reach each other.
func (c *twin) all() (lines []string) {
	for _, task := range c.tasks {
		lines = append(lines, task+": "+strings.Join(c.tasks, " "))
	}
	return lines
}

// isUp holds that a cluster has its own tasks, all of which run, and returns its job.
func (n *node) isUp(c *twin) string {
	n.t.Helper()
	var st tensorflow.Status
	n.decode(&st, "tf", "status", "--dir", c.dir, "-o", "json")
	var names []string
	for _, task := range st.Tasks {
		names = append(names, strings.Split(c.tasks[0], "/")[0]+"/"+task.Name)
	}
	if st.State != tensorflow.StateUp || !slices.Equal(names, c.tasks) || st.Restarts != 0 {
		n.t.Errorf("the cluster is %+v, want %v up", st, c.tasks)
	}
	return st.Job.String()
}

// scans has all tasks of clusters scan, each asked at its address of
// ClusterSpec.json, while all are forwarded.
func (n *node) scans(twins []*twin) []string {
	n.t.Helper()
	var forward, at []string
	for _, c := range twins {
		forward = append(forward, filepath.Join(n.bin, "ipdc"), "tf", "forward", "--dir", c.dir, "--")
		text, err := os.ReadFile(filepath.Join(c.dir, tensorflow.ClusterFile))
		if err != nil {
			n.t.Fatal(err)
		}
		cluster, err := tensorflow.ParseCluster(text)
		if err != nil {
			n.t.Fatal(err)
		}
		for _, task := range cluster.Tasks() {
			at = append(at, strings.ReplaceAll(task.Addr, ":", "/"))
		}
	}
	// A connection is reset until the task's program listens, so all are asked who
	// they are first.
	const ask = `ask() { exec 3<>/dev/tcp/$2; echo $1 >&3; cat <&3; }
for at; do until [ -n "$(ask who $at)" ]; do sleep 0.1; done; done
for at; do ask scan $at; done`
	said := n.ok(slices.Concat(forward[1:], []string{"bash", "-c", ask, "bash"}, at)...)
	return strings.Split(said, "\n")
}
