package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// plainDriver is what a user writes to run process.py over files by hand.
const plainDriver = `import os, sys
sys.path.insert(0, "/code")
import process
for path in sys.argv[1:]:
    with open(path, "rb") as f:
        name, data = process.downscale(f)
    out = os.path.join("/out", os.path.relpath(name, "/in"))
    os.makedirs(os.path.dirname(out), exist_ok=True)
    with open(out, "wb") as f:
        f.write(data)
`

func benchPictures(t testing.TB, w io.Writer) {
	n := newNode(t)
	dir := pictures(t, "wallpapers")
	cid := n.ok("add", "-q", dir)
	box := newPlainBox(t, n, dir)
	job := func() { n.ok("job", "submit", "-f", "../examples/process.py", "-c", cid, "--cache", "off") }
	xargs := func(batch int) func() {
		return func() {
			box.sh(fmt.Sprintf("find /in -type f | sort | xargs -P2 -n%d python3 /code/driver.py", batch))
		}
	}
	times := race(1, 3, job, xargs(108), xargs(1))
	fmt.Fprint(w, `
## 215 pictures, 95 MB
`+"`examples/process.py`"+` makes each small and grey; 3 rounds. The rivals are `+"`xargs -P2 python3`"+` in one container that runs already, with
the same image, the same files and no limits: half of the files to each Python, or one.

`)
	contest(w, times, 1, "`ipdc job submit -f process.py -c CID --cache off`", "`xargs -P2 -n108 python3`", "`xargs -P2 -n1 python3`")
}

// plainBox is a container of the stock image python that stays up.
type plainBox struct {
	t    testing.TB
	name string
}

func newPlainBox(t testing.TB, n *node, pictures string) plainBox {
	t.Helper()
	source, err := os.ReadFile("../examples/process.py")
	if err != nil {
		t.Fatal(err)
	}
	code, out := t.TempDir(), t.TempDir()
	write(t, code, "process.py", string(source))
	write(t, code, "driver.py", plainDriver)
	return startBox(t, n, "-v", pictures+":/in:ro", "-v", code+":/code:ro", "-v", out+":/out")
}

// startBox starts a container of the stock image python without limits.
func startBox(t testing.TB, n *node, mounts ...string) plainBox {
	t.Helper()
	list, err := exec.Command(filepath.Join(n.bin, "ipdc"), "image", "list", "-o", "name").Output()
	image := ""
	for _, ref := range strings.Fields(string(list)) {
		if strings.HasPrefix(ref, "ipdc/python:") {
			image = ref
		}
	}
	if err != nil || image == "" {
		t.Fatalf("stock images = %q, %v", list, err)
	}
	b := plainBox{t, fmt.Sprintf("plain-%d-%d", os.Getpid(), time.Now().UnixNano())}
	args := slices.Concat([]string{"run", "-d", "--rm", "--name", b.name, "--network", "none"}, mounts, []string{image, "sleep", "3600"})
	command(t, "docker", args...)()
	t.Cleanup(command(t, "docker", "rm", "-f", b.name))
	return b
}

func (b plainBox) sh(script string) { command(b.t, "docker", "exec", b.name, "sh", "-c", script)() }
