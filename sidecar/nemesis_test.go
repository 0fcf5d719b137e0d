package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/ipdc/ipdc/executor/dummy"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/sidecar/api"
)

// nemesis is a fleet to which things happen while clients use it.
type nemesis struct {
	*fleet
	rnd   *rand.Rand // of what happens; used by one goroutine
	root  string
	files map[string]jobspec.CID
	doors []door
	began time.Time

	mu      sync.Mutex
	history []porcupine.Operation
	jobs    map[string]int // acknowledged, and at which node
}

// door is how clients reach a node: a restart waits for calls that are under
// way, whose context it ends, as the end of a process cuts its connections.
type door struct {
	calls sync.RWMutex
	mu    sync.Mutex
	ctx   context.Context
	cut   context.CancelFunc
}

func (d *door) open(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ctx, d.cut = context.WithCancel(ctx)
}

func (n *nemesis) call(i int, f func(context.Context, *sidecar.Sidecar)) {
	d := &n.doors[i]
	d.calls.RLock()
	defer d.calls.RUnlock()
	d.mu.Lock()
	ctx := d.ctx
	d.mu.Unlock()
	f(ctx, n.nodes[i].running.Load())
}

func (n *nemesis) restart(i int) {
	d := &n.doors[i]
	d.mu.Lock()
	d.cut()
	d.mu.Unlock()
	d.calls.Lock()
	defer d.calls.Unlock()
	n.nodes[i].restart()
	d.open(n.t.Context())
}

