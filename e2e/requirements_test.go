package e2e

import (
	"archive/zip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// wheel writes a wheel of one module that knows its version, and returns the
// folder it lies in.
func wheel(t *testing.T, name, version string) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, name+"-"+version+"-py3-none-any.whl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	info := name + "-" + version + ".dist-info/"
	for _, file := range [][2]string{
		{name + "/__init__.py", "version = '" + version + "'\n"},
		{info + "METADATA", "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "RECORD", name + "/__init__.py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n"},
	} {
		w, err := z.Create(file[0])
		if err == nil {
			_, err = w.Write([]byte(file[1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// installs returns the jobs that installed something.
func (n *node) installs() (list []wire.Job) {
	n.t.Helper()
	for _, id := range strings.Fields(n.ok("job", "list", "-a", "-q")) {
		if j := n.job(id); j.Parent != "" {
			list = append(list, j)
		}
	}
	return list
}

// Wheels of one's own are installed without a network, once, to the same CID.
func TestWheels(t *testing.T) {
	n := newNode(t)
	dir, data := t.TempDir(), logsDir(t)
	program := write(t, dir, "p.py", "import demo\ndef f(file):\n    return demo.version + ' ' + demo.__file__\n")
	wheels := wheel(t, "demo", "1.5")
	out := filepath.Join(dir, "out")
	n.ok("job", "submit", "-f", program, "--wheels", wheels, "-c", data, "--out", out)
	for path, text := range files(t, out) {
		if text != "1.5 /deps/demo/__init__.py" {
			t.Errorf("%s = %q", path, text)
		}
	}
	first := n.job("@last")
	if got := first.Attempts[0].Receipt.Packages; len(got) != 1 || got[0] != "demo==1.5" {
		t.Errorf("packages of the receipt = %v", got)
	}
	n.ok("job", "submit", "-f", program, "--wheels", wheels, "-c", data, "-E", "OTHER=1")
	if got := n.installs(); len(got) != 1 {
		t.Errorf("%d installations, want 1", len(got))
	}
	n.ok("job", "submit", "-f", program, "--wheels", wheels, "-c", data, "--cache", "refresh")
	if got := n.installs(); len(got) != 2 || got[0].Result != got[1].Result || len(got[0].Spec.Network) != 0 {
		t.Errorf("a second installation is %+v, want the same CID without a network", got)
	}
}

// Requirements come from the package index through the node's proxy, and what
// pip says about a wrong one reaches the user.
func TestRequirements(t *testing.T) {
	testenv.Index(t)
	n := newNode(t)
	dir, data := t.TempDir(), logsDir(t)
	program := write(t, dir, "p.py", "import six\ndef f(file):\n    return six.__version__\n")
	good := write(t, dir, "requirements.txt", "six==1.16.0\n")
	out := filepath.Join(dir, "out")
	n.ok("job", "submit", "-f", program, "-r", good, "-c", data, "--out", out)
	for path, text := range files(t, out) {
		if text != "1.16.0" {
			t.Errorf("%s = %q", path, text)
		}
	}
	if got := n.job("@last").Attempts[0].Receipt.Packages; len(got) != 1 || got[0] != "six==1.16.0" {
		t.Errorf("packages of the receipt = %v", got)
	}
	bad := write(t, dir, "bad.txt", "ipdc-no-such-package==99\n")
	r := n.fails(6, "job", "submit", "-f", program, "-r", bad, "-c", data)
	if !strings.Contains(r.stderr, "No matching distribution found for ipdc-no-such-package==99") {
		t.Errorf("stderr = %s, want pip's own words", r.stderr)
	}
	if f := n.job("@last").Failure; f == nil || f.Where != "run.requirements" || f.Kind != jobspec.KindExit {
		t.Errorf("failure = %+v, want an exit at run.requirements", f)
	}
}

// A CAR holds the whole input as one file, which is the same every time.
func TestInputAsCAR(t *testing.T) {
	n := newNode(t)
	data, out := logsDir(t), filepath.Join(t.TempDir(), "out")
	n.ok("job", "submit", "--once", "-e", `cp "$IPDC_INPUTS" /outputs/x.car`, "--as", "car", "-c", data, "--out", out)
	got := n.ok("import", filepath.Join(out, "x.car"))
	if want := n.job("@last").Spec.Inputs[0].CID; !strings.Contains(got, want) {
		t.Errorf("import of the program's CAR = %s, want %s", got, want)
	}
}
