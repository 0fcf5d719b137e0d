package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/jobspec"
)

const crashDirEnv = "IPDC_TEST_CRASH_DIR"

// addUntilKilled adds and unpins for ever, and prints each root once Add has
// returned.
func addUntilKilled(dir string) {
	ctx := context.Background()
	n, err := embedded.Open(ctx, embedded.Config{Dir: dir})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		root, err := n.Add(ctx, fmt.Sprint("p", i), func(s ipfs.Session) (jobspec.CID, error) {
			return putFile(ctx, s, fmt.Sprintf("%d in process %d", i, os.Getpid()), 4)
		})
		if err == nil && i%3 == 2 {
			err = n.Unpin(ctx, fmt.Sprint("p", i-1))
		}
		if err == nil && i%5 == 4 {
			_, err = n.GC(ctx)
		}
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println(i, root)
	}
}

func TestKillLosesNothing(t *testing.T) {
	dir := t.TempDir()
	for round := range 8 {
		acked := runAndKill(t, dir, 3+5*round)
		n := open(t, dir)
		pins, err := n.Pins(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		byName := map[string]jobspec.CID{}
		for _, p := range pins {
			byName[p.Name] = p.Root
			if _, err := n.Verify(t.Context(), p.Root); err != nil {
				t.Errorf("round %d: pin %s after a kill: %v", round, p.Name, err)
			}
		}
		for i, root := range acked {
			if i%3 != 1 && byName[fmt.Sprint("p", i)] != root {
				t.Errorf("round %d: Add %d was acknowledged with %s; pinned is %s", round, i, root, byName[fmt.Sprint("p", i)])
			}
		}
		if _, err := n.GC(t.Context()); err != nil {
			t.Errorf("round %d: GC after a kill: %v", round, err)
		}
		closeNode(t, n)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "blocks", ".temp")); err != nil || len(left) > 0 {
		t.Errorf("temporary files left: %v, %v", left, err)
	}
}

// runAndKill returns the roots that were acknowledged, by number.
func runAndKill(t *testing.T, dir string, after int) map[int]jobspec.CID {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashDirEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acked := map[int]jobspec.CID{}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var i int
		var text string
		if _, err := fmt.Sscan(lines.Text(), &i, &text); err != nil {
			t.Errorf("child: %s", lines.Text())
			break
		}
		root, err := jobspec.ParseCID(text)
		if err != nil {
			t.Fatal(err)
		}
		acked[i] = root
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

// putFile puts a dag-cbor list of count leaves.
func putFile(ctx context.Context, s ipfs.Session, text string, count int) (jobspec.CID, error) {
	data := []byte{0x80 + byte(count)}
	for i := range count {
		leaf := fmt.Appendf(nil, "%s, leaf %d", text, i)
		c := sum(cid.Raw, leaf)
		if err := s.Put(ctx, c, leaf); err != nil {
			return c, err
		}
		data = append(data, 0xd8, 42, 0x58, byte(1+c.Cid().ByteLen()), 0)
		data = append(data, c.Cid().Bytes()...)
	}
	c := sum(cid.DagCBOR, data)
	return c, s.Put(ctx, c, data)
}

func sum(codec uint64, data []byte) jobspec.CID {
	hash, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return jobspec.WrapCID(cid.NewCidV1(codec, hash))
}

func TestL03OpenTwiceIsRefused(t *testing.T) {
	dir := t.TempDir()
	n := open(t, dir)
	_, err := embedded.Open(t.Context(), embedded.Config{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("second Open = %v, want an error that names the process", err)
	}
	closeNode(t, n)
	open(t, dir) // control
}

func TestSessionIsOverAfterAdd(t *testing.T) {
	n := open(t, t.TempDir())
	var kept ipfs.Session
	if _, err := n.Add(t.Context(), "p", func(s ipfs.Session) (jobspec.CID, error) {
		kept = s
		return putFile(t.Context(), s, "x", 1)
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := putFile(t.Context(), kept, "y", 1); err == nil {
		t.Error("Put after Add returned was accepted; the block would never be durable")
	}
}
