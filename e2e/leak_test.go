package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
)

// The positive control of the look that each test of a node ends with: what is
// left of each kind is seen.
func TestF62InventorySees(t *testing.T) {
	testenv.Docker(t)
	if err := images(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	image, _, _ := strings.Cut(run(t, "docker", "images", "-q"), "\n")
	file := write(t, dir, "ipdc-f62.img", strings.Repeat("\x00", 1<<20))
	mounted := filepath.Join(dir, "ipdc-f62")
	if err := os.Mkdir(mounted, 0o700); err != nil {
		t.Fatal(err)
	}
	for kind, c := range map[string]struct{ make, remove []string }{
		"container": {[]string{"docker", "create", "--name", "ipdc-f62", "--network", "none", image, "true"}, []string{"docker", "rm", "-v", "ipdc-f62"}},
		"volume":    {[]string{"docker", "volume", "create", "ipdc-f62"}, []string{"docker", "volume", "rm", "ipdc-f62"}},
		"network":   {[]string{"docker", "network", "create", "ipdc-f62"}, []string{"docker", "network", "rm", "ipdc-f62"}},
		"netns":     {[]string{"ip", "netns", "add", "ipdc-f62"}, []string{"ip", "netns", "del", "ipdc-f62"}},
		"mount":     {[]string{"mount", "-t", "tmpfs", "none", mounted}, []string{"umount", mounted}},
		"rule":      {[]string{"iptables", "-A", "OUTPUT", "-d", "192.0.2.62/32", "-j", "DROP"}, []string{"iptables", "-D", "OUTPUT", "-d", "192.0.2.62/32", "-j", "DROP"}},
		"loop":      {[]string{"losetup", "-f", file}, nil},
	} {
		t.Run(kind, func(t *testing.T) {
			before := takeInventory(t, dir)
			run(t, c.make...)
			remove := c.remove
			if kind == "loop" {
				device, _, _ := strings.Cut(run(t, "losetup", "-j", file), ":")
				remove = []string{"losetup", "-d", device}
			}
			now := takeInventory(t, dir)
			run(t, remove...)
			if !slices.ContainsFunc(now, func(s string) bool { return strings.HasPrefix(s, kind+" ") && !slices.Contains(before, s) }) {
				t.Errorf("a %s that is left is not seen: %q", kind, now)
			}
		})
	}
}

// run runs a command that must succeed and returns what it printed.
func run(t *testing.T, words ...string) string {
	t.Helper()
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", words, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Jobs of each kind of end leave the node with no more open files and
// goroutines than it had after the first of them. What they leave on the machine
// is looked for at the end of this test as of any other.
func TestF62NodeKeepsNothing(t *testing.T) {
	n := newNode(t)
	dir := logsDir(t)
	const perRound, rounds = 4, 5
	jobs := 0
	round := func() {
		jobs++
		n.ok("job", "submit", "-e", "cat; echo x > /outputs/x", "-c", dir, "--cache", "off")
		n.ok("job", "submit", "-e", "true", "-c", dir, "--cache", "off", "--network", "example.org:443")
		failing := n.ok("job", "submit", "-d", "-e", "exit 3", "-c", dir, "--cache", "off")
		n.fails(6, "job", "wait", failing)
		stopped := n.ok("job", "submit", "-d", "--once", "-e", fmt.Sprintf("echo %d; sleep 600", jobs), "-c", dir)
		n.await("the program to run", time.Minute, func() bool {
			a := n.job(stopped).Attempts
			return len(a) > 0 && a[0].State == jobspec.AttemptRunning
		})
		n.ok("job", "stop", stopped)
		n.await("the attempts to be cleaned", time.Minute, func() bool {
			for _, id := range strings.Fields(n.ok("job", "list", "-q")) {
				for _, a := range n.job(id).Attempts {
					if !a.State.Final() {
						return false
					}
				}
			}
			return true
		})
	}
	files := func() int {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	round()
	wasFiles, wasRoutines := files(), n.metric("go_goroutines")
	for range rounds {
		round()
	}
	// Fewer than one for each job: connections that are kept for a while vary.
	var nowFiles, nowRoutines int
	n.await(fmt.Sprintf("about %d files and %d goroutines", wasFiles, wasRoutines), 3*time.Minute, func() bool {
		nowFiles, nowRoutines = files(), n.metric("go_goroutines")
		return nowFiles < wasFiles+rounds*perRound/2 && nowRoutines < wasRoutines+rounds*perRound/2
	})
	t.Logf("files %d, then %d; goroutines %d, then %d", wasFiles, nowFiles, wasRoutines, nowRoutines)
}
