package e2e

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
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
	parallel(t)
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
	parallel(t)
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
	parallel(t)
	n := newNode(t)
	data, out := logsDir(t), filepath.Join(t.TempDir(), "out")
	n.ok("job", "submit", "--once", "-e", `cp "$IPDC_INPUTS" /outputs/x.car`, "--as", "car", "-c", data, "--out", out)
	got := n.ok("import", filepath.Join(out, "x.car"))
	if want := n.job("@last").Spec.Inputs[0].CID; !strings.Contains(got, want) {
		t.Errorf("import of the program's CAR = %s, want %s", got, want)
	}
}

// sdist returns the source distribution of a package demo that builds itself,
// without any tool from an index.
func sdist(t *testing.T) []byte {
	t.Helper()
	const backend = `import os, zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name, info = "demo-2.0-py3-none-any.whl", "demo-2.0.dist-info/"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as z:
        z.writestr("demo/__init__.py", "version = 'built'\n")
        z.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 2.0\n")
        z.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(info + "RECORD", "")
    return name
`
	var b bytes.Buffer
	packed := gzip.NewWriter(&b)
	w := tar.NewWriter(packed)
	for name, text := range map[string]string{
		"PKG-INFO":       "Metadata-Version: 2.1\nName: demo\nVersion: 2.0\n",
		"pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n",
		"backend.py":     backend,
	} {
		err := w.WriteHeader(&tar.Header{Name: "demo-2.0/" + name, Mode: 0o644, Size: int64(len(text))})
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), packed.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sourceIndex serves a package index with nothing but the source of demo, and
// counts what it is asked.
func sourceIndex(t *testing.T) (url string, asked *atomic.Int64) {
	t.Helper()
	archive := sdist(t)
	asked = new(atomic.Int64)
	mux := http.NewServeMux()
	mux.HandleFunc("/simple/demo/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!DOCTYPE html><a href="/files/demo-2.0.tar.gz">demo-2.0.tar.gz</a>`)
	})
	mux.HandleFunc("/files/demo-2.0.tar.gz", func(w http.ResponseWriter, _ *http.Request) { w.Write(archive) })
	l, err := net.Listen("tcp", "127.0.0.2:0") // not what NO_PROXY names
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		mux.ServeHTTP(w, r)
	}))
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL + "/simple", asked
}

// A package without a wheel is built from its source only where that is
// allowed, and wheels of one's own keep pip from asking any index.
func TestAllowBuild(t *testing.T) {
	index, asked := sourceIndex(t)
	n := newNode(t, "--index", index, "--network-allow-private", "127.0.0.0/8")
	dir, data := t.TempDir(), logsDir(t)
	program := write(t, dir, "p.py", "import demo\ndef f(file):\n    return demo.version\n")
	needs := write(t, dir, "requirements.txt", "demo\n")
	submit := []string{"job", "submit", "-f", program, "-c", data}
	gives := func(want string, args ...string) {
		t.Helper()
		out := filepath.Join(t.TempDir(), "out")
		n.ok(slices.Concat(submit, args, []string{"--out", out})...)
		for path, text := range files(t, out) {
			if text != want {
				t.Errorf("%v: %s = %q, want %q", args, path, text, want)
			}
		}
	}

	gives("1.5", "--wheels", wheel(t, "demo", "1.5"))
	gives("1.6", "--wheels", wheel(t, "demo", "1.6"), "-r", needs)
	gives("1.7", "--wheels", n.ok("add", "-q", wheel(t, "demo", "1.7")))
	r := n.fails(6, append(submit, "--wheels", wheel(t, "other", "1.0"), "-r", needs)...)
	if !strings.Contains(r.stderr, "No matching distribution found for demo") {
		t.Errorf("stderr = %s, want pip's own words about a wheel that is not there", r.stderr)
	}
	if got := asked.Load(); got != 0 {
		t.Errorf("the index was asked %d times for wheels that are here", got)
	}

	r = n.fails(6, append(submit, "-r", needs)...)
	for _, want := range []string{"No matching distribution found for demo", "--allow-build"} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("stderr = %s, want %q", r.stderr, want)
		}
	}
	if asked.Load() == 0 {
		t.Error("control: the index was not asked without wheels either")
	}
	write(t, dir, "requirements.txt", "demo==3\n")
	if r = n.fails(6, append(submit, "-r", needs, "--allow-build")...); strings.Contains(r.stderr, "--allow-build") {
		t.Errorf("stderr = %s, want no hint at what was given", r.stderr)
	}
	write(t, dir, "requirements.txt", "demo\n")
	gives("built", "-r", needs, "--allow-build")
	if got := n.job("@last").Attempts[0].Receipt.Packages; len(got) != 1 || got[0] != "demo==2.0" {
		t.Errorf("packages of the receipt = %v", got)
	}
}
