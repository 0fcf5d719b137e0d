package e2e

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/jobspec"
)

// heldNow is what a node and its engine hold after some jobs.
type heldNow struct {
	jobs, goroutines, files, containers, mounts int
	rss, disk                                   int64
}

// benchSoak runs short jobs for long, and shows what grows.
func benchSoak(t testing.TB, w io.Writer) {
	n := newNode(t, "--memory", "16GiB")
	c := n.client()
	s := trivialSpec(jobspec.CacheOff)
	s.Resources.CPU = 250
	var rows []heldNow
	done := 0
	run := func(jobs int) {
		var g errgroup.Group
		g.SetLimit(8)
		for range jobs {
			g.Go(func() error { return runJob(t, c, s) })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		done += jobs
		n.await("all is cleaned", 2*time.Minute, func() bool { return len(n.containers()) == 0 && n.mounts() == 0 })
		rows = append(rows, n.holds(done))
	}
	run(100)
	for range 4 {
		run(500)
	}
	fmt.Fprint(w, `
## 2,000 short jobs
`+"`true`"+` in the stock image `+"`shell`"+`, eight at a time on a real engine, after 100 that do not count. Disk is the node's whole directory:
records, logs and results of jobs are kept until their time is over, and three volumes of 1 GiB, as sparse files, are kept ready.

| jobs | goroutines | open files | resident | containers | mounts | disk |
|---|---|---|---|---|---|---|
`)
	for _, r := range rows {
		fmt.Fprintf(w, "| %d | %d | %d | %.1f MB | %d | %d | %.1f MB |\n",
			r.jobs, r.goroutines, r.files, float64(r.rss)/1e6, r.containers, r.mounts, float64(r.disk)/1e6)
	}
}

func (n *node) holds(jobs int) heldNow {
	n.t.Helper()
	h := heldNow{jobs: jobs, goroutines: n.metric("go_goroutines"), containers: len(n.containers()), mounts: n.mounts(), rss: n.memory("VmRSS")}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.cmd.Process.Pid))
	if err != nil {
		n.t.Fatal(err)
	}
	h.files = len(open)
	_ = filepath.WalkDir(n.dir, func(_ string, d fs.DirEntry, err error) error { // files go meanwhile
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			h.disk += info.Size()
		}
		return nil
	})
	return h
}

// mounts are those below the node's directory, but for volumes that are kept
// ready for jobs to come.
func (n *node) mounts() int {
	n.t.Helper()
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		n.t.Fatal(err)
	}
	return bytes.Count(b, []byte(" "+n.dir+"/")) - bytes.Count(b, []byte(" "+n.dir+"/volumes/spare-"))
}
