package gateway_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/ipfs/gateway"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
)

// TestKubo fetches from the gateway of a real Kubo: a directory of several
// levels with a large file, a HAMT, blocks by old CIDs, and what is not there.
func TestKubo(t *testing.T) {
	kubo := testenv.Kubo(t)
	c, err := gateway.New(gateway.Config{URLs: []string{kubo.Gateway}, Wait: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dir := t.TempDir()
	write := func(name string, data []byte) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a/b/large", bytes.Repeat([]byte("large "), 600_000))
	write("a/same", []byte("twice"))
	write("same", []byte("twice"))
	for i := range 6000 {
		write(fmt.Sprintf("hamt/a file with a name of some length %d", i), fmt.Append(nil, i))
	}
	m := ipfstest.NewMemory()
	res, err := pack.Tree(t.Context(), m, dir, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := kubo.Run("add", "-rQ", dir); got != res.CID.String() {
		t.Fatalf("Kubo's CID is %s, ours %s", got, res.CID)
	}
	got, err := fetchAll(t, c, res.CID)
	if err != nil {
		t.Fatal(err)
	}
	wantWhole(t, m, got)

	old, err := jobspec.ParseCID(kubo.Run("add", "-Q", "--cid-version=0", "--raw-leaves=false", filepath.Join(dir, "same")))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := fetchAll(t, c, old); err != nil || len(got) != 1 {
		t.Errorf("DAG of %s = %d blocks, %v", old, len(got), err)
	}
	_, err = c.Block(t.Context(), leaf(t, ipfstest.NewMemory(), "nobody has it"))
	wantKind(t, err, jobspec.KindFetchTimeout, kubo.Gateway)
	t.Log(err)
}
