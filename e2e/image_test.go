package e2e

import (
	"strings"
	"testing"
)

// A program finds localhost by name, and python's pip runs from its wheel, on
// the read-only root of a job without a network.
func TestStockImagesInsideAJob(t *testing.T) {
	n := newNode(t)
	script := write(t, t.TempDir(), "look.py", `import glob, socket, subprocess, sys
wheel = glob.glob("/usr/share/python-wheels/pip-*.whl")[0]
print(sorted({a[4][0] for a in socket.getaddrinfo("localhost", 80)}))
print(subprocess.run([sys.executable, wheel + "/pip", "--version"], capture_output=True, text=True).stdout)
`)
	n.ok("job", "submit", "-f", script, "--once", "-c", logsDir(t), "--cache", "off")
	got := n.ok("job", "logs", "@last")
	if !strings.HasPrefix(got, "['127.0.0.1', '::1']\npip 2") {
		t.Errorf("localhost and pip in the python image = %q", got)
	}
	n.ok("job", "submit", "-e", "getent hosts localhost", "--image", "shell", "--once", "-c", logsDir(t), "--cache", "off")
	if got := n.ok("job", "logs", "@last"); !strings.Contains(got, "localhost") {
		t.Errorf("getent hosts localhost in the shell image = %q", got)
	}
}
