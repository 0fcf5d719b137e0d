package kubo_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/kubo"
	"github.com/ipdc/ipdc/jobspec"
)

const crashEnv = "IPDC_TEST_CRASH" // API and directory of a child that is killed

// addUntilKilled adds and unpins for ever, and says so once each has returned.
func addUntilKilled(args string) error {
	api, dir, _ := strings.Cut(args, " ")
	ctx := context.Background()
	a, err := kubo.ParseAddr(api)
	if err != nil {
		return err
	}
	n, err := kubo.Open(ctx, kubo.Config{Addr: a, Dir: dir, Owner: "test"})
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		root, err := n.Add(ctx, fmt.Sprint("p", i), func(s ipfs.Session) (jobspec.CID, error) {
			data := fmt.Appendf(nil, "%d in process %d", i, os.Getpid())
			return sum(data), s.Put(ctx, sum(data), data)
		})
		if err == nil && i%2 == 1 {
			err = n.Unpin(ctx, fmt.Sprint("p", i-1))
		}
		if err != nil {
			return err
		}
		fmt.Println(i, root)
	}
}

func sum(data []byte) jobspec.CID {
	hash, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return jobspec.WrapCID(cid.NewCidV1(cid.Raw, hash))
}

// TestKill kills a process in the middle of its work, again and again.
func TestKill(t *testing.T) {
	k := testenv.Kubo(t)
	userAdds(t, k, "the user's own", "--name=mine")
	before := belongings(t, k)
	cfg := kubo.Config{Addr: addr(t, k), Dir: t.TempDir(), Owner: "test"}
	for round := range 6 {
		acked := runAndKill(t, crashEnv+"="+k.API+" "+cfg.Dir, 2+3*round)
		n := open(t, cfg)
		held := map[string]jobspec.CID{}
		list, err := n.Pins(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			held[p.Name] = p.Root
		}
		for i, root := range acked {
			if i%2 == 1 && held[fmt.Sprint("p", i)] != root {
				t.Errorf("round %d: Add %d was acknowledged with %s; named is %s", round, i, root, held[fmt.Sprint("p", i)])
			}
		}
		k.Run("repo", "gc", "--silent")
		for name, root := range held {
			if _, err := n.Verify(t.Context(), root); err != nil {
				t.Errorf("round %d: %s after a kill and a collection: %v", round, name, err)
			}
		}
		if got, want := len(strings.Split(k.Run("pin", "ls", "--type=recursive", "-q"), "\n")), 1+len(list); got < want {
			t.Errorf("round %d: %d pins, want at least %d", round, got, want)
		}
		unpinAll(t, n)
		closeNode(t, n)
		if diff := cmp.Diff(before, belongings(t, k)); diff != "" {
			t.Fatalf("round %d: what is the user's has changed (-before +after):\n%s", round, diff)
		}
		if left, err := os.ReadDir(cfg.Dir); err != nil || len(left) != 1 {
			t.Errorf("round %d: left in the directory: %v, %v, want pins.db", round, left, err)
		}
	}
}

// runAndKill returns the roots that were acknowledged, by number.
func runAndKill(t *testing.T, env string, after int) map[int]jobspec.CID {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), env)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acked := map[int]jobspec.CID{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var i int
		var text string
		if _, err := fmt.Sscan(lines.Text(), &i, &text); err != nil {
			t.Errorf("child: %s", lines.Text())
			break
		}
		if acked[i], err = jobspec.ParseCID(text); err != nil {
			t.Fatal(err)
		}
		if len(acked) == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatalf("child was not killed: %v", err)
	}
	return acked
}
