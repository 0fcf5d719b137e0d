package e2e

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/jobspec"
)

// recoverFor is how long after a start all that a kill left may still be there.
const recoverFor = 30 * time.Second

// crasher is a node that can be crashed at a place while it runs.
type crasher struct {
	*node
	calm []string // what it has when it has nothing to do
}

// newCrasher starts a node that looks for leftovers each second. It counts only
// what is its own, so that several of them run beside each other.
func newCrasher(t testing.TB, settings []string, args ...string) *crasher {
	t.Helper()
	n := makeCrasher(t, settings, args...)
	n.begin()
	return n
}

// makeCrasher is one that has not been started.
func makeCrasher(t testing.TB, settings []string, args ...string) *crasher {
	t.Helper()
	if len(args) == 0 {
		args = []string{"--p2p-listen", "off", "--door-listen", loopback}
	}
	n := &crasher{node: makeNode(t, nil, args...)}
	tmp := filepath.Join(n.dir, "tmp") // nothing of another process is in it
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	n.own = append([]string{failpoint.Env + "=@" + n.wish(), "IPDC_SWEEP_EVERY=1s", "TMPDIR=" + tmp}, settings...)
	t.Cleanup(func() { // after its end
		if left := n.machine(); len(left) > 0 {
			t.Errorf("the node that has ended left %q", left)
		}
		if err := os.RemoveAll(n.dir); err != nil {
			t.Errorf("remove state: %v", err)
		}
		n.disarm()
	})
	return n
}

// wish is the file that says what is to happen at a place.
func (n *crasher) wish() string { return n.dir + ".failpoint" }

// arm lets the node, running or not, kill itself when it comes to a place.
func (n *crasher) arm(place string) {
	n.t.Helper()
	err := os.WriteFile(n.wish()+".new", []byte(place+"=kill"), 0o600)
	if err == nil {
		err = os.Rename(n.wish()+".new", n.wish())
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *crasher) disarm() {
	if err := os.Remove(n.wish()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.t.Error(err)
	}
}

// crash arms a place and does what leads there, and starts the node again when
// it has died.
func (n *crasher) crash(place string, do func()) {
	n.t.Helper()
	n.arm(place)
	do()
	if !n.dies(time.Minute) {
		n.t.Fatalf("the node did not come to %s within a minute", place)
	}
	n.recovers(place)
}

// dies waits until the node was killed at a place; false: it was not, and runs.
func (n *crasher) dies(within time.Duration) bool {
	n.t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		if _, err := os.Stat(n.wish()); err == nil {
			continue
		}
		_ = n.cmd.Wait() // its error says what the status does
		if st, ok := n.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || st.Signal() != syscall.SIGKILL {
			n.t.Fatalf("the node ended with %s, want SIGKILL at the place", n.cmd.ProcessState)
		}
		return true
	}
	return false
}

// recovers starts the node again. Where a run is to be long, it is killed once
// more on its way: at any moment, or at any place that it comes to.
func (n *crasher) recovers(cell string) {
	n.t.Helper()
	if long() {
		n.killedAgain(cell)
		return
	}
	n.start()
}

// killedAgain starts the node, kills it within half a second, and starts it.
func (n *crasher) killedAgain(cell string) {
	n.t.Helper()
	rnd := chance(n.t.Name() + cell)
	if all := failpoint.All(); rnd.IntN(2) == 0 {
		place := all[rnd.IntN(len(all))]
		n.arm(place)
		n.launch()
		if !n.dies(time.Second) {
			n.disarm()
			n.answers()
			return
		}
		n.t.Logf("killed again at %s", place)
	} else {
		after := time.Duration(50+rnd.IntN(450)) * time.Millisecond
		n.launch()
		<-time.After(after)
		n.kill()
		n.t.Logf("killed again after %s", after)
	}
	n.start()
}

// settles waits until the node has nothing but what it had when it was calm,
// and what jobs that were not successful keep.
func (n *crasher) settles() {
	n.t.Helper()
	if n.calm == nil {
		n.calm = append(n.whenCalm(), `pins of a job that is failed: ["partial"]`, `pins of a job that is stopped: ["partial"]`)
	}
	var left []string
	for end := time.Now().Add(recoverFor); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		left = slices.DeleteFunc(n.holdings(), func(line string) bool { return slices.Contains(n.calm, line) })
		if len(left) == 0 {
			return
		}
	}
	n.t.Errorf("%s later the node still has %q, when it was calm %q", recoverFor, left, n.calm)
}

