package repo_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/ipfs/kubo/repo"
	"github.com/ipdc/ipdc/jobspec"
)

// theirs is a configuration with what a user may have: his own addresses and
// resolver, a long number, keys that Kubo alone knows, an order of his own.
const theirs = `{
  "Identity": {"PeerID": "12D3KooWBfR4VbfCdWHGT4KDirkcyMW4Z3DKo1K3GkUCToQ6NNjs", "PrivKey": "secret"},
  "Bootstrap": ["auto", "/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWBfR4VbfCdWHGT4KDirkcyMW4Z3DKo1K3GkUCToQ6NNjs"],
  "Addresses": {"Swarm": ["/ip4/0.0.0.0/tcp/4009", "/ip4/0.0.0.0/tcp/4010/ws", "/ip4/0.0.0.0/udp/4009/quic-v1"], "API": "/ip4/127.0.0.1/tcp/5001"},
  "DNS": {"Resolvers": {".": "auto", "eth.": "https://dns.example.org/dns-query"}},
  "Discovery": {"MDNS": {"Enabled": true}},
  "Swarm": {"RelayClient": {}, "ConnMgr": {"HighWater": 9007199254740993}},
  "AutoTLS": {"Enabled": true},
  "Plugins": {"Plugins": null},
  "AutoConf": {}
}
`

var key = [32]byte{1, 2, 3}

// fresh is a repository on disk with theirs.
func fresh(t *testing.T) (dir string, r *repo.Repo) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{"config": theirs, "version": "18\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := repo.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, r
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(b)
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s may be read by others: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	return all
}

func must(t *testing.T, do func() ([]repo.Change, error)) []repo.Change {
	t.Helper()
	changes, err := do()
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

// What is shown first is what is done then, once; and undone to the byte.
func TestThereAndBack(t *testing.T) {
	dir, r := fresh(t)
	before := contents(t, dir)
	shown := must(t, func() ([]repo.Change, error) { return r.Private(key, true) })
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Errorf("a dry run has changed (-before +after):\n%s", diff)
	}
	done := must(t, func() ([]repo.Change, error) { return r.Private(key, false) })
	if diff := cmp.Diff(shown, done); diff != "" || len(done) < 20 {
		t.Errorf("shown and done differ, or are few (-shown +done):\n%s", diff)
	}
	after := contents(t, dir)
	if want := "/key/swarm/psk/1.0.0/\n/base16/\n010203" + strings.Repeat("0", 58) + "\n"; after["swarm.key"] != want {
		t.Errorf("swarm.key = %q, want %q", after["swarm.key"], want)
	}
	if after["config.before-ipdc"] != theirs || !slices.Equal(slices.Sorted(maps.Keys(after)), []string{"config", "config.before-ipdc", "swarm.key", "version"}) {
		t.Errorf("what is there now: %q", slices.Sorted(maps.Keys(after)))
	}
	for _, want := range []string{`"/ip4/0.0.0.0/tcp/4009"`, "https://dns.example.org/dns-query", "9007199254740993", `"PrivKey": "secret"`} {
		if !strings.Contains(after["config"], want) {
			t.Errorf("%s is gone:\n%s", want, after["config"])
		}
	}
	for _, gone := range []string{`"auto"`, "quic", "/ws", "192.0.2.1", "true"} {
		if strings.Contains(strings.ReplaceAll(strings.ReplaceAll(after["config"], `"DisableNatPortMap": true`, ""), `"Disabled": true`, ""), gone) {
			t.Errorf("%s is left:\n%s", gone, after["config"])
		}
	}
	if again := must(t, func() ([]repo.Change, error) { return r.Private(key, false) }); len(again) != 0 {
		t.Errorf("a second time changes %v", again)
	}
	if undone := must(t, func() ([]repo.Change, error) { return r.Undo(false) }); len(undone) != len(done) {
		t.Errorf("%d changes were done, %d undone", len(done), len(undone))
	}
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Errorf("after undo (-before +after):\n%s", diff)
	}
	if _, err := r.Undo(false); !errors.Is(err, jobspec.KindNotFound.Error()) {
		t.Errorf("a second undo: %v", err)
	}
}

// A new generation's key replaces the old one, and what the user had before,
// his own key too, is what undo goes back to. What he changed since stays.
func TestNewKeyAndTheUsersOwn(t *testing.T) {
	dir, r := fresh(t)
	own := filepath.Join(dir, "swarm.key")
	if err := os.WriteFile(own, []byte("his own"), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, func() ([]repo.Change, error) { return r.Private(key, false) })
	first := contents(t, dir)["swarm.key"]
	changes := must(t, func() ([]repo.Change, error) { return r.Private([32]byte{9}, false) })
	if len(changes) != 1 || changes[0].Key != "swarm.key" || contents(t, dir)["swarm.key"] == first {
		t.Errorf("a new key: %v", changes)
	}
	for _, c := range changes {
		if strings.Contains(c.From+c.To, strings.Repeat("0", 20)) {
			t.Errorf("the key is shown: %v", c)
		}
	}
	config := filepath.Join(dir, "config")
	text := strings.Replace(contents(t, dir)["config"], "tcp/5001", "tcp/5009", 1)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, func() ([]repo.Change, error) { return r.Undo(false) })
	got := contents(t, dir)
	if got["swarm.key"] != "his own" || !strings.Contains(got["config"], "tcp/5009") || !strings.Contains(got["config"], `"auto"`) || len(got) != 3 {
		t.Errorf("after undo: %q", got)
	}
}

// Nothing is made of what is no repository that is known.
func TestRefusals(t *testing.T) {
	dir, _ := fresh(t)
	if _, err := repo.Open(dir); err != nil {
		t.Fatalf("control: %v", err)
	}
	if _, err := repo.Open(t.TempDir()); !errors.Is(err, jobspec.KindNotFound.Error()) {
		t.Errorf("an empty directory: %v", err)
	}
	for _, v := range []string{"17", "19", "", "x"} {
		if err := os.WriteFile(filepath.Join(dir, "version"), []byte(v), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := repo.Open(dir); !errors.Is(err, jobspec.KindConflict.Error()) {
			t.Errorf("version %q: %v", v, err)
		}
	}
	dir, r := fresh(t)
	for _, text := range []string{"", "null", "[]", "{"} {
		if err := os.WriteFile(filepath.Join(dir, "config"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Private(key, false); err == nil {
			t.Errorf("configuration %q is taken", text)
		}
		if got := contents(t, dir); len(got) != 2 {
			t.Errorf("a refusal leaves %q", got)
		}
	}
}

// Root in somebody else's directory copies no file of its own for him.
func TestFollowsNoLink(t *testing.T) {
	dir, r := fresh(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("root's own"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"swarm.key", "config.before-ipdc", "repo.lock", "swarm.key.new", "config.new"} {
		if err := os.Symlink(secret, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Private(key, false); err == nil {
			t.Errorf("a link in the place of %s is followed", name)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(secret); err != nil || string(b) != "root's own" {
			t.Errorf("by a link in the place of %s the file is now %q, %v", name, b, err)
		}
	}
	must(t, func() ([]repo.Change, error) { return r.Private(key, false) }) // the control
}
