package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/ipdc/ipdc/internal/testenv"
)

// composition is docker-compose.yml with a state directory of the test's own.
type composition struct {
	t   *testing.T
	dir string
	env []string
	bin string
}

func newComposition(t *testing.T) *composition {
	t.Helper()
	testenv.Docker(t)
	testenv.KuboProgram(t)
	_, err := exec.LookPath("docker-compose")
	testenv.Need(t, "compose", err)
	if err := images(); err != nil {
		t.Fatal(err)
	}
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ipdc-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	c := &composition{t: t, dir: dir, bin: bin}
	c.env = append(os.Environ(), "IPDC_STATE="+dir, "IPDC_BIN="+bin, "IPDC_IMAGES=ipdc-e2e", "COMPOSE_PROJECT_NAME=ipdce2e")
	return c
}

// run runs a command with the composition's environment.
func (c *composition) run(name string, args ...string) string {
	c.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Dir = c.env, ".."
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Errorf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func (c *composition) up() {
	c.t.Helper()
	c.run("scripts/compose.sh", "up")
	if c.t.Failed() {
		c.t.FailNow()
	}
}

// node is one of the three, as the host's root sees it.
func (c *composition) node(i int) *node {
	dir := filepath.Join(c.dir, fmt.Sprintf("node%d", i))
	return &node{t: c.t, dir: dir, bin: c.bin, env: append(os.Environ(), "IPDC_PATH="+dir, "NO_COLOR=1"), log: &testenv.Log{}, networked: true}
}

// The domain of docker-compose.yml comes up by itself, a job over a dataset
// whose thirds lie on its nodes goes through all three, and after down nothing
// is left but the state, from which it goes on.
func TestCompose(t *testing.T) {
	c := newComposition(t)
	before := takeInventory(t, c.dir+"/")
	var nodes []*node
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.run("docker-compose", "logs", "--no-color"))
		}
		c.run("scripts/compose.sh", "down")
		for _, n := range nodes {
			n.checkInventory(before)
		}
		c.run("docker", "rmi", "ipdc-e2e/sidecar", "ipdc-e2e/compose")
		if err := os.RemoveAll(c.dir); err != nil {
			t.Error(err)
		}
	})
	c.up()
	for i := range 3 {
		n := c.node(i + 1)
		id := n.peerID()
		n.id = id[len(id)-8:]
		nodes = append(nodes, n)
	}
	first, second, third := nodes[0], nodes[1], nodes[2]
	if status := third.ok("node", "status"); !strings.Contains(status, "Kubo 0.43.0 at "+c.dir+"/kubo/api.sock") {
		t.Errorf("the third is not beside the Kubo:\n%s", status)
	}
	if says := c.run("docker-compose", "logs", "--no-color", "kubo"); !strings.Contains(says, "limited to private network") {
		t.Errorf("the Kubo is not private:\n%s", says)
	}
	if r := first.ipdc("doctor"); r.code != 0 || !strings.Contains(r.stdout, "bounded by a watchdog only") {
		t.Errorf("doctor does not say how outputs are bounded:\n%s%s", r.stdout, r.stderr)
	}

	dir := t.TempDir()
	for i := range 60 {
		write(t, dir, fmt.Sprintf("%d/%02d.txt", i%3, i), fmt.Sprintf("first line\nof file %d\n", i))
	}
	root := first.ok("add", "-q", dir)
	submit := []string{"job", "submit", "-e", "sed -n 2p", "--cache", "off", "-c", root}
	alone := first.ok(submit...)
	for i, n := range nodes {
		n.ok("pin", "add", fmt.Sprintf("%s/%d", root, i))
	}
	first.ok("pin", "rm", root)
	first.ok("node", "gc")
	if got := second.ok(submit...); got != alone {
		t.Errorf("three nodes give %s, one alone %s", got, alone)
	}
	for i, n := range nodes {
		if !anyAt(second.job("@last"), n.peerID()) {
			t.Errorf("node %d did nothing", i+1)
		}
	}

	ids := fmt.Sprint(first.domain(), second.domain(), third.domain())
	c.run("scripts/compose.sh", "down")
	for _, n := range nodes {
		n.checkInventory(before)
	}
	c.up()
	if again := fmt.Sprint(first.domain(), second.domain(), third.domain()); again != ids {
		t.Errorf("after down and up the nodes are\n%s, were\n%s", again, ids)
	}
	first.gets(alone, second)
	if got := first.ok(submit...); got != alone {
		t.Errorf("after down and up the job gives %s, before %s", got, alone)
	}
}

// Each node of docker-compose.yml has the rights of the manual's line, and no
// more; its state has one path inside and outside; and no port is published.
func TestComposeIsTheManualsLine(t *testing.T) {
	b, err := os.ReadFile("../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	type service struct {
		Image       string   `json:"image"`
		PullPolicy  string   `json:"pull_policy"`
		Restart     string   `json:"restart"`
		ReadOnly    bool     `json:"read_only"`
		Privileged  bool     `json:"privileged"`
		Tmpfs       []string `json:"tmpfs"`
		CapDrop     []string `json:"cap_drop"`
		CapAdd      []string `json:"cap_add"`
		SecurityOpt []string `json:"security_opt"`
		Volumes     []string `json:"volumes"`
		Ports       []string `json:"ports"`
	}
	var file struct {
		Services map[string]service `json:"services"`
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	args := runLine(t)
	const state = "${IPDC_STATE:-/var/lib/ipdc-compose}"
	for name, s := range file.Services {
		if s.Privileged || len(s.Ports) > 0 || !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges") || !s.ReadOnly {
			t.Errorf("%s has rights that it needs not: %+v", name, s)
		}
		if !strings.HasPrefix(name, "node") {
			continue
		}
		own := state + "/" + name + ":" + state + "/" + name
		if s.Volumes = slices.DeleteFunc(s.Volumes, func(v string) bool { return v == state+"/kubo:"+state+"/kubo" }); !slices.Contains(s.Volumes, own) {
			t.Errorf("%s has not the same path for its state on both sides: %q", name, s.Volumes)
		}
		for i, v := range s.Volumes {
			s.Volumes[i] = strings.Replace(v, own, "/var/lib/ipdc:/var/lib/ipdc", 1)
		}
		slices.Sort(s.Volumes)
		for flag, got := range map[string][]string{
			"--pull": {s.PullPolicy}, "--restart": {s.Restart}, "--tmpfs": s.Tmpfs, "--cap-drop": s.CapDrop,
			"--cap-add": s.CapAdd, "--security-opt": s.SecurityOpt, "-v": s.Volumes,
		} {
			if want := values(args, flag); !slices.Equal(got, want) {
				t.Errorf("%s of %s is %q in docker-compose.yml, %q in docs/install.md", flag, name, got, want)
			}
		}
		if last := args[len(args)-1]; s.Image != strings.Replace(last, "ipdc/", "${IPDC_IMAGES:-ipdc}/", 1) {
			t.Errorf("%s has the image %s, docs/install.md %s", name, s.Image, last)
		}
	}
	if len(file.Services) != 6 {
		t.Errorf("%d services, want three nodes, setup, mosquitto and kubo", len(file.Services))
	}
}
