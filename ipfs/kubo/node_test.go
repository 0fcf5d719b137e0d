package kubo_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ipfs/boxo/datastore/dshelp"
	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/kubo"
	"github.com/ipdc/ipdc/jobspec"
)

func TestMain(m *testing.M) {
	if args := os.Getenv(crashEnv); args != "" {
		fmt.Println("error:", addUntilKilled(args))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// TestConformance runs all subtests on one Kubo, which is emptied in between.
func TestConformance(t *testing.T) {
	k := testenv.Kubo(t, noKeyCache)
	var owners atomic.Int64
	ipfstest.Test(t, func(t *testing.T) ipfstest.Subject {
		cfg := kubo.Config{Addr: addr(t, k), Dir: t.TempDir(), Owner: fmt.Sprint("test-", owners.Add(1))}
		t.Cleanup(func() { empty(k) })
		n := open(t, cfg)
		return ipfstest.Subject{
			Node: n,
			Reopen: func() ipfs.Node {
				closeNode(t, n)
				return open(t, cfg)
			},
			Remove: func(c jobspec.CID) {
				if err := os.Remove(blockFile(k, c)); err != nil {
					t.Fatal(err)
				}
			},
			Flip:    func(c jobspec.CID) { flip(t, blockFile(k, c)) },
			Collect: func() { k.Run("repo", "gc", "--silent") },
		}
	})
}

// noKeyCache has Kubo look at its disk each time: tests damage blocks there.
func noKeyCache(config map[string]any) {
	config["Datastore"].(map[string]any)["BlockKeyCacheSize"] = 0
}

// empty removes all pins and blocks.
func empty(k *testenv.KuboDaemon) {
	if pins := k.Run("pin", "ls", "--type=recursive", "--quiet"); pins != "" {
		k.Run(append([]string{"pin", "rm"}, strings.Split(pins, "\n")...)...)
	}
	k.Run("repo", "gc", "--silent")
}

func addr(t testing.TB, k *testenv.KuboDaemon) kubo.Addr {
	t.Helper()
	a, err := kubo.ParseAddr(k.API)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func open(t testing.TB, cfg kubo.Config) *kubo.Node {
	t.Helper()
	n, err := kubo.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { closeNode(t, n) })
	return n
}

func closeNode(t testing.TB, n ipfs.Node) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// blockFile is where Kubo's flatfs keeps a block: in a directory named by the
// two characters before the last.
func blockFile(k *testenv.KuboDaemon, c jobspec.CID) string {
	name := dshelp.MultihashToDsKey(c.Cid().Hash()).String()[1:]
	return filepath.Join(k.Repo, "blocks", name[len(name)-3:len(name)-1], name+".data")
}

func flip(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
