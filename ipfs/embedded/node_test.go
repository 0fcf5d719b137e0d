package embedded_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/ipfs/boxo/datastore/dshelp"
	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/tree"
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

// TestWalkReadsNoRawBlock lists files by the sizes of their blocks, and reads
// one only where that is not known.
func TestWalkReadsNoRawBlock(t *testing.T) {
	dir := t.TempDir()
	n := open(t, dir)
	defer closeNode(t, n)
	src := t.TempDir()
	for name, size := range map[string]int{"empty": 0, "small": 5, "whole": 1 << 20, "two": 1<<20 + 1} {
		if err := os.WriteFile(filepath.Join(src, name), bytes.Repeat([]byte(name[:1]), size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := n.Add(t.Context(), "p", func(s ipfs.Session) (jobspec.CID, error) {
		res, err := pack.Tree(t.Context(), s, src, pack.Options{})
		return res.CID, err
	})
	if err != nil {
		t.Fatal(err)
	}
	list := func() (map[string]int64, error) {
		got := map[string]int64{}
		return got, tree.Walk(t.Context(), n, root, ipfs.Budget{}, func(e tree.Entry) error {
			if e.Kind == tree.File {
				got[e.Name] = e.Size
			}
			return nil
		})
	}
	small := tree.Entry{}
	check := func(when string) {
		want := map[string]int64{"empty": 0, "small": 5, "whole": 1 << 20, "two": 1<<20 + 1}
		if got, err := list(); err != nil || !maps.Equal(got, want) {
			t.Errorf("Walk %s = %v, %v, want %v", when, got, err, want)
		}
	}
	check("of a whole DAG")
	if err := tree.Walk(t.Context(), n, root, ipfs.Budget{}, func(e tree.Entry) error {
		if e.Name == "small" {
			small = e
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	flip(t, blockFile(dir, small.CID))
	check("after a bit was flipped")
	if _, err := tree.Copy(t.Context(), n, small.CID, io.Discard, ipfs.Budget{}); !errors.Is(err, jobspec.KindBlockHash.Error()) {
		t.Errorf("Copy of a damaged file = %v, want E_BLOCK_HASH", err) // control: it is damaged
	}
	if err := os.Remove(blockFile(dir, small.CID)); err != nil {
		t.Fatal(err)
	}
	if _, err := list(); !errors.Is(err, jobspec.KindFetchTimeout.Error()) {
		t.Errorf("Walk without a block = %v, want E_FETCH_TIMEOUT", err)
	}
}
