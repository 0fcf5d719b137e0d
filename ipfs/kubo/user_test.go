package kubo_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/kubo"
	"github.com/ipdc/ipdc/jobspec"
)

// belongings is what is the user's own in a Kubo.
func belongings(t *testing.T, k *testenv.KuboDaemon) []string {
	t.Helper()
	config, err := os.ReadFile(filepath.Join(k.Repo, "config"))
	if err != nil {
		t.Fatal(err)
	}
	return []string{pins(k), k.Run("files", "stat", "--hash", "/"), string(config)}
}

// pins returns all pins of a Kubo, in order.
func pins(k *testenv.KuboDaemon) string {
	var lines []string
	for _, how := range []string{"recursive", "direct"} {
		lines = append(lines, strings.Split(k.Run("pin", "ls", "--type="+how, "--names"), "\n")...)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// userAdds adds a file as the user does, who pins it as he likes.
func userAdds(t *testing.T, k *testenv.KuboDaemon, text string, pin ...string) jobspec.CID {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := jobspec.ParseCID(k.Run("add", "--quieter", "--pin=false", path))
	if err != nil {
		t.Fatal(err)
	}
	if len(pin) > 0 {
		k.Run(append([]string{"pin", "add", c.String()}, pin...)...)
	}
	return c
}

// TestTheUsersPinsStay has the user pin what we pin: before, meanwhile, and
// in each way that Kubo knows.
func TestTheUsersPinsStay(t *testing.T) {
	k := testenv.Kubo(t)
	recursive := userAdds(t, k, "one", "--name=mine")
	direct := userAdds(t, k, "two", "--recursive=false", "--name=also mine")
	later := userAdds(t, k, "three")
	k.Run("files", "cp", "/ipfs/"+later.String(), "/kept")
	before := belongings(t, k)

	n := open(t, kubo.Config{Addr: addr(t, k), Dir: t.TempDir(), Owner: "test"})
	for _, c := range []jobspec.CID{recursive, direct, later} {
		if err := n.Pin(t.Context(), "pin/"+c.String(), c); err != nil {
			t.Fatal(err)
		}
		data, err := n.Get(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Add(t.Context(), "add/"+c.String(), func(s ipfs.Session) (jobspec.CID, error) {
			return c, s.Put(t.Context(), c, data)
		}); err != nil {
			t.Fatal(err)
		}
	}
	if during := pins(k); during == before[0] || !strings.Contains(during, " mine") {
		t.Fatalf("pins meanwhile are %q, want those before and ours: %q", during, before[0])
	}
	k.Run("pin", "add", later.String(), "--name=later") // this one is pinned by us already
	k.Run("repo", "gc", "--silent")
	unpinAll(t, n)
	k.Run("pin", "rm", later.String()) // it is his: there is something to take off
	if diff := cmp.Diff(before, belongings(t, k)); diff != "" {
		t.Errorf("what is the user's has changed (-before +after):\n%s", diff)
	}
}

// The control: pinning the root itself, which is what labels are for, takes
// the user's name off.
func TestPinningTheRootWouldTakeTheUsersName(t *testing.T) {
	k := testenv.Kubo(t)
	c := userAdds(t, k, "one", "--name=mine")
	before := pins(k)
	k.Run("pin", "add", c.String())
	if after := pins(k); after == before {
		t.Errorf("pins after pinning a second time = %q: Kubo keeps the first name now, and labels may not be needed", after)
	}
}

func unpinAll(t *testing.T, n ipfs.Node) {
	t.Helper()
	list, err := n.Pins(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if err := n.Unpin(t.Context(), p.Name); err != nil {
			t.Fatal(err)
		}
	}
}

// Two nodes on one Kubo hold the same root, and do not meet.
func TestTwoNodesOnOneKubo(t *testing.T) {
	k := testenv.Kubo(t)
	c := userAdds(t, k, "one")
	a := open(t, kubo.Config{Addr: addr(t, k), Dir: t.TempDir(), Owner: "a"})
	b := open(t, kubo.Config{Addr: addr(t, k), Dir: t.TempDir(), Owner: "b"})
	for _, n := range []*kubo.Node{a, b} {
		if err := n.Pin(t.Context(), "p", c); err != nil {
			t.Fatal(err)
		}
	}
	unpinAll(t, a)
	k.Run("repo", "gc", "--silent")
	if ok, err := b.Has(t.Context(), c); err != nil || !ok {
		t.Errorf("Has = %t, %v after the other node's Unpin and GC, want true", ok, err)
	}
}

// A pin that somebody took off behind our back is set again at the next start.
func TestPinIsSetAgain(t *testing.T) {
	k := testenv.Kubo(t)
	c := userAdds(t, k, "one")
	before := pins(k)
	cfg := kubo.Config{Addr: addr(t, k), Dir: t.TempDir(), Owner: "test"}
	n := open(t, cfg)
	if err := n.Pin(t.Context(), "p", c); err != nil {
		t.Fatal(err)
	}
	with := pins(k)
	for _, line := range strings.Split(with, "\n") {
		if !strings.Contains(before, line) {
			k.Run("pin", "rm", strings.Fields(line)[0])
		}
	}
	if pins(k) != before {
		t.Fatal("our pin was not taken off")
	}
	closeNode(t, n)
	n = open(t, cfg)
	if after := pins(k); after != with {
		t.Errorf("pins after a start = %q, want %q", after, with)
	}
	k.Run("repo", "gc", "--silent")
	if _, err := n.Verify(t.Context(), c); err != nil {
		t.Error(err)
	}
}

// What cannot be taken off, as Kubo is away, is taken off later.
func TestUnpinWhileKuboIsAway(t *testing.T) {
	k := testenv.Kubo(t)
	c := userAdds(t, k, "one")
	before := pins(k)
	cfg := kubo.Config{Addr: addr(t, k), Dir: t.TempDir(), Owner: "test"}
	n := open(t, cfg)
	if err := n.Pin(t.Context(), "p", c); err != nil {
		t.Fatal(err)
	}
	k.Stop()
	if err := n.Unpin(t.Context(), "p"); err != nil {
		t.Errorf("Unpin without a Kubo: %v", err)
	}
	if left, err := n.Pins(t.Context(), ""); err != nil || len(left) > 0 {
		t.Errorf("Pins = %v, %v, want none", left, err)
	}
	closeNode(t, n)
	k.Start()
	cfg.Addr = addr(t, k) // its port is another one now
	open(t, cfg)
	if after := pins(k); after != before {
		t.Errorf("pins after a start = %q, want %q", after, before)
	}
}
