package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	moby "github.com/moby/moby/client"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire/guest"
)

// rounds is how often each contestant runs; they take turns, so that a slow
// moment of the machine meets all of them.
const rounds = 30

// TestBench measures what docs/benchmarks.md shows and writes that file to
// the path in IPDC_BENCH. It asserts no times.
func TestBench(t *testing.T) {
	out := os.Getenv("IPDC_BENCH")
	if out == "" {
		t.Skip("set IPDC_BENCH to the file to write; make bench does")
	}
	n := newNode(t)
	ctx := t.Context()
	engine := newBareEngine(t, n)
	c := n.client()
	job := func(cache jobspec.Cache) func() {
		return func() {
			spec := jobspec.Spec{Version: jobspec.Version, Cache: cache, Run: jobspec.Run{Image: "shell", Command: []string{"true"}}}
			j, err := c.Submit(ctx, spec, rand.Text())
			if err == nil {
				j, err = c.Wait(ctx, j.ID.String())
			}
			if err != nil || j.State != jobspec.JobSucceeded {
				t.Fatalf("job = %s %+v, %v", j.State, j.Failure, err)
			}
		}
	}
	cli := func() {
		cmd := exec.Command("docker", "run", "--rm", "--network", "none", engine.image, "true")
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("docker run: %v\n%s", err, b)
		}
	}
	job(jobspec.CacheUse)() // is remembered from here on
	times := race(job(jobspec.CacheOff), engine.run(t), cli, job(jobspec.CacheUse))
	text := report(times)
	t.Log(text)
	if err := os.WriteFile(out, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// race runs the contestants in turns, after two rounds that do not count.
func race(contestants ...func()) [][]time.Duration {
	times := make([][]time.Duration, len(contestants))
	for round := range rounds + 2 {
		for i, run := range contestants {
			start := time.Now()
			run()
			if round >= 2 {
				times[i] = append(times[i], time.Since(start))
			}
		}
	}
	for _, list := range times {
		slices.Sort(list)
	}
	return times
}

// bareEngine runs the container of a trivial job by the Engine API alone: the
// same config, with directories of its own in place of the job's.
type bareEngine struct {
	api   *moby.Client
	image string
	conf  *container.Config
	host  *container.HostConfig
}

// newBareEngine takes the config from the container of a real job.
func newBareEngine(t *testing.T, n *node) *bareEngine {
	api, err := moby.New(moby.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { api.Close() })
	spec := write(t, t.TempDir(), "job.yaml", "version: ipdc/v1\nrun: {image: shell, command: [sleep, \"300\"]}\n")
	id := n.ok("job", "submit", "-d", spec)
	n.await("the container", 20*time.Second, func() bool { return len(n.containers()) == 1 })
	res, err := api.ContainerInspect(t.Context(), strings.Fields(n.containers()[0])[0], moby.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.ok("job", "stop", id)
	b := &bareEngine{api: api, conf: res.Container.Config, host: res.Container.HostConfig, image: res.Container.Image}
	dir := t.TempDir()
	for i, m := range b.host.Mounts {
		b.host.Mounts[i] = b.own(t, dir, m)
	}
	return b
}

// own replaces a mount of the job, which is gone by now, by one with equal
// content.
func (b *bareEngine) own(t *testing.T, dir string, m mount.Mount) mount.Mount {
	path := filepath.Join(dir, filepath.Base(m.Target))
	switch m.Target {
	case guest.Binary:
		return m
	case guest.TaskFile:
		write(t, dir, filepath.Base(path), `{"command":["true"]}`)
	default:
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	m.Source = path
	return m
}

func (b *bareEngine) run(t *testing.T) func() {
	seq := 0
	return func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		seq++
		res, err := b.api.ContainerCreate(ctx, moby.ContainerCreateOptions{Config: b.conf, HostConfig: b.host, Name: fmt.Sprintf("bare-%d-%d", os.Getpid(), seq)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.api.ContainerStart(ctx, res.ID, moby.ContainerStartOptions{}); err != nil {
			t.Fatal(err)
		}
		w := b.api.ContainerWait(ctx, res.ID, moby.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
		select {
		case end := <-w.Result:
			if end.StatusCode != 0 {
				t.Fatalf("bare container ended with %d", end.StatusCode)
			}
		case err := <-w.Error:
			t.Fatal(err)
		}
		if _, err := b.api.ContainerRemove(ctx, res.ID, moby.ContainerRemoveOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func report(times [][]time.Duration) string {
	var s strings.Builder
	fmt.Fprintf(&s, `# Benchmarks

Made by `+"`make bench`"+` on %s, %d processors, %s. Medians of %d rounds in one run, the contestants taking turns; spread is the
10th to the 90th percentile.

## A trivial job, warm
The program is `+"`true`"+` in the stock image `+"`shell`"+`. The bare Engine API is create, start, wait and remove with the very same
container config and mounts. The job does all that a job does: it is stored before it is acknowledged, gets a bounded outputs
volume, its outputs are packed, pinned and verified, its receipt is signed.

| what | median | spread | ratio to the bare Engine API |
|---|---|---|---|
`, time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), rounds)
	names := []string{"ipdc job through the API, `cache: off`", "bare Engine API", "`docker run --rm --network none`", "the same ipdc job again (remembered)"}
	base := quantile(times[1], 0.5)
	for i, name := range names {
		m := quantile(times[i], 0.5)
		fmt.Fprintf(&s, "| %s | %s | %s to %s | %.2f |\n", name, ms(m), ms(quantile(times[i], 0.1)), ms(quantile(times[i], 0.9)), float64(m)/float64(base))
	}
	return s.String()
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
