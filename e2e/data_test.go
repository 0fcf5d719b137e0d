package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/wire"
)

// What one node exports, another one imports under the same root.
func TestExportAndImport(t *testing.T) {
	parallel(t)
	n := newNode(t)
	dir, out := logsDir(t), t.TempDir()
	write(t, dir, "big", strings.Repeat("0123456789abcdef", 1<<18)) // 4 MiB of equal chunks
	cid := n.ok("add", "-q", dir)
	v1, v2 := filepath.Join(out, "1.car"), filepath.Join(out, "2.car")
	n.ok("export", cid, "-o", v1)
	n.ok("export", cid, "-o", v2, "--car-version", "2")
	first, err := os.ReadFile(v1)
	if err != nil {
		t.Fatal(err)
	}
	if len(first) > 2<<20 {
		t.Errorf("the CAR has %d bytes, want the repeated chunk once", len(first))
	}
	if got := n.ok("export", cid); got != strings.TrimSuffix(string(first), "\n") {
		t.Errorf("a second export has other bytes")
	}
	n.fails(1, "export", cid, "-o", v1) // exists
	n.ok("export", cid+"/b", "-o", v1, "--force")
	sub := n.ok("add", "-q", filepath.Join(dir, "b"))

	other := newNode(t)
	if got := other.ok("import", "-q", v1, v2); got != sub+"\n"+cid {
		t.Errorf("import = %q, want %s and %s", got, sub, cid)
	}
	other.ok("node", "gc")
	dest := filepath.Join(out, "got")
	other.ok("get", cid, dest)
	for name, want := range files(t, dir) {
		if files(t, dest)[name] != want {
			t.Errorf("%s is another file there", name)
		}
	}
	r := other.ipdcIn(string(bytes.Replace(first, []byte("one 997"), []byte("one 998"), 1)), "import", "-")
	if r.code != 7 || !strings.Contains(r.stderr, "E_BLOCK_HASH") {
		t.Errorf("import of a changed CAR = %+v, want exit code 7", r)
	}
}

func TestJobOverCAR(t *testing.T) {
	parallel(t)
	n := newNode(t)
	dir := logsDir(t)
	cid := n.ok("add", "-q", dir)
	file := filepath.Join(t.TempDir(), "in.car")
	n.ok("export", cid, "-o", file)
	n.ok("pin", "rm", cid)
	n.ok("node", "gc")
	if got := n.ok("job", "submit", "-e", "cat", "-c", file); got != cid {
		t.Errorf("cat over %s = %s, want %s", file, got, cid)
	}
}

func TestPins(t *testing.T) {
	parallel(t)
	n := newNode(t)
	cid := n.ok("add", "-q", logsDir(t))
	sub := n.ok("pin", "add", "-q", cid+"/b")
	result := n.ok("job", "submit", "-e", "wc -c", "-c", cid)
	if got := n.ok("pin", "ls", "-q"); got != sub+"\n"+cid {
		t.Errorf("pin ls = %q, want %s and %s", got, sub, cid)
	}
	if got := n.ok("pin", "ls", result, "--all"); !strings.Contains(got, "result") {
		t.Errorf("pin ls --all = %q, want the job's result", got)
	}
	n.fails(4, "pin", "ls", result)
	r := n.fails(4, "pin", "rm", result)
	if !strings.Contains(r.stderr, "ipdc job rm") {
		t.Errorf("pin rm of a job's result says %q, want the way to remove it", r.stderr)
	}
	n.ok("pin", "rm", cid)
	n.ok("node", "gc")
	n.fails(1, "get", cid, filepath.Join(t.TempDir(), "x"))
	n.ok("get", sub, filepath.Join(t.TempDir(), "x"))
	if r := n.fails(4, "pin", "rm", cid); !strings.Contains(r.stderr, "is not pinned") {
		t.Errorf("second pin rm says %q", r.stderr)
	}
	var got wire.Pin
	n.decode(&got, "pin", "add", sub, "-o", "json")
	if got.CID.String() != sub || got.Kind != wire.PinUser {
		t.Errorf("pin add -o json = %+v", got)
	}
}

// decode runs a command that must succeed and decodes its JSON.
func (n *node) decode(v any, args ...string) {
	n.t.Helper()
	if err := json.Unmarshal([]byte(n.ok(args...)), v); err != nil {
		n.t.Fatalf("ipdc %q: %v", args, err)
	}
}
