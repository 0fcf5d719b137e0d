package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// A dataset grows by a file a day, and a schedule runs over each day's file: what
// a user types, and what he sees of it.
func TestGrowingDataset(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	const program = "tr a-z A-Z"
	if got := n.ok("dataset", "create", "logs"); !strings.HasPrefix(got, "logs@1 bafy") {
		t.Errorf("dataset create printed %q", got)
	}
	n.ok("cron", "add", "--on-change", "logs", "--only-new", "-e", program, "--name", "nightly")
	roots, before := map[int]string{}, wire.Job{}
	for version := 2; version <= 4; version++ {
		day := fmt.Sprintf("day%d.csv", version)
		said := strings.Fields(n.ok("dataset", "append", "logs", write(t, dir, day, "text of "+day+"\n")))
		if len(said) != 2 || said[0] != fmt.Sprintf("logs@%d", version) {
			t.Fatalf("dataset append printed %q", said)
		}
		roots[version] = said[1]
		n.await("the run over "+day, time.Minute, func() bool { return n.instants("nightly")[jobspec.InstantSucceeded] == version-1 })
		before = n.ranOverDay(version, before)
	}
	n.sees("logs", roots)
	n.jobsOver(roots, dir)

	first := n.ok("dataset", "create", "days", "--from", dir)
	if want := "days@1 " + roots[4]; first != want { // the same files
		t.Errorf("dataset create --from a folder printed %q, want %q", first, want)
	}
	if pins := n.ok("pin", "list"); strings.Contains(pins, roots[4]) {
		t.Errorf("what was sent for it stays pinned:\n%s", pins)
	}
	n.fails(2, "dataset", "create", "none", "--from", filepath.Join(dir, "day2.csv"))
	if got := n.fails(2, "dataset", "create", "none", dir); !strings.Contains(got.stderr, "--from "+dir) {
		t.Errorf("a folder in the place of a flag: %q", got.stderr)
	}

	// Nothing new: the same program again, by hand, runs nothing.
	n.ok("job", "submit", "--name", "nightly", "-e", program, "-c", "logs", "--only-new")
	if j := n.job("@last"); len(j.Attempts) != 0 || j.Dataset.Previous != before.ID {
		t.Errorf("with nothing new there are %d attempts behind job %s, want none behind %s", len(j.Attempts), j.Dataset.Previous, before.ID)
	}
	// A file that no run can be over is in the next one, too.
	const strict = "! grep -q broken /inputs/* && cat"
	over := func(only string) []string {
		return []string{"job", "submit", "--name", "strict", "-e", strict, "-c", only, "--only-new"}
	}
	n.ok(over("logs")...)
	good := n.job("@last")
	n.ok("dataset", "append", "logs", "day5.csv="+write(t, dir, "day5.csv", "broken\n"))
	n.fails(6, over("logs")...)
	n.ok("dataset", "append", "logs", "--replace", write(t, dir, "day5.csv", "mended\n"), write(t, dir, "day6.csv", "text of day6\n"))
	id := n.ok(append(over("logs"), "-d")...) // the last job may be one of the schedule
	result := n.ok("job", "wait", id)
	if j := n.job(id); j.Dataset.Previous != good.ID || j.ItemsTotal != 2 {
		t.Errorf("after a run that failed: over %d files behind job %s, want 2 behind %s", j.ItemsTotal, j.Dataset.Previous, good.ID)
	}
	if got := n.got(result); len(got) != 2 || got["day5.csv"] != "mended\n" || got["day6.csv"] == "" {
		t.Errorf("the run after it gives %q", got)
	}
	// What the schedule has begun goes on after the node's end.
	n.ok("cron", "rm", "nightly")
	n.await("all jobs to end", patience, func() bool {
		return !slices.ContainsFunc(strings.Fields(n.ok("job", "list", "-q")), func(id string) bool { return !n.job(id).State.Final() })
	})
}

