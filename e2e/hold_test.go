package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A result is held by two nodes before it is told. Whichever node is killed
// after the end, its owner too, any other one gives all of it.
func TestResultOutlivesItsOwner(t *testing.T) {
	parallel(t)
	owner, worker, third := newMember(t), newMember(t), newMember(t)
	worker.joins(owner)
	third.joins(owner)
	third.hears(worker)
	worker.hears(third)
	dir, want := t.TempDir(), map[string]string{}
	for i := range 20 {
		name, text := fmt.Sprintf("%d/%02d.txt", i%2, i), strings.Repeat(fmt.Sprintf("line of file %d\n", i), 5000)
		write(t, dir, name, text)
		want[name] = strings.ToUpper(text)
	}
	root := owner.ok("add", "-q", dir)
	worker.ok("pin", "add", root+"/1")

	result := owner.ok("job", "submit", "-e", "tr a-z A-Z", "--cache", "off", "-c", root)
	if text := owner.ok("job", "describe", "@last"); !strings.Contains(text, "2 of 2 nodes") {
		t.Errorf("describe does not say who holds the result:\n%s", text)
	}
	owner.kill()
	worker.gives(result, want)
	third.gives(result, want)
	owner.start()
	third.hears(owner)
	worker.kill()
	third.ok("node", "gc") // what it fetched to show it is not what it holds
	third.gives(result, want)
	owner.gives(result, want)
	worker.start() // it cleans up behind itself
}

// A node that drains hands over what only it has, and one that leaves does so
// for good. A command says what it cannot do without a running node.
func TestDrainAndLeave(t *testing.T) {
	parallel(t)
	home, other := newMember(t), newMember(t)
	other.joins(home)
	dir := t.TempDir()
	want := map[string]string{"a.txt": "first\n", "b.txt": "second\n"}
	for name, text := range want {
		write(t, dir, name, text)
	}
	root := other.ok("add", "-q", dir)
	if text := other.ok("node", "drain", "--timeout", "5s"); !strings.Contains(text, "drained, 1 pin held elsewhere too") {
		t.Errorf("node drain says %q", text)
	}
	if text := other.fails(1, "job", "submit", "--once", "-e", "true").stderr; !strings.Contains(text, "--undo") {
		t.Errorf("submit to a node that drains says %q", text)
	}
	home.await("hearing that the other one drains", 30*time.Second, func() bool { return home.peers()[other.peerID()].Draining })
	other.ok("node", "drain", "--undo")
	other.ok("domain", "leave")
	if pins := home.ok("pin", "ls"); !strings.Contains(pins, root) {
		t.Errorf("after the leave the other's pin is not here:\n%s", pins)
	}
	other.kill()
	home.gives(root, want)
	if text := other.ipdc("domain", "leave").stderr; !strings.Contains(text, "nothing is handed over") {
		t.Errorf("domain leave without a running node says %q", text)
	}
	other.start()
}

// gives looks that a node gives a tree of files, byte for byte.
func (n *node) gives(cid string, want map[string]string) {
	n.t.Helper()
	out := filepath.Join(n.t.TempDir(), "out")
	begun := time.Now()
	n.ok("get", cid, out)
	n.t.Logf("%s after %s", cid, time.Since(begun))
	got := 0
	err := filepath.WalkDir(out, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		got++
		name, _ := filepath.Rel(out, path)
		b, err := os.ReadFile(path)
		if string(b) != want[name] {
			n.t.Errorf("%s has %d bytes, want others", name, len(b))
		}
		return err
	})
	if err != nil || got != len(want) {
		n.t.Errorf("%d files of %s, want %d: %v", got, cid, len(want), err)
	}
}