func (n *nemesis) record(in asked, call time.Duration, out told, cutOff bool) {
	end := time.Since(n.began).Nanoseconds()
	if cutOff {
		end = math.MaxInt64 // it may take effect at any time
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.history = append(n.history, porcupine.Operation{Input: in, Call: call.Nanoseconds(), Output: out, Return: end})
}

// submit asks a node until it has acknowledged the job, or ctx ends.
func (n *nemesis) submit(ctx context.Context, i int, key string, s jobspec.Spec) (id string) {
	for id == "" && ctx.Err() == nil {
		call := time.Since(n.began)
		n.call(i, func(ctx context.Context, sc *sidecar.Sidecar) {
			j, _, err := sc.Submit(ctx, api.Submission{Tenant: "t", Spec: s, IdempotencyKey: key})
			if err == nil {
				id = j.ID.String()
			}
		})
		n.record(asked{key, true}, call, told{id: id}, id == "")
	}
	return id
}

// read looks at a job, and reports whether it has ended.
func (n *nemesis) read(i int, key, id string) (ended bool) {
	call := time.Since(n.began)
	n.call(i, func(ctx context.Context, sc *sidecar.Sidecar) {
		j, err := sc.Job(ctx, "t", id)
		out := told{id: id}
		switch {
		case errors.Is(err, jobspec.KindNotFound.Error()):
			out.id = ""
		case err != nil:
			return // cut off: it says nothing
		case j.State.Final():
			ended = true
			out.ends = fmt.Sprint(j.State, " ", j.Result)
			if j.Failure != nil {
				out.ends += string(j.Failure.Kind)
			}
		}
		n.record(asked{key, false}, call, out, false)
	})
	return ended
}

// client submits one job after the other to a node, and follows each.
func (n *nemesis) client(ctx context.Context, i, c int, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, uint64(100+10*i+c)))
	for k := 0; ctx.Err() == nil; k++ {
		key := fmt.Sprintf("%d-%d-%d", i, c, k)
		s := slow(n.root, n.files, time.Duration(rnd.IntN(300))*time.Millisecond)
		s.Cache, s.Retry.Attempts, s.Run.Env["KEY"] = jobspec.CacheOff, jobspec.MaxAttempts, key
		id := n.submit(ctx, i, key, s)
		if id == "" {
			return
		}
		n.mu.Lock()
		n.jobs[key] = i
		n.mu.Unlock()
		if rnd.IntN(3) == 0 {
			n.submit(ctx, i, key, s) // once more
		}
		for !n.read(i, key, id) && ctx.Err() == nil {
			wait(ctx, time.Duration(rnd.IntN(40))*time.Millisecond)
		}
		n.read(i, key, id)
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// strike does one thing to the fleet.
func (n *nemesis) strike() (what string) {
	i := n.rnd.IntN(len(n.nodes))
	b, other := n.nodes[i], n.nodes[(i+1+n.rnd.IntN(len(n.nodes)-1))%len(n.nodes)]
	switch n.rnd.IntN(8) {
	case 0:
		n.net.Partition(n.ids(i))
		return fmt.Sprint("partition ", i)
	case 1:
		n.net.Cut(b.key.ID(), other.key.ID())
		return fmt.Sprint("cut from ", i)
	case 2, 3:
		n.net.Heal()
		return "heal"
	case 4:
		n.restart(i)
		return fmt.Sprint("restart ", i)
	case 5:
		n.net.Stop()
		n.net.Start()
		return "broker"
	case 6:
		list, err := dummy.New(b.state).List(n.t.Context(), "")
		if err == nil && len(list) > 0 {
			b.state.Vanish(list[n.rnd.IntN(len(list))].Name)
		}
		return fmt.Sprint("a container of ", i, " vanishes")
	}
	b.later.Store(int64(time.Duration(n.rnd.IntN(7200)-3600) * time.Second))
	return fmt.Sprint("clock of ", i)
}

// settle mends all, and looks at each job once more when it has ended.
func (n *nemesis) settle() {
	n.net.Heal()
	ended := map[string]string{}
	for _, o := range n.history {
		if in, out := o.Input.(asked), o.Output.(told); out.id != "" {
			ended[in.key] = out.id
		}
	}
	for key, id := range ended {
		i := n.jobs[key]
		b := n.nodes[i]
		j := b.final(id)
		n.read(i, key, id)
		if j.State == jobspec.JobSucceeded && j.Result.String() != n.root {
			n.t.Errorf("job %s gave %s, want %s", id, j.Result, n.root)
		}
		if j.State != jobspec.JobSucceeded && (j.Failure == nil || j.Failure.Kind != jobspec.KindLost) {
			n.t.Errorf("job %s is %s: %+v", id, j.State, j.Failure)
		}
		b.gapless(id)
	}
	for _, b := range n.nodes {
		n.await("a member has ended all work", func() bool { return b.status().Jobs == 0 })
		b.idle()
		b.nothingLeft("none")
		for key, id := range ended {
			if n.nodes[n.jobs[key]] == b {
				n.await("nothing is left of "+id, func() bool { return len(b.leftovers(id)) == 0 })
			}
		}
	}
}

// gapless checks that a job's events are numbered one after the other. (I8)
func (b *bench) gapless(id string) {
	b.t.Helper()
	last := int64(0)
	err := b.Events(b.t.Context(), "t", id, 0, false, func(e jobspec.Event) error {
		if e.Seq != last+1 {
			b.t.Errorf("event %d of job %s comes after %d", e.Seq, id, last)
		}
		last = e.Seq
		return nil
	})
	if err != nil || last == 0 {
		b.t.Errorf("events of %s: %d, %v", id, last, err)
	}
}

// Whatever happens to three nodes, in whatever order, they keep their word. What
// happens is drawn from a seed, which a failure names.
func TestF76Nemesis(t *testing.T) {
	t.Parallel()
	strikes, every := 25, 150*time.Millisecond
	if long() {
		strikes, every = 2400, 250*time.Millisecond
	}
	seed := rand.Uint64()
	f := newFleet(t, 3)
	n := &nemesis{fleet: f, rnd: rand.New(rand.NewPCG(seed, 0)), doors: make([]door, 3), began: time.Now(), jobs: map[string]int{}}
	f.lease(time.Second)
	n.root, n.files = f.dataset(1)
	f.everywhere(n.root)
	for i := range n.doors {
		n.doors[i].open(t.Context())
	}
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for i := range f.nodes {
		for c := range 2 {
			clients.Go(func() { n.client(ctx, i, c, seed) })
		}
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var struck []string
	for range strikes {
		<-tick.C
		struck = append(struck, n.strike())
	}
	stop()
	clients.Wait()
	n.settle()
	if got := porcupine.CheckOperationsTimeout(jobModel, n.history, 2*time.Minute); got != porcupine.Ok {
		t.Errorf("the history of %d calls about %d jobs is %s", len(n.history), len(n.jobs), got)
	}
	t.Logf("seed %d: %d strikes, %d calls, %d jobs", seed, len(struck), len(n.history), len(n.jobs))
	if t.Failed() {
		t.Logf("what happened: %q", struck[max(0, len(struck)-100):])
	}
}
