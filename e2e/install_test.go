package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/testenv"
)

// runLine returns the words of the docker run line that the manual gives.
func runLine(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^docker run .*$`).FindString(string(b))
	if line == "" {
		t.Fatal("docs/install.md has no docker run line")
	}
	return strings.Fields(line)[1:]
}

// values returns what follows each of a flag.
func values(args []string, flag string) (all []string) {
	for i, a := range args {
		if a == flag {
			all = append(all, args[i+1])
		}
	}
	slices.Sort(all)
	return all
}

// The node runs as the container of the manual's line, beside the host's
// engine: data goes in and out through its socket, a job that runs while its
// container is made anew ends well, and nothing is left behind.
func TestNodeInAContainer(t *testing.T) {
	testenv.Docker(t)
	if err := images(); err != nil {
		t.Fatal(err)
	}
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	const image, name = "ipdc-e2e/sidecar", "ipdce2e-sidecar"
	buildSidecar(t, bin, image)
	dir, err := os.MkdirTemp("", "ipdc-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, dir: dir, bin: bin, env: append(os.Environ(), "IPDC_PATH="+dir, "NO_COLOR=1"), log: &testenv.Log{}, networked: true}
	before := takeInventory(t, dir+"/")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("node log:\n%s", docker(t, "logs", name))
		}
		docker(t, "stop", name)
		docker(t, "rm", name)
		n.checkInventory(before)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	args := runLine(t)
	for i, a := range args {
		switch {
		case a == "ipdc" && args[i-1] == "--name":
			args[i] = name
		case a == "ipdc/sidecar":
			args[i] = image
		case strings.HasPrefix(a, "/var/lib/ipdc:"):
			args[i] = dir + ":" + dir
		}
	}
	args = slices.Insert(args, 1, "-e", "IPDC_PATH="+dir)
	docker(t, args...)
	answers := func() bool {
		_, err := n.client().Node(t.Context())
		return err == nil
	}
	n.await("node in a container to answer", 30*time.Second, answers)
	id := n.ok("node", "status", "-q")
	n.id = id[max(0, len(id)-8):]
	if n.groups() == nil {
		t.Error("the jobs have no common ceiling")
	}

	if got := docker(t, "exec", name, "ipdc", "node", "status", "-q"); got != id {
		t.Errorf("ipdc inside the container says node %s, want %s", got, id)
	}

	in := logsDir(t)
	want := n.ok("add", "-q", "-n", in)
	if got := n.ok("job", "submit", "-e", "cat", "-c", in); got != want {
		t.Errorf("cat over %s = %s, want the input itself, %s", in, got, want)
	}
	odd := write(t, t.TempDir(), "odd.py", "import os\nos.makedirs('/outputs/d')\nopen('/outputs/d/f', 'w').write('x')\nos.chmod('/outputs/d', 0)\n")
	n.ok("job", "submit", "-f", odd, "--once", "-c", in)
	if r := n.fails(6, "job", "submit", "-e", "head -c 3M /dev/zero", "--disk", "1MiB", "-c", in); !strings.Contains(r.stderr, "E_QUOTA") {
		t.Errorf("a job over its outputs' limit: %s", r.stderr)
	}
	job := n.ok("job", "submit", "-d", "--once", "-e", untilLetGo+"echo done > /outputs/x", "-c", in)
	runs := n.running()
	docker(t, "restart", name)
	n.await("node to answer again", 30*time.Second, answers)
	n.release(runs)
	n.ok("job", "wait", job)
	if j := n.job(job); len(j.Attempts) != 1 {
		t.Errorf("the job took %d attempts, want the first one to go on", len(j.Attempts))
	}
}

// buildSidecar builds the Dockerfile over binaries as make container does.
func buildSidecar(t *testing.T, bin, image string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"Dockerfile", ".dockerignore"} {
		b, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, name, string(b))
	}
	for _, name := range []string{"ipdc", "ipdc-guest"} {
		b, err := os.ReadFile(filepath.Join(bin, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(write(t, dir, "bin/"+name, string(b)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("docker", "build", "-q", "-t", image, dir)
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("docker build: %v\n%s", err, out)
	}
	t.Cleanup(func() { docker(t, "rmi", image) })
}

// systemd takes the unit, and a node with no more rights than it gives bounds
// outputs by the kernel.
func TestServiceUnit(t *testing.T) {
	b, err := os.ReadFile("../init/ipdc.service")
	if err != nil {
		t.Fatal(err)
	}
	caps := regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`).FindStringSubmatch(string(b))
	if caps == nil {
		t.Fatal("the unit bounds no capabilities")
	}
	t.Run("verify", func(t *testing.T) {
		analyze, err := exec.LookPath("systemd-analyze")
		testenv.Need(t, "systemd", err)
		bin, err := binaries()
		if err != nil {
			t.Fatal(err)
		}
		unit := write(t, t.TempDir(), "ipdc.service", strings.ReplaceAll(string(b), "/usr/local/bin", bin))
		if out, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("systemd-analyze verify: %v\n%s", err, out)
		}
		broken := write(t, t.TempDir(), "ipdc.service", strings.ReplaceAll(string(b), "Restart=", "Restrat="))
		if out, _ := exec.Command(analyze, "verify", "--man=no", broken).CombinedOutput(); !strings.Contains(string(out), "Restrat") {
			t.Errorf("control: a broken unit passes: %s", out)
		}
	})
	t.Run("rights", func(t *testing.T) {
		testenv.Docker(t)
		setpriv, err := exec.LookPath("setpriv")
		testenv.Need(t, "docker", err)
		set := "-all"
		for _, c := range strings.Fields(caps[1]) {
			set += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
		}
		n := newNodeBy(t, []string{setpriv, "--no-new-privs", "--bounding-set", set})
		if status := n.ok("node", "status"); !strings.Contains(status, "bounded by ext4") || strings.Contains(status, "cannot be used") {
			t.Errorf("node status:\n%s", status)
		}
		in := logsDir(t)
		if got, want := n.ok("job", "submit", "-e", "cat", "-c", in), n.ok("add", "-q", "-n", in); got != want {
			t.Errorf("cat over %s = %s, want %s", in, got, want)
		}
	})
}
