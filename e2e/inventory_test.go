package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// takeInventory lists what jobs may leave behind on a machine: containers,
// volumes and networks of the engine, mounts, and loop devices. (I5) Volumes
// that another node than that of dir keeps ready come and go, and do not count.
func takeInventory(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	for what, args := range map[string][]string{
		"container": {"docker", "ps", "-aq", "--no-trunc", "--filter", "name=^/?ipdc-"},
		"volume":    {"docker", "volume", "ls", "-q"},
		"network":   {"docker", "network", "ls", "-q", "--no-trunc"},
		"loop":      {"losetup", "-n", "-O", "NAME,BACK-FILE"},
	} {
		out, err := exec.Command(args[0], args[1:]...).Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			if line != "" && (what != "loop" || strings.Contains(line, "ipdc")) {
				all = append(all, what+" "+line)
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 4 && strings.Contains(f[4], "ipdc") {
			all = append(all, "mount "+f[4])
		}
	}
	sort.Strings(all)
	return slices.DeleteFunc(all, func(line string) bool {
		return strings.Contains(line, "/volumes/spare-") && !strings.Contains(line, dir+"/")
	})
}

// checkInventory waits until all is as it was before.
func (n *node) checkInventory(before []string) {
	n.t.Helper()
	sameInventory(n.t, before, func() []string { return append(takeInventory(n.t, n.dir), n.groups()...) })
}

func sameInventory(t testing.TB, before []string, take func() []string) {
	t.Helper()
	var diff string
	for deadline := time.Now().Add(2 * time.Minute); ; {
		if diff = cmp.Diff(before, take()); diff == "" {
			return
		}
		if time.Now().After(deadline) {
			break
		}
		<-time.After(100 * time.Millisecond)
	}
	t.Errorf("left behind (-before +after):\n%s", diff)
}

// groups returns the control groups of this node.
func (n *node) groups() (all []string) {
	n.t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup/ipdc-", "/sys/fs/cgroup/*/ipdc-"} {
		found, err := filepath.Glob(pattern + strings.ToLower(n.id))
		if err != nil {
			n.t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// containers returns "id started-at" of the engine's containers of this node.
func (n *node) containers() []string {
	n.t.Helper()
	out, err := exec.Command("docker", "ps", "-aq", "--no-trunc", "--filter", "name=^/?ipdc-"+n.id+"-").Output()
	if err != nil {
		n.t.Fatal(err)
	}
	var all []string
	for _, id := range strings.Fields(string(out)) {
		b, err := exec.Command("docker", "inspect", "-f", "{{.Id}} {{.State.StartedAt}} {{.RestartCount}}", id).Output()
		if err == nil {
			all = append(all, strings.TrimSpace(string(b)))
		}
	}
	return all
}
