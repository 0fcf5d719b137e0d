package tensorflow_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
	"github.com/ipdc/ipdc/workload/tensorflow"
)

func TestParseConf(t *testing.T) {
	many := strings.Repeat("0,", 40)
	for text, want := range map[string]string{
		`{"local": [0, 1]}`:                    "",
		`{"ps": [0], "worker": [0, 1]}` + "\n": "",
		`{}`:                                   "names no job",
		`null`:                                 "names no job",
		`{"local": []}`:                        "local has no task",
		`{"local": [0, 2]}`:                    "local[1] is 2",
		`{"local": [1, 0]}`:                    "local[0] is 1",
		`{"local": [0, 0]}`:                    "local[1] is 0",
		`{"Local": [0]}`:                       "a job's name",
		`{"local": 2}`:                         "not a JSON object",
		`{"local": [0]} {}`:                    "behind its end",
		`{"local": [` + many + `0]}`:           "local[1] is 0",
		strings.Repeat(" ", 65<<10):            "at most",
	} {
		_, err := tensorflow.ParseConf([]byte(text))
		if err == nil || want == "" {
			if want != "" || err != nil {
				t.Errorf("ParseConf(%.40s) = %v, want an error with %q", text, err, want)
			}
			continue
		}
		if f := jobspec.AsFailure(err); f.Kind != jobspec.KindSpec || !strings.Contains(f.Detail, want) || !strings.Contains(f.Hint, "ipdc tf spec") {
			t.Errorf("ParseConf(%.40s) = %v, want E_SPEC with %q and a hint", text, err, want)
		}
	}
	if _, err := tensorflow.NewConf(map[string]int{"worker": jobspec.MaxGang, "ps": 1}); err == nil || !strings.Contains(err.Error(), "65 tasks in all, at most 64") {
		t.Errorf("NewConf of 65 tasks = %v, want both numbers", err)
	}
	if _, err := tensorflow.NewConf(map[string]int{"worker": -1}); err == nil {
		t.Error("NewConf takes -1 tasks")
	}
}

func newCluster(t *testing.T) tensorflow.Cluster {
	t.Helper()
	conf, err := tensorflow.ParseConf([]byte(`{"worker": [0, 1], "ps": [0]}`))
	if err != nil {
		t.Fatal(err)
	}
	return tensorflow.NewCluster(conf, []int{1000, 1001, 1002})
}

func TestCluster(t *testing.T) {
	c := newCluster(t)
	var got map[string]any
	if err := json.Unmarshal(c.Encode(), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "Cluster")
	want := map[string]any{
		"ClusterSpec": map[string]any{"ps": []any{"127.0.0.1:1000"}, "worker": []any{"127.0.0.1:1001", "127.0.0.1:1002"}},
		"TaskIndex":   map[string]any{"127.0.0.1:1000": 0.0, "127.0.0.1:1001": 0.0, "127.0.0.1:1002": 1.0},
		"Unstarted":   true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ClusterSpec.json (-want +got):\n%s", diff)
	}
	back, err := tensorflow.ParseCluster(c.Encode())
	if diff := cmp.Diff(c, back); err != nil || diff != "" {
		t.Errorf("ParseCluster = %v (-want +got):\n%s", err, diff)
	}
	tasks := []tensorflow.Task{{Name: "ps-0", Addr: "127.0.0.1:1000"}, {Name: "worker-0", Addr: "127.0.0.1:1001"}, {Name: "worker-1", Addr: "127.0.0.1:1002"}}
	if diff := cmp.Diff(tasks, c.Tasks()); diff != "" {
		t.Errorf("Tasks (-want +got):\n%s", diff)
	}
	if newCluster(t).ID == c.ID {
		t.Error("two clusters have the same ID")
	}
	for _, text := range []string{`{}`, `[]`, `{"ClusterSpec": {"x": []}, "Cluster": "A"}`, `{"ClusterSpec": {"x": ["a:1"]}}`} {
		if _, err := tensorflow.ParseCluster([]byte(text)); err == nil || jobspec.AsFailure(err).Kind != jobspec.KindSpec {
			t.Errorf("ParseCluster(%s) = %v, want E_SPEC", text, err)
		}
	}
}

func TestJobs(t *testing.T) {
	c := newCluster(t)
	up := tensorflow.Up(c, tensorflow.Worker())
	run := tensorflow.Run(c.Conf(), "train.py", map[string][]byte{"train.py": nil, "net.py": nil}, "--epochs", "3")
	for name, j := range map[string]tensorflow.Job{"Up": up, "Run": run} {
		if err := j.Spec.WithDefaults().Validate(); err != nil {
			t.Errorf("the spec of %s: %v", name, err)
		}
		for _, arg := range j.Spec.Run.Command[1:] {
			file, ok := strings.CutPrefix(arg, "/code/")
			if _, there := j.Code[file]; ok && !there {
				t.Errorf("%s runs %s, which is not in its code", name, arg)
			}
		}
	}
	if up.Spec.Timeouts.Run != jobspec.NoLimit || up.Spec.Labels[tensorflow.ClusterLabel] != c.ID || up.Spec.Gang.Ends != "" {
		t.Errorf("Up = %+v, want no limit of time, the cluster's label, and no role that ends it", up.Spec)
	}
	if run.Spec.Gang.Ends != "worker" || !slices.Equal(run.Spec.Run.Command[3:], []string{"--epochs", "3"}) {
		t.Errorf("Run = %+v, want that its workers end it, and its arguments", run.Spec)
	}
	both, err := tensorflow.NewConf(map[string]int{"chief": 1, "worker": 2, "ps": 1})
	if err != nil {
		t.Fatal(err)
	}
	alone, err := tensorflow.NewConf(map[string]int{"worker": 2})
	if err != nil {
		t.Fatal(err)
	}
	for want, conf := range map[string]tensorflow.Conf{"chief": both, "": alone} {
		if got := tensorflow.Run(conf, "t.py", nil).Spec.Gang.Ends; got != want {
			t.Errorf("Run(%v) ends with %q, want %q", conf, got, want)
		}
	}
}

