package sidecar_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// worker is a thin member.
type worker struct {
	*simulation
	index int
	key   identity.Key
	slots int
	post  *bus.Post
	queue chan *assigned
	busy  time.Duration // in all slots
	mu    sync.Mutex
	local int64 // bytes that it had of what it was given
	given int64
	ended time.Time // of its last task
}

type assigned struct {
	wire.Assign
	owner identity.ID
	work  wire.Work
	ended context.CancelFunc // of its signs of life
}

// hire adds a worker with one to four slots.
func (s *simulation) hire(ctx context.Context, i int) *worker {
	key, err := identity.Generate()
	if err != nil {
		s.t.Fatal(err)
	}
	w := &worker{simulation: s, index: i, key: key, slots: 1 + i%4, queue: make(chan *assigned, s.size.Tasks)}
	post, leave := s.join(key, slog.New(slog.DiscardHandler))
	w.post = post
	bus.Answer(post, "holds", w.holds)
	bus.Answer(post, "assign", w.assign)
	bus.Handle(post, "revoke", func(context.Context, bus.Letter, wire.Revoke) {})
	s.work.Go(func() { _ = post.Run(ctx); leave() })
	for range w.slots {
		s.work.Go(func() { w.labour(ctx) })
	}
	return w
}

// read reads a file of the owner.
func (w *worker) read(ctx context.Context, c jobspec.CID, v any) error {
	var text strings.Builder
	n, err := tree.Copy(ctx, w.owner.ipfs, c, &text, ipfs.Budget{})
	if err != nil {
		return err
	}
	w.control.Add(n)
	return json.Unmarshal([]byte(text.String()), v)
}

func (w *worker) has(c jobspec.CID) bool {
	home, ok := w.homes[c]
	return ok && (home>>32 == uint64(w.index) || home&(1<<32-1) == uint64(w.index))
}

func (w *worker) holds(ctx context.Context, _ bus.Letter, q wire.Holds) (wire.Held, error) {
	defer w.takes()()
	var wanted []jobspec.CID
	if err := w.read(ctx, q.List, &wanted); err != nil {
		return wire.Held{}, err
	}
	bits := make([]byte, (len(wanted)+7)/8)
	for i, c := range wanted {
		if w.has(c) {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	return wire.Held{Bits: bits}, nil
}

func (w *worker) assign(ctx context.Context, l bus.Letter, a wire.Assign) (wire.Assigned, error) {
	defer w.takes()()
	job := assigned{Assign: a, owner: l.From}
	if err := w.read(ctx, a.Work, &job.work); err != nil {
		return wire.Assigned{}, err
	}
	ctx, job.ended = context.WithCancel(w.t.Context())
	w.simulation.work.Go(func() { w.beat(ctx, job) })
	w.queue <- &job
	return wire.Assigned{}, nil
}

// beat gives signs of life of a task that waits or runs.
func (w *worker) beat(ctx context.Context, a assigned) {
	tick := time.NewTicker(a.Lease.Std() / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_, _ = bus.Request[wire.Beating](ctx, w.post, a.owner, "beat", wire.Beat{Attempt: a.Attempt, Token: a.Token})
		}
	}
}

// labour is one slot.
func (w *worker) labour(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-w.queue:
			w.do(ctx, *a)
		}
	}
}

// do takes a task's time, and reports it.
func (w *worker) do(ctx context.Context, a assigned) {
	var took time.Duration
	w.mu.Lock()
	for _, it := range a.work.Plan.Tasks[0].Items {
		per := remotePerKiB
		if w.has(it.CID) {
			per = secondPerKiB
			w.local += it.Size
		}
		w.given += it.Size
		took += time.Duration(it.Size) * per / 1024
	}
	w.busy += took
	w.mu.Unlock()
	select {
	case <-time.After(took):
	case <-ctx.Done():
		return
	}
	w.mu.Lock()
	w.ended = time.Now()
	w.mu.Unlock()
	w.simulation.work.Go(func() { w.report(ctx, a) }) // the slot is free
}

// report repeats a report as a sidecar does.
func (w *worker) report(ctx context.Context, a assigned) {
	defer a.ended()
	outcome := w.outcome(ctx, a)
	for tries := 0; ctx.Err() == nil; tries++ {
		got, err := bus.Request[wire.Reported](ctx, w.post, a.owner, "report", wire.Report{Attempt: a.Attempt, Token: a.Token, Outcome: outcome})
		if err != nil || got.Taken {
			return
		}
		time.Sleep(250 * time.Millisecond << min(tries, 3))
	}
}

// outcome says that each file gave a small one of its name.
func (w *worker) outcome(ctx context.Context, a assigned) jobspec.CID {
	defer w.takes()()
	task := a.work.Plan.Tasks[0]
	mem := ipfstest.NewMemory()
	out := wire.Outcome{ItemsDone: len(task.Items)}
	var files []merge.File
	for _, it := range task.Items {
		text := []byte("what was made of " + it.Path)
		files = append(files, merge.File{Path: it.Path, CID: w.put(text), Size: int64(len(text))})
		out.Items = append(out.Items, wire.ItemOutcome{Path: it.Path, Outputs: []string{it.Path}})
	}
	root, err := merge.Files(ctx, mem, files)
	if err != nil {
		w.t.Error(err)
		return root
	}
	w.copyNodes(mem, root)
	now := time.Now().UTC()
	rc, err := jobspec.SignReceipt(w.key, jobspec.Receipt{
		Version: jobspec.ReceiptVersion, Attempt: a.Attempt, Token: a.Token, SpecCID: a.work.Plan.SpecCID, TaskKey: task.Key,
		Input: task.Shard, Image: a.work.Plan.Image, Output: root, Started: now, Exited: now, Worker: w.key.ID().String(),
	})
	out.Receipt = &rc
	text, err2 := json.Marshal(out)
	if err != nil || err2 != nil {
		w.t.Error(err, err2)
	}
	return w.put(text)
}

// takes counts the processor time until the function it returns is called.
func (s *simulation) takes() (done func()) {
	runtime.LockOSThread()
	begun := threadTime()
	return func() {
		s.thin.Add(threadTime() - begun)
		runtime.UnlockOSThread()
	}
}

func threadTime() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) // never fails
	return ts.Nano()
}
