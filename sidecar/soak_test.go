package sidecar_test

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
)

// used is what a process and its node hold.
type used struct{ goroutines, files, heap int }

func useNow(t *testing.T) used {
	t.Helper()
	var m runtime.MemStats
	for range 2 { // finalizers of the first round free for the second
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return used{runtime.NumGoroutine(), openFiles(t), int(m.HeapAlloc)}
}

// Jobs that come and go leave goroutines, files, memory, containers, volumes and
// directories as they were. e2e's benchmark "soak" is the same on a real engine.
func TestF65NothingGrows(t *testing.T) {
	jobs := 60
	if long() {
		jobs = 2000
	}
	b := newBench(t)
	root := b.input("a", "b", "c")
	run := func(n int) {
		t.Helper()
		var g errgroup.Group
		g.SetLimit(8)
		for range n {
			g.Go(func() error {
				s := spec("DUMMY_COPY=/inputs:/outputs", "DUMMY_STDOUT=hello")
				s.Inputs, s.Cache = []jobspec.Input{{CID: root}}, jobspec.CacheOff
				j, _, err := b.Submit(t.Context(), api.Submission{Tenant: "t", Spec: s})
				if err != nil {
					return err
				}
				return b.Events(t.Context(), "t", j.ID.String(), 0, true, func(jobspec.Event) error { return nil })
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		f := fleet{t: t}
		f.await("all have ended", func() bool { return b.status().Jobs == 0 })
		f.await("all is cleaned", func() bool { return len(b.leftovers("none")) == 0 })
	}
	run(30) // caches are warm and pools are full from here on
	before := useNow(t)
	run(jobs)
	f := fleet{t: t}
	f.await("goroutines end", func() bool { return runtime.NumGoroutine() <= before.goroutines+5 })
	f.await("files are closed", func() bool { return openFiles(t) <= before.files+5 })
	after := useNow(t)
	if grown := (after.heap - before.heap) / jobs; grown > 32<<10 {
		t.Errorf("the heap grows by %d bytes with each job", grown)
	}
	t.Logf("%d jobs: %+v before, %+v after", jobs, before, after)
	if list, err := os.ReadDir(b.dir + "/run"); err == nil && len(list) > 0 {
		t.Errorf("%d run directories are left", len(list))
	}
}