func TestStatusOf(t *testing.T) {
	c := newCluster(t)
	id := jobspec.JobID("01KB0000000000000000000000")
	attempt := func(task, try, generation int, s jobspec.AttemptState) jobspec.Attempt {
		return jobspec.Attempt{ID: jobspec.AttemptID{Job: id, Task: task, Try: try}, State: s, Peers: &jobspec.Peers{Generation: generation}}
	}
	job := func(s jobspec.JobState, list ...jobspec.Attempt) wire.Job {
		j := wire.Job{Attempts: list}
		j.ID, j.State = id, s
		return j
	}
	started := func(n int, j wire.Job) wire.Job {
		j.Gang = &jobspec.GangState{Starts: n}
		return j
	}
	running := jobspec.AttemptRunning
	first := []jobspec.Attempt{attempt(0, 1, 1, running), attempt(1, 1, 1, running), attempt(2, 1, 1, jobspec.AttemptLeased)}
	for _, test := range []struct {
		job      wire.Job
		want     tensorflow.State
		restarts int
	}{
		{wire.Job{}, tensorflow.StateDown, 0},
		{job(jobspec.JobQueued), tensorflow.StateStarting, 0},
		{job(jobspec.JobRunning, first...), tensorflow.StateStarting, 0},
		{job(jobspec.JobRunning, attempt(0, 1, 1, running), attempt(1, 1, 1, running), attempt(2, 1, 1, running)), tensorflow.StateUp, 0},
		{started(1, job(jobspec.JobRunning, append(first, attempt(2, 2, 2, running))...)), tensorflow.StateUp, 0}, // the first one did not begin
		{started(3, job(jobspec.JobRunning, append(first, attempt(2, 3, 3, running))...)), tensorflow.StateUp, 2},
		{job(jobspec.JobStopped, first...), tensorflow.StateEnded, 0},
	} {
		got := tensorflow.StatusOf(c, test.job)
		if got.State != test.want || got.Restarts != test.restarts || len(got.Tasks) != 3 || got.Tasks[2].Name != "worker-1" {
			t.Errorf("StatusOf(%s, %d attempts) = %+v, want %s with %d restarts and three tasks", test.job.State, len(test.job.Attempts), got, test.want, test.restarts)
		}
	}
}

// The harness is run by the python3 of this machine, which needs no TensorFlow
// for it.
func TestHarness(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "train.py")
	text := "import os, sys, beside\nprint(os.environ['TF_CONFIG'], sys.argv[1:], __name__, sys.path[0] == os.path.dirname(__file__))\n"
	for path, text := range map[string]string{script: text, filepath.Join(dir, "beside.py"): ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("python3", "harness.py", script, "-x", "1")
	cmd.Env = append(os.Environ(), "IPDC_TASK=big-worker-1", `IPDC_PEERS={"big-worker": ["big-worker-0:20000", "big-worker-1:20001"]}`)
	out, err := cmd.CombinedOutput()
	want := `{"cluster": {"big-worker": ["big-worker-0:20000", "big-worker-1:20001"]}, "task": {"type": "big-worker", "index": 1}} ['-x', '1'] __main__ True` + "\n"
	if err != nil || string(out) != want {
		t.Errorf("harness: %v\n%s\nwant\n%s", err, out, want)
	}
}

// A server that ends has failed, also where it says that it has not; a training
// may end well.
func TestHarnessServer(t *testing.T) {
	for text, code := range map[string]int{"": 1, "import sys\nsys.exit(0)\n": 1, "import sys\nsys.exit(3)\n": 3} {
		script := filepath.Join(t.TempDir(), "create_worker.py")
		if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		run := func(args ...string) (int, string) {
			cmd := exec.Command("python3", append([]string{"harness.py"}, args...)...)
			cmd.Env = append(os.Environ(), "IPDC_TASK=a-0", `IPDC_PEERS={"a": ["a-0:20000"]}`)
			out, err := cmd.CombinedOutput()
			if err != nil && cmd.ProcessState == nil {
				t.Fatal(err)
			}
			return cmd.ProcessState.ExitCode(), string(out)
		}
		if got, out := run("--server", script); got != code || code == 1 && !strings.Contains(out, "create_worker.py has ended") {
			t.Errorf("a server %q ends with %d: %s, want %d", text, got, out, code)
		}
		if got, out := run(script); got != 0 && got != 3 {
			t.Errorf("a training %q ends with %d: %s", text, got, out)
		}
	}
}
