package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// together is set while tests run beside each other.
var together atomic.Bool

// parallel lets a test run beside others, after all those that need the machine
// for themselves. Such a test mostly waits, and makes only what is named after
// its nodes: it answers for that, and TestMain for all that is left.
func parallel(t *testing.T) {
	t.Helper()
	t.Parallel()
	together.Store(true)
}

// takeInventory is [inventory] of a test.
func takeInventory(t testing.TB, dir string) []string {
	t.Helper()
	all, err := inventory(dir)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// inventory lists what jobs may leave behind on a machine: containers, volumes
// and networks of the engine, mounts, loop devices, name spaces and rules of the
// network. (I5, F62) Volumes that nodes elsewhere than below prefix keep ready
// come and go, and do not count.
func inventory(prefix string) ([]string, error) {
	var all []string
	for what, args := range map[string][]string{
		"container": {"docker", "ps", "-a", "--no-trunc", "--filter", "name=^/?ipdc-", "--format", "{{.ID}} {{.Names}}"},
		"volume":    {"docker", "volume", "ls", "-q"},
		"network":   {"docker", "network", "ls", "-q", "--no-trunc"},
		"loop":      {"losetup", "-n", "-O", "NAME,BACK-FILE"},
		"rule":      {"iptables-save"},
	} {
		out, err := exec.Command(args[0], args[1:]...).Output()
		if err != nil {
			return nil, fmt.Errorf("%v: %w", args, err)
		}
		for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			switch {
			case line == "", what == "loop" && !strings.Contains(line, "ipdc"):
			case what == "rule" && !strings.HasPrefix(line, "-"): // times and counters
			default:
				all = append(all, what+" "+line)
			}
		}
	}
	for _, dir := range []string{"/run/netns", "/run/docker/netns"} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			all = append(all, "netns "+filepath.Join(dir, e.Name()))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 4 && strings.Contains(f[4], "ipdc") {
			all = append(all, "mount "+f[4])
		}
	}
	sort.Strings(all)
	return slices.DeleteFunc(all, func(line string) bool {
		return strings.Contains(line, "/volumes/spare-") && !strings.Contains(line, prefix)
	}), nil
}

// engineNetns begins the line of a container's name space. The engine clears those
// of containers on one of its networks away a minute after them, or later.
const engineNetns = "netns /run/docker/netns/"

// ofNode returns those lines of an inventory for which the node's test answers.
func (n *node) ofNode(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(line string) bool {
		return n.networked && strings.HasPrefix(line, engineNetns) ||
			together.Load() && !strings.Contains(line+"/", n.dir+"/") && !strings.Contains(line, " ipdc-"+n.id+"-")
	})
}

// firsts are the inventories from before the first node of each test, by its name.
var firsts sync.Map

// firstInventory returns that of a test, of which now is the latest.
func firstInventory(t testing.TB, now []string) []string {
	test, _, _ := strings.Cut(t.Name(), "/")
	first, known := firsts.LoadOrStore(test, now)
	if !known {
		t.Cleanup(func() { firsts.Delete(test) })
	}
	return first.([]string)
}

// checkInventory waits until all is as it was before. What was there then, and not
// before the test's first node, is another node's, and may go meanwhile; so may a
// name space of the engine, which is of some container of whoever uses it.
func (n *node) checkInventory(before []string) {
	n.t.Helper()
	before = n.ofNode(before)
	left, err := leftover(before, func() ([]string, error) {
		after := append(n.ofNode(takeInventory(n.t, n.dir+"/")), n.groups()...)
		for _, line := range before {
			mayGo := n.first != nil && !slices.Contains(n.first, line) || strings.HasPrefix(line, engineNetns)
			if mayGo && !slices.Contains(after, line) {
				after = append(after, line)
			}
		}
		slices.Sort(after)
		return after, nil
	})
	if left != "" || err != nil {
		n.t.Errorf("left behind (-before +after): %v\n%s", err, left)
	}
}

// sameInventory fails unless what take returns comes to what was before.
func sameInventory(t testing.TB, before []string, take func() []string) {
	t.Helper()
	if left, err := leftover(before, func() ([]string, error) { return take(), nil }); left != "" || err != nil {
		t.Errorf("left behind (-before +after): %v\n%s", err, left)
	}
}

// leftover waits until what now returns is as it was before, and returns the
// difference if that takes minutes.
func leftover(before []string, now func() ([]string, error)) (string, error) {
	for deadline := time.Now().Add(2 * time.Minute); ; {
		after, err := now()
		diff := cmp.Diff(before, after, cmpopts.EquateEmpty())
		if diff == "" || err != nil || time.Now().After(deadline) {
			return diff, err
		}
		<-time.After(100 * time.Millisecond)
	}
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

// running waits until the node has one container, which was started, and returns
// it as of containers.
func (n *node) running() (container string) {
	n.t.Helper()
	n.await("a container that was started", patience, func() bool {
		all := n.containers()
		if len(all) == 1 {
			container = all[0]
		}
		return len(all) == 1 && !strings.Contains(container, " 0001-01-01T")
	})
	return container
}

// untilLetGo keeps a program from going on until release, however long what is
// done meanwhile may take. The file is none of its outputs, as it may be made
// again while the program ends.
const untilLetGo = "until test -e /tmp/go; do sleep 0.1; done; "

// release lets the program of a container go on.
func (n *node) release(container string) {
	n.t.Helper()
	id := strings.Fields(container)[0]
	n.await("the program to be let go", patience, func() bool { // once it has begun
		return exec.Command("docker", "exec", id, "touch", "/tmp/go").Run() == nil || over(id)
	})
}

// over says whether a container has ended: a program that is let go may, and take
// along who has let it go.
func over(id string) bool {
	out, err := exec.Command("docker", "inspect", "-f", "{{.State.Status}}", id).CombinedOutput()
	if err != nil {
		return strings.Contains(strings.ToLower(string(out)), "no such")
	}
	return !slices.Contains([]string{"created", "running"}, strings.TrimSpace(string(out)))
}

// releaseAll lets go what runs now, wherever it has come to.
func (n *node) releaseAll() {
	n.t.Helper()
	for _, c := range n.containers() {
		_ = exec.Command("docker", "exec", strings.Fields(c)[0], "touch", "/tmp/go").Run() // it may not have begun, or have ended
	}
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
