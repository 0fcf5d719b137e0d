package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Containers lie in the control group that the administrator names, and the
// node makes none of its own.
func TestCgroupParent(t *testing.T) {
	parent := "/ipdc-e2e-parent"
	if driver := docker(t, "info", "-f", "{{.CgroupDriver}}"); driver == "systemd" {
		parent = "ipdce2e.slice"
	}
	t.Cleanup(func() { // the engine made it, in each hierarchy
		made, _ := filepath.Glob("/sys/fs/cgroup/*" + parent)
		for _, dir := range append(made, "/sys/fs/cgroup"+parent) {
			_ = os.Remove(dir)
		}
	})
	for _, c := range []struct{ given, want string }{{"", "ipdc-"}, {parent, parent}} {
		t.Run(c.want, func(t *testing.T) {
			n := newNode(t, "--cgroup-parent", c.given)
			job := n.ok("job", "submit", "-d", "--once", "-e", "sleep 60")
			id := ""
			n.await("the container to run", 30*time.Second, func() bool {
				id = docker(t, "ps", "-q", "--filter", "name=^/?ipdc-"+n.id+"-")
				return id != ""
			})
			if got := docker(t, "inspect", "-f", "{{.HostConfig.CgroupParent}}", id); !strings.Contains(got, c.want) {
				t.Errorf("with --cgroup-parent %q a container lies in %q, want %q", c.given, got, c.want)
			}
			n.ok("job", "stop", job)
			r := n.fails(1, "node", "start", "-d", "--cgroup-parent", "jobs", "--path", t.TempDir())
			if !strings.Contains(r.stderr, "jobs.slice") {
				t.Errorf("a parent that is no control group is told %q", r.stderr)
			}
		})
	}
}
