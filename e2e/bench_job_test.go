package e2e

import (
	"crypto/rand"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
)

func trivialSpec(cache jobspec.Cache) jobspec.Spec {
	return jobspec.Spec{Version: jobspec.Version, Cache: cache, Run: jobspec.Run{Image: "shell", Command: []string{"true"}}}
}

// runJob submits a job through the API and waits for its success.
func runJob(t testing.TB, c *client.Client, spec jobspec.Spec) error {
	j, err := c.Submit(t.Context(), spec, rand.Text())
	if err == nil {
		j, err = c.Wait(t.Context(), j.ID.String())
	}
	if err == nil && j.State != jobspec.JobSucceeded {
		err = fmt.Errorf("job %s is %s: %+v", j.ID, j.State, j.Failure)
	}
	return err
}

// mustRun is runJob for one goroutine.
func mustRun(t testing.TB, c *client.Client, spec jobspec.Spec) func() {
	return func() {
		if err := runJob(t, c, spec); err != nil {
			t.Fatal(err)
		}
	}
}

func command(t testing.TB, name string, args ...string) func() {
	return func() {
		if b, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, b)
		}
	}
}

func benchTrivial(t testing.TB, w io.Writer) {
	n := newNode(t)
	engine := newBareEngine(t, n)
	c := n.client()
	mustRun(t, c, trivialSpec(jobspec.CacheUse))() // is remembered from here on
	times := race(2, 30, mustRun(t, c, trivialSpec(jobspec.CacheOff)), engine.run(t),
		command(t, "docker", "run", "--rm", "--network", "none", engine.image, "true"), mustRun(t, c, trivialSpec(jobspec.CacheUse)))
	fmt.Fprint(w, `
## A trivial job, warm
The program is `+"`true`"+` in the stock image `+"`shell`"+`, 30 rounds. The bare Engine API is create, start, wait and remove with the
very same container config and mounts. The job does all that a job does: it is stored before it is acknowledged, gets a bounded
outputs volume, its outputs are packed, pinned and verified, its receipt is signed.

`)
	contest(w, times, 1, "ipdc job through the API, `cache: off`", "the bare Engine API", "`docker run --rm --network none`", "the same ipdc job again (remembered)")
}

// burst is how many jobs are in flight.
const burst = 60

func benchBurst(t testing.TB, w io.Writer) {
	n := newNode(t, "--memory", "16GiB") // memory is no bound here, processors are
	engine := newBareEngine(t, n)
	c := n.client()
	many := func(limit int, one func() error) func() {
		return func() {
			var g errgroup.Group
			g.SetLimit(limit)
			for range burst {
				g.Go(one)
			}
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	small := trivialSpec(jobspec.CacheOff)
	small.Resources.CPU = 250 // eight at once on two processors, as the engine's best
	bare := func() error { engine.run(t)(); return nil }
	docker := "seq " + fmt.Sprint(burst) + " | xargs -P4 -I{} docker run --rm --network none " + engine.image + " true"
	times := race(1, 3, many(burst, func() error { return runJob(t, c, small) }), many(4, bare), many(8, bare), command(t, "sh", "-c", docker))
	fmt.Fprintf(w, `
## %d trivial jobs in flight
All are submitted at once with a quarter of a processor each, 3 rounds; the bare Engine API runs 4 or 8 containers at a time.

| what | median | jobs a second | ratio to the best of the bare Engine API |
|---|---|---|---|
`, burst)
	best := min(quantile(times[1], 0.5), quantile(times[2], 0.5))
	for i, name := range []string{"ipdc jobs through the API, `cache: off`", "the bare Engine API, 4 at a time", "the bare Engine API, 8 at a time", "`xargs -P4 docker run --rm --network none`"} {
		m := quantile(times[i], 0.5)
		fmt.Fprintf(w, "| %s | %s | %.1f | %.2f |\n", name, show(m), burst/m.Seconds(), best.Seconds()/m.Seconds())
	}
}

func benchIdle(t testing.TB, w io.Writer) {
	n := newNode(t)
	mustRun(t, n.client(), trivialSpec(jobspec.CacheOff))()
	<-time.After(10 * time.Second)
	fmt.Fprintf(w, `
## An idle node
With the embedded IPFS node, ten seconds after a job: %.1f MB resident (VmRSS).
`, float64(n.memory("VmRSS"))/1e6)
}
