package e2e

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
)

// randomFile writes size bytes that no block store has seen.
func randomFile(t testing.TB, path string, size int64, seed uint64) {
	t.Helper()
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := bufio.NewWriterSize(f, 1<<20)
	if _, err = io.CopyN(b, rand.NewChaCha8(key), size); err == nil {
		err = b.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// addAndGet lets ipdc and Kubo add what fill makes, and get it back.
func addAndGet(t testing.TB, w io.Writer, n *node, rounds int, fill func(dir string, seed uint64)) {
	k := testenv.Kubo(t, fsyncBlocks)
	work := t.TempDir()
	seed := uint64(time.Now().UnixNano())
	var added, gotten [][]time.Duration
	for round := range rounds {
		src := filepath.Join(work, "src")
		if err := os.Mkdir(src, 0o755); err != nil {
			t.Fatal(err)
		}
		fill(src, seed+uint64(round))
		var ours, theirs string
		// Whoever is second reads a source that is in memory for sure: they swap.
		add := []func(){func() { ours = n.ok("add", "-q", src) }, func() { theirs = k.Run("add", "--recursive", "--quieter", src) }}
		get := []func(){
			func() { n.ok("get", ours, filepath.Join(work, "ours")) },
			func() { k.Run("get", theirs, "--output", filepath.Join(work, "theirs")) },
		}
		added, gotten = turns(added, round, add), turns(gotten, round, get)
		if ours != theirs {
			t.Errorf("ipdc add gives %s, Kubo %s", ours, theirs)
		}
		n.ok("pin", "rm", ours)
		n.ok("node", "gc")
		k.Run("pin", "rm", theirs)
		k.Run("repo", "gc", "--quiet")
		for _, dir := range []string{"src", "ours", "theirs"} {
			if err := os.RemoveAll(filepath.Join(work, dir)); err != nil {
				t.Fatal(err)
			}
		}
	}
	contest(w, sorted(added), 1, "`ipdc add`", "`ipfs add` (Kubo 0.43)")
	fmt.Fprintln(w)
	contest(w, sorted(gotten), 1, "`ipdc get`", "`ipfs get` (Kubo 0.43)")
}

// fsyncBlocks makes Kubo's add durable when it returns, as ipdc's is; as it
// comes, Kubo leaves that to the kernel.
func fsyncBlocks(config map[string]any) {
	for _, m := range config["Datastore"].(map[string]any)["Spec"].(map[string]any)["mounts"].([]any) {
		if mount := m.(map[string]any); mount["type"] == "flatfs" {
			mount["sync"] = true
		}
	}
}

// turns times each contestant once, in an order that changes with the round.
func turns(times [][]time.Duration, round int, contestants []func()) [][]time.Duration {
	if times == nil {
		times = make([][]time.Duration, len(contestants))
	}
	for i := range contestants {
		i = (i + round) % len(contestants)
		start := time.Now()
		contestants[i]()
		times[i] = append(times[i], time.Since(start))
	}
	return times
}

func benchLarge(t testing.TB, w io.Writer) {
	n := newNode(t)
	fmt.Fprint(w, `
## 1 GiB
One file of random bytes, new in each of 4 rounds; both commands talk to a running daemon on the same disk. Both daemons fsync
the blocks they store, for which Kubo's flatfs is set to "sync": true (its default is false). ipdc hashes each block that it
reads in the node and again in the command line; Kubo, as it comes (Datastore.HashOnRead), does not. The CIDs are equal.

`)
	addAndGet(t, w, n, 4, func(dir string, seed uint64) { randomFile(t, filepath.Join(dir, "x"), 1<<30, seed) })

	c := n.client()
	dir := t.TempDir()
	none := trivialSpec(jobspec.CacheOff)
	var first, second, bare []time.Duration
	for round := range 3 {
		randomFile(t, filepath.Join(dir, "x"), 1<<30, uint64(round)+7)
		with := none
		with.Inputs = []jobspec.Input{{CID: n.ok("add", "-q", dir)}}
		with.Run.Command = []string{"head", "-c", "1", "/inputs/x"}
		first = append(first, timed(mustRun(t, c, with)))
		for range 5 {
			second, bare = append(second, timed(mustRun(t, c, with))), append(bare, timed(mustRun(t, c, none)))
		}
	}
	fmt.Fprint(w, `
A job over the 1 GiB, `+"`head -c 1`"+`: the first stages it, later ones find it staged.

`)
	contest(w, sorted([][]time.Duration{first, second, bare}), 2, "the first job over it", "the second and later jobs", "a job without an input")
}

func timed(run func()) time.Duration {
	start := time.Now()
	run()
	return time.Since(start)
}

func benchFiles(t testing.TB, w io.Writer) {
	fmt.Fprint(w, `
## 10,000 small files
Of 4 KiB each in 100 directories, new in each of 3 rounds.

`)
	addAndGet(t, w, newNode(t), 3, func(dir string, seed uint64) {
		var key [32]byte
		binary.LittleEndian.PutUint64(key[:], seed)
		random := rand.NewChaCha8(key)
		data := make([]byte, 4096)
		for i := range 10_000 {
			_, _ = random.Read(data) // fails never
			write(t, dir, fmt.Sprintf("%02d/%05d", i%100, i), string(data))
		}
	})
}

func benchMillion(t testing.TB, w io.Writer) {
	n := newNode(t, "--input-entries", "2000000")
	dir := filepath.Join(t.TempDir(), "many")
	for i := range 1_000_000 {
		write(t, dir, fmt.Sprintf("%07d.txt", i), fmt.Sprintln(i%1000))
	}
	start := time.Now()
	cid := n.ok("add", "-q", dir)
	added := time.Since(start)
	c := n.client()
	count := jobspec.Spec{
		Version: jobspec.Version, Cache: jobspec.CacheOff, Inputs: []jobspec.Input{{CID: cid}},
		Run: jobspec.Run{Image: "shell", Command: []string{"sh", "-c", "ls -f /inputs | wc -l > /outputs/n"}},
	}
	first, second := timed(mustRun(t, c, count)), timed(mustRun(t, c, count))
	fmt.Fprintf(w, `
## One directory of 1,000,000 files
Of 4 bytes on average, once: `+"`ipdc add`"+` %s; the first job over it (`+"`ls -f | wc -l`"+`) %s, the second %s. The node's memory at its
highest: %.0f MB (VmHWM).
`, show(added), show(first), show(second), float64(n.memory("VmHWM"))/1e6)
}

// memory returns a field of the node's /proc/PID/status in bytes.
func (n *node) memory(field string) int64 {
	n.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		n.t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var kib int64
		if rest, ok := strings.CutPrefix(string(line), field+":"); ok {
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				n.t.Fatal(err)
			}
			return kib << 10
		}
	}
	n.t.Fatalf("no %s in the node's status", field)
	return 0
}