// ranOverDay holds that the newest instant ran over one file, that its job names
// the job before it, and that the history has its result.
func (n *node) ranOverDay(version int, before wire.Job) wire.Job {
	n.t.Helper()
	at := n.history("nightly").Instants[0]
	j := n.job(at.Job.String())
	u, day := j.Dataset, fmt.Sprintf("day%d.csv", version)
	if u == nil || u.Version != version || u.Previous != before.ID || u.Result != before.Result || j.ItemsTotal != 1 || len(j.Attempts) != 1 {
		n.t.Errorf("version %d ran over %d files in %d attempts, %+v", version, j.ItemsTotal, len(j.Attempts), u)
	}
	if got := n.got(at.Result.String()); len(got) != 1 || got[day] != strings.ToUpper("text of "+day+"\n") {
		n.t.Errorf("the run over version %d gives %q", version, got)
	}
	if text := n.ok("cron", "history", "nightly", "-o", "wide"); !strings.Contains(text, fmt.Sprintf("logs@%d ", version)) || !strings.Contains(text, j.Result.String()) {
		n.t.Errorf("cron history does not show version %d with its result:\n%s", version, text)
	}
	text := n.ok("job", "describe", j.ID.String())
	if before.ID != "" && (!strings.Contains(text, before.Result.String()) || !strings.Contains(text, ": 1 new")) {
		n.t.Errorf("describe does not link the run before with its result:\n%s", text)
	}
	return j
}

// sees looks at a dataset of four versions by all commands that show it.
func (n *node) sees(name string, roots map[int]string) {
	n.t.Helper()
	for _, c := range []struct {
		want []string
		args []string
	}{
		{[]string{name, "this node", roots[4]}, []string{"list"}},
		{[]string{roots[4], roots[2], "all versions"}, []string{"show", name}},
		{[]string{"3", roots[3]}, []string{"show", name + "@3", "-o", "json"}},
		{[]string{roots[4]}, []string{"head", name}},
		{[]string{roots[3]}, []string{"head", name + "@3"}},
		{[]string{"+ day4.csv"}, []string{"diff", name}},
		{[]string{"+ day3.csv", "+ day4.csv"}, []string{"diff", name + "@2", name}},
		{[]string{"nightly", "succeeded"}, []string{"runs", name + "@2"}},
	} {
		got := n.ok(append([]string{"dataset"}, c.args...)...)
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				n.t.Errorf("dataset %q does not show %q:\n%s", c.args, want, got)
			}
		}
	}
	if got := strings.Fields(n.ok("dataset", "runs", name, "-q")); len(got) != 3 {
		n.t.Errorf("dataset runs lists %q, want three jobs", got)
	}
	if got := n.fails(4, "dataset", "head", name+"@9").stderr; !strings.Contains(got, "the newest is 4") {
		n.t.Errorf("a version that is not there: %s", got)
	}
}

// jobsOver runs jobs over a dataset by its name, by one of its versions, by the
// CID of one, and over the lines of a file in it.
func (n *node) jobsOver(roots map[int]string, dir string) {
	n.t.Helper()
	for input, version := range map[string]int{"logs": 4, "logs@2": 2, roots[3]: 3, "dataset:logs@3": 3} {
		j := n.job(n.ok("job", "submit", "-d", "-e", "wc -c", "-c", input))
		n.ok("job", "wait", j.ID.String())
		if got := j.Spec.Inputs[0].CID; got != roots[version] || len(n.got(n.job(j.ID.String()).Result.String())) != version-1 {
			n.t.Errorf("-c %s is over %s, want version %d, %s", input, got, version, roots[version])
		}
	}
	for _, list := range []string{"logs/day3.csv", "logs@3/day3.csv", filepath.Join(dir, "day3.csv")} {
		got := n.got(n.ok("cl", "run", "--each", "cat", list))
		if len(got) != 1 || !strings.Contains(fmt.Sprint(got), "text of day3.csv") {
			n.t.Errorf("cl run over %s gives %q", list, got)
		}
	}
	if got := n.fails(4, "cl", "run", "--each", "cat", "logs@2/day3.csv").stderr; !strings.Contains(got, "day3.csv") {
		n.t.Errorf("cl run over what a version does not have: %s", got)
	}
}

// got downloads a result and returns its files.
func (n *node) got(root string) map[string]string {
	n.t.Helper()
	to := filepath.Join(n.t.TempDir(), "got")
	n.ok("get", root, to)
	return files(n.t, to)
}
