package e2e

import (
	"strings"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func TestRerun(t *testing.T) {
	parallel(t)
	n := newNode(t)
	cid := n.ok("add", "-q", logsDir(t))
	first := n.ok("job", "submit", "-e", "wc -c", "-c", cid, "--name", "sizes", "--keep", "30d")
	if again := n.ok("job", "rerun", "sizes"); again != first {
		t.Errorf("rerun = %s, want %s", again, first)
	}
	j := n.job("@last")
	if j.Remembered != 0 || len(j.Attempts) == 0 || j.Spec.Name != "sizes" || j.Spec.Keep.String() != "30d" {
		t.Errorf("rerun remembered %d items in %d attempts, spec %+v; want the same spec, run anew", j.Remembered, len(j.Attempts), j.Spec)
	}
	id := n.ok("job", "rerun", "@last", "--cache", "use", "-d")
	n.ok("job", "wait", id)
	if j := n.job(id); j.Remembered != 3 {
		t.Errorf("rerun --cache use remembered %d of 3 items", j.Remembered)
	}
	if got := n.ok("job", "describe", id); !strings.Contains(got, "3 of 3 items remembered") || !strings.Contains(got, "Kept until:") {
		t.Errorf("describe = %s", got)
	}
	n.fails(4, "job", "rerun", "nothing")
}

// A job without items says that its task was remembered, too.
func TestTaskRemembered(t *testing.T) {
	parallel(t)
	n := newNode(t)
	args := []string{"job", "submit", "--once", "-e", "ls > /outputs/list", "-c", n.ok("add", "-q", logsDir(t))}
	n.ok(args...)
	if r := n.ipdc(args...); r.code != 0 || !strings.Contains(r.stderr, "1 of 1 task remembered") {
		t.Errorf("second submit = %+v", r)
	}
	if got := n.ok("job", "describe", "@last"); !strings.Contains(got, "1 of 1 task remembered") {
		t.Errorf("describe = %s", got)
	}
}

func TestEventsAndPrune(t *testing.T) {
	parallel(t)
	n := newNode(t)
	dir := logsDir(t)
	n.ok("job", "submit", "-e", "wc -c", "-c", dir)
	n.fails(6, "job", "submit", "-e", "exit 3", "-c", dir)
	bad := n.ok("job", "list", "-q", "--state", "failed")
	seqs := strings.Fields(n.ok("job", "events", bad, "-f", "-q"))
	var last jobspec.Event
	n.decode(&last, "job", "events", bad, "-o", "json", "--since", seqs[len(seqs)-2])
	if last.Seq != int64(len(seqs)) || last.Detail != string(jobspec.JobFailed) {
		t.Errorf("last event = %+v of %d, want failed", last, len(seqs))
	}

	var pruned wire.Pruned
	n.decode(&pruned, "job", "prune", "--state", "failed", "--dry-run", "-o", "json")
	if len(pruned.Jobs) != 1 || pruned.Jobs[0].ID.String() != bad {
		t.Errorf("dry run = %+v, want %s", pruned, bad)
	}
	if r := n.fails(2, "job", "prune"); !strings.Contains(r.stderr, "removes 2 jobs") {
		t.Errorf("prune of everything without a terminal says %q", r.stderr)
	}
	if got := n.ok("job", "prune", "--older-than", "1h", "-q"); got != "" {
		t.Errorf("prune --older-than 1h = %q, want nothing", got)
	}
	if got := n.ok("job", "prune", "--state", "failed", "-q"); got != bad {
		t.Errorf("prune = %q, want %s", got, bad)
	}
	n.fails(4, "job", "describe", bad)
	n.ok("job", "prune", "--force")
	if got := n.ok("job", "list", "-q"); got != "" {
		t.Errorf("after prune --force: %q", got)
	}
}

func TestReceipts(t *testing.T) {
	parallel(t)
	n := newNode(t)
	n.ok("job", "submit", "-e", "wc -c", "-c", logsDir(t))
	n.ok("receipt", "verify", "@last")
	worker := n.ok("node", "status", "-q")
	record := n.ok("job", "describe", "@last", "-o", "json")
	file := write(t, t.TempDir(), "job.json", record)
	n.ok("receipt", "verify", file, "--worker", worker)
	const other = "12D3KooWHdiAxVd8uMQR1hGWXccidmfCwLqcMpGwR6QcTP6QRMuD"
	if r := n.fails(7, "receipt", "verify", file, "--worker", other); !strings.Contains(r.stderr, "want "+other) {
		t.Errorf("verify with another worker says %q", r.stderr)
	}
	for name, change := range map[string][2]string{
		"exit code":  {`"exit_code": 0`, `"exit_code": 1`},
		"resources":  {`"memory": "512MiB"`, `"memory": "1GiB"`},
		"more in it": {`"version": "ipdc/receipt/v1"`, `"version": "ipdc/receipt/v1", "paid": true`},
	} {
		changed := strings.Replace(record, change[0], change[1], 1)
		if changed == record {
			t.Fatalf("%s: nothing to change in %s", name, record)
		}
		if r := n.ipdcIn(changed, "receipt", "verify", "-"); r.code != 7 {
			t.Errorf("%s changed: %+v, want exit code 7", name, r)
		}
	}
	if r := n.ipdcIn(record, "receipt", "verify", "-"); r.code != 0 { // control
		t.Errorf("unchanged: %+v", r)
	}
}

func TestPlan(t *testing.T) {
	parallel(t)
	n := newNode(t)
	dir := logsDir(t)
	args := []string{"-e", "wc -c", "-c", dir}
	n.ok(append([]string{"job", "plan"}, args...)...)
	if got := n.ok("job", "list", "-q"); got != "" {
		t.Errorf("plan made job %s", got)
	}
	n.ok(append([]string{"job", "submit"}, args...)...)
	write(t, dir, "new.txt", "new")
	var p wire.Plan
	n.decode(&p, append([]string{"job", "plan", "-o", "json"}, args...)...)
	if p.Items != 4 || len(p.Kept) != 3 || len(p.Tasks) != 1 || p.Tasks[0].Items[0].Path != "new.txt" || p.Kept[0].Remembered != n.job("@last").ID {
		t.Errorf("plan with one new file = %+v", p)
	}
	if got := n.ok(append([]string{"job", "plan"}, args...)...); !strings.Contains(got, "3 of 4 items remembered") {
		t.Errorf("plan = %s", got)
	}
	n.ok(append([]string{"job", "submit"}, args...)...)
	if j := n.job("@last"); j.Attempts[0].Receipt.TaskKey != p.Tasks[0].Key || j.SpecCID != p.SpecCID {
		t.Errorf("the job has task key %s, planned was %s", j.Attempts[0].Receipt.TaskKey, p.Tasks[0].Key)
	}
	n.fails(125, "job", "plan", "-e", "true", "-c", dir, "--image", "nosuch:1")
	n.fails(5, "job", "plan", "-e", "true", "-c", dir, "--cpu", "1000")
}