// whenCalm is what the node has when it has nothing for any attempt, and
// nothing of that has changed for more than a sweep.
func (n *crasher) whenCalm() (calm []string) {
	n.t.Helper()
	since := time.Now()
	n.await("the node to be calm", time.Minute, func() bool {
		now := n.holdings()
		if !slices.Equal(now, calm) || slices.ContainsFunc(now, func(line string) bool { return !isRecord(line) }) {
			calm, since = now, time.Now()
		}
		return time.Since(since) > 1500*time.Millisecond
	})
	return calm
}

// isRecord says of what a node has whether it has that for its records' sake.
func isRecord(line string) bool {
	return strings.HasPrefix(line, "pins of ") || strings.HasPrefix(line, "file ")
}

// holdings lists what a node has, each kind of thing once: what the machine has
// for it, temporary files, and for what its jobs have pins.
func (n *crasher) holdings() []string {
	n.t.Helper()
	all := map[string]bool{}
	for _, line := range n.machine() {
		all[line] = true
	}
	states := map[string]jobspec.JobState{}
	kinds := map[string][]string{}
	jobs, err := n.client().Jobs(n.t.Context(), client.JobFilter{Limit: 500})
	if err != nil {
		return []string{err.Error()}
	}
	for _, j := range jobs {
		states[j.ID.String()], kinds[j.ID.String()] = j.State, nil
	}
	for _, name := range n.pins("") {
		if p := strings.SplitN(name, "/", 4); p[0] == "job" {
			kinds[p[1]] = append(kinds[p[1]], p[2])
		} else {
			all["pins of a "+p[0]] = true
		}
	}
	for id, of := range kinds {
		slices.Sort(of)
		all[fmt.Sprintf("pins of a job that is %s: %q", cmp.Or(string(states[id]), "not recorded"), of)] = true
	}
	for _, line := range n.strays() {
		all[line] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// pins returns the names of the node's pins that begin with prefix, of removed
// jobs too, which the API does not show.
func (n *crasher) pins(prefix string) (names []string) {
	n.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(n.dir, "ipfs", "pins.db")+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		n.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(n.t.Context(), "SELECT name FROM pins ORDER BY name")
	if err != nil {
		n.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			n.t.Fatal(err)
		}
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	if err := rows.Err(); err != nil {
		n.t.Fatal(err)
	}
	return names
}

// strays lists files that no process should have left, and the directories of
// attempts.
func (n *crasher) strays() (all []string) {
	n.t.Helper()
	for what, pattern := range map[string]string{
		"attempt":   "run/*",
		"volume":    "volumes/[^s]*", // but spare-
		"temporary": "tmp/*",
	} {
		found, err := filepath.Glob(filepath.Join(n.dir, pattern))
		if err != nil {
			n.t.Fatal(err)
		}
		for _, f := range found {
			all = append(all, what+" "+f)
		}
	}
	_ = filepath.WalkDir(n.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it went meanwhile
		}
		if d.IsDir() && (d.Name() == "blocks" || d.Name() == "volumes" || d.Name() == "home") {
			return fs.SkipDir
		}
		if strings.HasSuffix(d.Name(), ".new") || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "new-") {
			rel, _ := filepath.Rel(n.dir, path)
			all = append(all, "file "+rel)
		}
		return nil
	})
	return all
}

// machine lists what the machine has for this node: containers, mounts, loop
// devices and, when it has ended, control groups.
func (n *crasher) machine() (all []string) {
	n.t.Helper()
	out, err := exec.Command("docker", "ps", "-aq", "--filter", "name=^/?ipdc-"+n.id+"-", "--format", "container {{.Names}}").Output()
	if err != nil {
		n.t.Fatal(err)
	}
	loops, err := exec.Command("losetup", "-n", "-O", "NAME,BACK-FILE").Output()
	if err != nil {
		n.t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		n.t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		all = append(all, strings.TrimSpace(line))
	}
	for line := range strings.Lines(string(loops)) {
		if strings.Contains(line, n.dir+"/") {
			all = append(all, "loop "+strings.TrimSpace(line))
		}
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], n.dir+"/") {
			all = append(all, "mount "+f[4])
		}
	}
	if n.cmd.ProcessState != nil {
		return append(all, n.groups()...)
	}
	return slices.DeleteFunc(all, func(line string) bool { return strings.Contains(line, "/volumes/spare-") })
}
