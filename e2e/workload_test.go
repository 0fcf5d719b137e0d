package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// repository is the root of this module's tree.
func repository(t testing.TB) string {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// shell runs a program of sh with arguments, as the answer that a test compares
// with, and returns what it prints.
func shell(t testing.TB, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-euc", program, "sh"}, args...)...)
	var out, errb bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "LC_ALL=C"), &out, &errb
	if err := cmd.Run(); err != nil {
		t.Fatalf("sh -c %q %q: %v\n%s", program, args, err, &errb)
	}
	return out.String()
}

// countWords prints "COUNT WORD" lines of the files below $1 by coreutils and awk.
const countWords = `find "$1" -type f -exec cat {} + | tr -cs A-Za-z '\n' | tr A-Z a-z |
	awk '$0 != "" { n[$0]++ } END { for (w in n) print n[w] "\t" w }'`

// outside builds the example of docs/workloads.md as its reader would: in a
// module of its own that knows this one from a checkout.
func outside(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../examples/workload/ipdc-topwords")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"mod", "init", "example.org/ipdc-topwords"},
		{"mod", "edit", "-require", "github.com/ipdc/ipdc@v0.0.0", "-replace", "github.com/ipdc/ipdc=" + repository(t)},
		{"mod", "tidy"},
		{"build", "-o", "bin/ipdc-topwords", "."},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0") // with the flags of the other programs, so that less is compiled
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %q: %v\n%s", args, err, out)
		}
	}
	return filepath.Join(dir, "bin")
}

// What docs/workloads.md shows works: stages by hand, a command of two stages
// in Go that lives outside this module, and the same by curl.
func TestWorkloadsOutside(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir() // our docs, and a file of more than one shard
	shell(t, `cp -r ../docs "$1"; for i in $(seq 200); do find ../docs -name '*.md' -exec cat {} +; done | head -c 17000000 > "$1/large"; echo >> "$1/large"`, dir)
	text := n.ok("add", "-q", dir)
	top := shell(t, countWords+` | sort -k 1,1nr -k 2 | head -n "$2"`, dir, "10")

	n.env = append(slices.Clone(n.env), "PATH="+outside(t)+":"+os.Getenv("PATH"))
	if got := n.ok("topwords", "-n", "10", "-k", "2", text) + "\n"; got != top {
		t.Errorf("ipdc topwords:\n%swant what coreutils count:\n%s", got, top)
	}
	if j := n.job("@last"); len(j.Spec.Stages) != 2 || len(j.Attempts) < 2+2 {
		t.Errorf("the job has %d stages and %d attempts, want 2, and 2 or more counts and 2 sums", len(j.Spec.Stages), len(j.Attempts))
	}
	if r := n.fails(1, "topwords", "bafkqaaa/no"); !strings.Contains(r.stderr, "E_") {
		t.Errorf("an input that is not there: %s", r.stderr)
	}

	token := filepath.Join(n.dir, "token")
	status, err := n.client().Node(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, env := range [][2]string{
		{"unix://" + filepath.Join(n.dir, "api.sock"), ""},
		{"http://" + status.Address, token},
	} {
		got := shell(t, `export IPDC_ADDRESS="$1" IPDC_TOKEN_FILE="$2"; ../examples/workload/topwords.sh "$3"`, env[0], env[1], text)
		if got != top {
			t.Errorf("topwords.sh at %s:\n%swant\n%s", env[0], got, top)
		}
	}
	n.stagesOfDocs(t, text, dir)
}

// stagesOfDocs runs the spec that docs/workloads.md shows.
func (n *node) stagesOfDocs(t *testing.T, input, dir string) {
	doc, err := os.ReadFile("../docs/workloads.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(doc)
	if block == nil {
		t.Fatal("docs/workloads.md shows no spec")
	}
	spec := regexp.MustCompile(`cid: \w+`).ReplaceAllString(string(block[1]), "cid: "+input)
	dest := filepath.Join(t.TempDir(), "out")
	n.ok("job", "submit", "--out", dest, write(t, t.TempDir(), "job.yaml", spec))
	for j, letters := range []string{"A-Z", "a-z"} {
		name := "part-0000" + strconv.Itoa(j)
		want := shell(t, `find "$2" -type f -exec cat {} + | cut -b 1 | grep -a "[$1]" | sort | uniq -c`, letters, dir)
		if got := files(t, dest)[name]; got != want || want == "" {
			t.Errorf("%s is\n%swant\n%s", name, got, want)
		}
	}
}
