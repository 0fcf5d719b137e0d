package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	stock "github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/workload/tensorflow"
)

const tensorflowExamples = "../examples/tensorflow/"

// tensorflowImage builds the image with TensorFlow, unless the engine has it.
var tensorflowImage = sync.OnceValue(func() error {
	dir, err := binaries()
	if err != nil {
		return err
	}
	if out, err := exec.Command(filepath.Join(dir, "ipdc"), "image", "build", "tensorflow").CombinedOutput(); err != nil {
		return fmt.Errorf("build the image tensorflow: %w\n%s", err, out)
	}
	return nil
})

// digits is a directory with the data set that scikit-learn ships.
var digits = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "ipdc-digits-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out, err := exec.Command("sh", "-ec", `cd "$1"
		pip=$(command -v pip3) || { python3 -m venv venv; pip=venv/bin/pip; }
		"$pip" download -q --no-deps --only-binary :all: --python-version 3.11 --platform manylinux2014_x86_64 scikit-learn==1.7.2 >&2
		python3 -m zipfile -e scikit_learn-*.whl all >&2
		cat all/sklearn/datasets/data/digits.csv.gz`, "sh", dir).Output()
	if err != nil {
		return nil, fmt.Errorf("get the digits of scikit-learn: %w", err)
	}
	return out, nil
})

// in returns n for a subtest.
func (n *node) in(t *testing.T) *node {
	sub := *n
	sub.t = t
	return &sub
}

// TensorFlow over two nodes of one domain, each with room for one task.
func TestTensorFlow(t *testing.T) {
	testenv.Index(t)
	a, b := newMember(t, "--cpu", "1"), newMember(t, "--cpu", "1")
	if err := tensorflowImage(); err != nil {
		t.Fatal(err)
	}
	b.joins(a)
	t.Cleanup(func() { // before the nodes end
		for _, n := range []*node{a, b} {
			n.await("its containers and volumes to be gone", 2*time.Minute, func() bool {
				left, err := filepath.Glob(filepath.Join(n.dir, "volumes", "01*-*-*"))
				return err == nil && len(left) == 0
			})
		}
	})
	t.Run("examples", func(t *testing.T) { testTensorFlowExamples(t, a.in(t), b.in(t)) })
	t.Run("training", func(t *testing.T) { testTensorFlowTraining(t, a.in(t), b.in(t)) })
}

// A program of the user's own computes on a cluster over two nodes, which ends
// without a trace.
func testTensorFlowExamples(t *testing.T, a, b *node) {
	dir := t.TempDir()
	a.ok("tf", "spec", "--dir", dir, "--local", "2")
	job := a.ok("tf", "up", "--dir", dir)
	t.Cleanup(func() { // where the test did not come so far, for the training's sake
		if !a.job(job).State.Final() {
			a.ipdc("job", "stop", job)
		}
	})
	var st tensorflow.Status
	if err := json.Unmarshal([]byte(a.ok("tf", "status", "--dir", dir, "-o", "json")), &st); err != nil {
		t.Fatal(err)
	}
	var at []string
	for _, task := range st.Tasks {
		at = append(at, task.Node)
	}
	if slices.Sort(at); st.State != tensorflow.StateUp || !slices.Equal(at, slices.Sorted(slices.Values([]string{a.peerID(), b.peerID()}))) {
		t.Errorf("the cluster is %+v, want it up with a task at each of two nodes", st)
	}
	if r := a.fails(1, "tf", "up", "--dir", dir); !strings.Contains(r.stderr, "is up already, as job "+job) {
		t.Errorf("a second up: %s", r.stderr)
	}
	said := a.examples(t, dir)
	if said[0] != "238" {
		t.Errorf("example1 prints %q, want 238", said[0])
	}
	var w, bias float64
	if !scan(said[1], "W %f b %f", &w, &bias) || math.Abs(w-0.1) > 0.01 || math.Abs(bias-0.3) > 0.01 {
		t.Errorf("example2 prints %q, want W 0.1 and b 0.3, by 0.01", said[1])
	}
	var step int
	var loss float64
	if got := said[2][strings.LastIndex(said[2], "\n")+1:]; !scan(got, "step %d loss %f", &step, &loss) || loss >= 0.005 {
		t.Errorf("example3 ends with %q, want a loss below 0.005", got)
	}
	a.ok("tf", "down", "--dir", dir)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != tensorflow.ConfFile {
		t.Errorf("down leaves %v (%v), want %s", left, err, tensorflow.ConfFile)
	}
	if j := a.job(job); j.State != jobspec.JobStopped {
		t.Errorf("after down the job is %s, want stopped", j.State)
	}
}

func scan(text, format string, to ...any) bool {
	n, err := fmt.Sscanf(text, format, to...)
	return err == nil && n == len(to)
}

// examples runs the three examples outside of the cluster of dir, one after the
// other, by one Python of the image, and returns what each of them prints.
func (n *node) examples(t *testing.T, dir string) []string {
	t.Helper()
	const driver = `import runpy, sys, tensorflow as tf
