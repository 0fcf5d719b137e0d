package e2e

import (
	"cmp"
	"database/sql"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
)

// recoverFor is how long after a start what a kill left may still be there: this is
// promised, and no patience.
const recoverFor = 30 * time.Second

// calms takes what the node has now for what it may have whenever it has nothing
// to do, with what jobs that were not successful keep. Nothing has disturbed it.
func (n *crasher) calms() {
	n.t.Helper()
	n.calm = append(n.whenCalm(), `pins of a job that is failed: ["partial"]`, `pins of a job that is stopped: ["partial"]`,
		`pins of a job that is stopped: ["outputs" "partial"]`) // whose outputs had been merged
}

// settles waits until the node has nothing but what it had when it was calm.
func (n *crasher) settles() {
	n.t.Helper()
	if n.calm == nil {
		n.t.Fatal("nothing is known of the node from before its crash")
	}
	var left []string
	for end := time.Now().Add(recoverFor); time.Now().Before(end); <-time.After(50 * time.Millisecond) {
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
// for it, files of attempts and temporary ones, and for what its jobs have pins.
func (n *crasher) holdings() []string {
	n.t.Helper()
	all := map[string]bool{}
	for _, line := range slices.Concat(n.strays(), n.mounts()) {
		all[line] = true
	}
	states := map[string]jobspec.JobState{}
	kinds := map[string][]string{}
	jobs, err := n.client(client.WithTenant("*")).Jobs(n.t.Context(), client.JobFilter{All: true, Limit: 500}) // other members' too
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
		if s := states[id]; len(of) == 0 && (s == jobspec.JobFailed || s == jobspec.JobStopped) {
			continue // it keeps what it came to, and that was nothing
		}
		slices.Sort(of)
		all[fmt.Sprintf("pins of a job that is %s: %q", cmp.Or(string(states[id]), "not recorded"), of)] = true
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(all)), func(line string) bool { return !isRecord(line) }) { // else there is no need to ask
		for _, name := range n.containers() {
			all["container "+name] = true
		}
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

// mounts lists mounts and loop devices below the node's directory, but those of
// volumes that are kept ready.
func (n *crasher) mounts() (all []string) {
	n.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		n.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], n.dir+"/") {
			all = append(all, "mount "+f[4])
		}
	}
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		n.t.Fatal(err)
	}
	for _, loop := range loops {
		if file, err := os.ReadFile(loop); err == nil && strings.HasPrefix(string(file), n.dir+"/") { // it may go meanwhile
			all = append(all, "loop "+strings.TrimSpace(string(file)))
		}
	}
	if n.cmd.ProcessState != nil {
		return all
	}
	return slices.DeleteFunc(all, func(line string) bool { return strings.Contains(line, "/volumes/spare-") })
}
