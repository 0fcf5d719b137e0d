package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
)

// benchHost measures what the host's own IPFS node feels of jobs: reads of
// random blocks from a Kubo, with and without jobs that take all processors and
// write to disk, in turns.
func benchHost(t testing.TB, w io.Writer) {
	k := testenv.Kubo(t)
	file := filepath.Join(t.TempDir(), "data")
	writeRandom(t, file, 128<<20)
	root := strings.TrimSpace(k.Run("add", "-Q", file))
	blocks := strings.Fields(k.Run("refs", "-r", root))
	read := func(n int) (times []time.Duration) {
		for range n {
			start := time.Now()
			resp, err := http.Post(k.API+"/api/v0/block/get?arg="+blocks[rand.IntN(len(blocks))], "", nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
				t.Fatal(resp.Status, err)
			}
			resp.Body.Close()
			times = append(times, time.Since(start))
		}
		return times
	}
	n := newNode(t)
	c := n.client()
	const rounds, reads = 4, 1500
	var still, busy []time.Duration
	read(200)
	for range rounds {
		still = append(still, read(reads)...)
		var jobs []string
		for range 4 {
			s := jobspec.Spec{Version: jobspec.Version, Cache: jobspec.CacheOff, Run: jobspec.Run{Image: "shell", Command: []string{"sh", "-c",
				"(while :; do dd if=/dev/zero of=/outputs/x bs=1M count=64 2>/dev/null; rm /outputs/x; done) & while :; do :; done"}}}
			s.Resources.CPU = 500
			j, err := c.Submit(t.Context(), s, fmt.Sprint(rand.Uint64()))
			if err != nil {
				t.Fatal(err)
			}
			jobs = append(jobs, j.ID.String())
		}
		for _, id := range jobs {
			n.await("the jobs to run", time.Minute, func() bool {
				j := n.job(id)
				return len(j.Attempts) > 0 && j.Attempts[0].State == jobspec.AttemptRunning
			})
		}
		busy = append(busy, read(reads)...)
		for _, id := range jobs {
			n.ok("job", "stop", id)
		}
	}
	slices.Sort(still)
	slices.Sort(busy)
	fmt.Fprintf(w, `
## The host's own IPFS node beside jobs
A Kubo on the same machine gives random blocks of a file of 128 MiB over its API, %d reads in %d rounds, alone and while four jobs of
half a processor each compute and write 64 MiB files again and again. All jobs lie in one control group with a tenth of the weight of
any other process. The bound is 1.3 times at p99.

| what | median | p99 |
|---|---|---|
`, rounds*reads, rounds)
	for i, list := range [][]time.Duration{still, busy} {
		fmt.Fprintf(w, "| %s | %s | %s |\n", []string{"without jobs", "node saturated by jobs"}[i], show(quantile(list, 0.5)), show(quantile(list, 0.99)))
	}
	fmt.Fprintf(w, "| ratio | %.2f | %.2f |\n", quantile(busy, 0.5).Seconds()/quantile(still, 0.5).Seconds(), quantile(busy, 0.99).Seconds()/quantile(still, 0.99).Seconds())
}

func writeRandom(t testing.TB, path string, size int) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	src := rand.NewChaCha8([32]byte{1})
	if _, err := io.CopyN(f, src, int64(size)); err != nil {
		t.Fatal(err)
	}
}