sys.path.insert(0, "/examples")
for i in 1, 2, 3:
    with tf.Graph().as_default():
        runpy.run_path("/examples/example%d.py" % i, run_name="__main__")
    print("--", flush=True)`
	r, _ := stock.StockRecipe(tensorflow.Image)
	examples, err := filepath.Abs(tensorflowExamples)
	if err != nil {
		t.Fatal(err)
	}
	out := n.ok("tf", "forward", "--dir", dir, "--", "docker", "run", "--rm", "--network", "host", "-v", examples+":/examples:ro", "-v", dir+":/cluster:ro", "-w", "/cluster",
		r.Tag(), "python3", "-c", driver)
	said := strings.Split(strings.TrimSuffix(out, "--"), "--\n")
	if len(said) < 3 {
		t.Fatalf("the examples print %q", out)
	}
	for i := range said {
		said[i] = strings.TrimSpace(said[i])
	}
	return said
}

// trained is what a training says of its model.
func (n *node) trained(t *testing.T, result string) (accuracy float64) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	n.ok("get", result, dir)
	b, err := os.ReadFile(filepath.Join(dir, "worker-0", "accuracy.json"))
	var said struct{ Accuracy float64 }
	if err == nil {
		err = json.Unmarshal(b, &said)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "worker-0", "model", "saved_model.pb")); err != nil {
		t.Errorf("the result has no model: %v", err)
	}
	return said.Accuracy
}

// A training over two nodes whose one worker is killed goes on from its last
// checkpoint and ends as one that was left alone.
func testTensorFlowTraining(t *testing.T, a, b *node) {
	packed, err := digits()
	if err != nil {
		t.Fatal(err)
	}
	input := a.ok("add", "-q", filepath.Dir(write(t, t.TempDir(), "digits.csv.gz", string(packed))))
	train := func(pause string) []string {
		return []string{"tf", "run", tensorflowExamples + "digits/train.py", "--worker", "2", "-c", input, "--", "--epochs", "5", "--pause", pause}
	}
	calm := a.trained(t, a.ok(train("0")...))
	if calm < 0.9 {
		t.Errorf("the model reads %.3f of the digits, want 0.9", calm)
	}
	id := a.ok(slices.Insert(train("60"), 3, "-d")...) // the other worker waits for the first one's part of the next step
	c := a.client()                                    // not a process for each look: the training needs the processors
	a.await("a checkpoint that is kept", 5*time.Minute, func() bool {
		j, err := c.Job(t.Context(), id)
		return err == nil && j.Checkpoint != nil
	})
	b.killContainers(t)
	a.ok("job", "wait", id)
	j := a.job(id)
	if disturbed := a.trained(t, j.Result.String()); math.Abs(disturbed-calm) > 0.01 {
		t.Errorf("the model reads %.3f of the digits after a worker was killed, %.3f without that", disturbed, calm)
	}
	if log := a.ok("job", "logs", id); !strings.Contains(log, "goes on after epoch") || j.Gang == nil || j.Gang.Starts != 2 {
		t.Errorf("no task went on from a checkpoint, with %+v:\n%s", j.Gang, log)
	}
}

// killContainers kills the containers of n, as a crash would.
func (n *node) killContainers(t *testing.T) {
	t.Helper()
	out, err := exec.Command("docker", "ps", "-q", "--filter", "name=ipdc-"+n.id+"-").Output()
	if err == nil && len(bytes.Fields(out)) == 0 {
		err = fmt.Errorf("node %s runs no container", n.id)
	}
	for _, c := range bytes.Fields(out) {
		if err == nil {
			err = exec.Command("docker", "kill", string(c)).Run()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The average of the gradients of three sectors is the gradient over all.
func TestTensorFlowGradients(t *testing.T) {
	testenv.Index(t)
	n := newNode(t)
	if err := tensorflowImage(); err != nil {
		t.Fatal(err)
	}
	packed, err := digits()
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSpace(string(text))+"\n", "\n")
	lines = lines[:len(lines)-1]
	dir := t.TempDir()
	const parts = 3
	for i := range parts {
		write(t, dir, fmt.Sprintf("s%d.csv", i), strings.Join(lines[i*len(lines)/parts:(i+1)*len(lines)/parts], ""))
	}
	cmd := exec.Command(tensorflowExamples+"gradients/gradients.sh", n.ok("add", "-q", dir))
	cmd.Env = append(slices.Clone(n.env), "PATH="+n.bin+":"+os.Getenv("PATH"))
	result, err := cmd.Output()
	if err != nil {
		t.Fatalf("gradients.sh: %v", err)
	}
	to := filepath.Join(t.TempDir(), "out")
	n.ok("get", strings.TrimSpace(string(result)), to)
	var said struct {
		Examples, Sectors int
		Loss, Norm        float64
	}
	b, err := os.ReadFile(filepath.Join(to, "summary.json"))
	if err == nil {
		err = json.Unmarshal(b, &said)
	}
	if err != nil {
		t.Fatal(err)
	}
	norm := gradientNorm(t, lines)
	if said.Sectors != parts || said.Examples != len(lines) || math.Abs(said.Norm-norm) > 1e-9 || math.Abs(said.Loss-math.Log(10)) > 1e-9 {
		t.Errorf("three sectors give %+v, want loss %g and norm %g of all %d lines", said, math.Log(10), norm, len(lines))
	}
}

// gradientNorm is the length of the average gradient of a softmax over ten
// classes whose weights are zero: of x (1/10 - [its class]) over all lines.
func gradientNorm(t *testing.T, lines []string) float64 {
	t.Helper()
	var sum [64][10]float64
	for _, line := range lines {
		fields := strings.Split(strings.TrimSpace(line), ",")
		var row [65]float64
		for i := range row {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				t.Fatal(err)
			}
			row[i] = v
		}
		for i, x := range row[:64] {
			for class := range 10 {
				sum[i][class] += x / 10
			}
			sum[i][int(row[64])] -= x
		}
	}
	square := 0.0
	for _, of := range sum {
		for _, v := range of {
			square += v * v
		}
	}
	return math.Sqrt(square) / float64(len(lines))
}
