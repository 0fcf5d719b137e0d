package embedded_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ipfs/boxo/datastore/dshelp"
	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/jobspec"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		addUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

func TestConformance(t *testing.T) {
	ipfstest.Test(t, func(t *testing.T) ipfstest.Subject {
		dir := t.TempDir()
		n := open(t, dir)
		return ipfstest.Subject{
			Node: n,
			Reopen: func() ipfs.Node {
				closeNode(t, n)
				return open(t, dir)
			},
			Remove: func(c jobspec.CID) {
				if err := os.Remove(blockFile(dir, c)); err != nil {
					t.Fatal(err)
				}
			},
			Flip: func(c jobspec.CID) { flip(t, blockFile(dir, c)) },
		}
	})
}

func open(t testing.TB, dir string) *embedded.Node {
	t.Helper()
	n, err := embedded.Open(t.Context(), embedded.Config{Dir: dir})
	if err != nil {
		t.Fatalf("Open(%s): %v", dir, err)
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

// blockFile is where flatfs keeps a block: in a directory named by the two
// characters before the last.
func blockFile(dir string, c jobspec.CID) string {
	name := dshelp.MultihashToDsKey(c.Cid().Hash()).String()[1:]
	return filepath.Join(dir, "blocks", name[len(name)-3:len(name)-1], name+".data")
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
