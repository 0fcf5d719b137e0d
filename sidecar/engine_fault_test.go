package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// TestF07Reboot takes all containers away while the node is down, as a reboot
// does, also with containers still shown: what ran is lost and tried again, and
// nothing stays running.
func TestF07Reboot(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]bool{"containers gone": true, "containers still shown": false} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.slow(endless)
			b.restart()
			once := spec("DUMMY_WRITE=/outputs/a:x")
			once.Retry.Attempts = 1
			ids := []string{b.submit(spec("DUMMY_WRITE=/outputs/a:x")), b.submit(once)}
			for _, id := range ids {
				b.until(id, jobspec.AttemptRunning)
			}
			b.stop()
			err := b.store.Update(t.Context(), func(tx *store.Tx) error { return tx.PutMeta("boot_id", "an earlier one") })
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range ids {
				if gone {
					b.state.Vanish(sidecar.ObjectPrefix(b.key.ID()) + id + "-0-1")
				}
			}
			b.wrap = nil // programs of this boot end
			b.start()
			if j := b.final(ids[0]); j.State != jobspec.JobSucceeded || len(j.Attempts) != 2 || j.Attempts[0].Failure.Kind != jobspec.KindLost {
				t.Errorf("job = %s after %d attempts, want success in the second, the first lost", j.State, len(j.Attempts))
			}
			if j := b.final(ids[1]); j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindLost {
				t.Errorf("a job that is not tried again = %s %+v, want lost", j.State, j.Failure)
			}
			b.nothingLeft(ids[0])
			b.nothingLeft(ids[1])
		})
	}
}

// away is what an engine that is stopped answers.
func away() error { return fmt.Errorf("dial unix: %w", executor.ErrAway) }

// An engine that is away for long is waited for; one that stays away costs an
// attempt that has not begun, which is lost.
func TestF75EngineAway(t *testing.T) {
	b := newBench(t)
	running := b.submit(spec("DUMMY_SLEEP=1h", "DUMMY_WRITE=/outputs/a:x"))
	b.until(running, jobspec.AttemptRunning)
	b.patience = time.Millisecond
	b.restart()
	b.state.SetDown(away())
	waiting := b.submit(spec("DUMMY_WRITE=/outputs/a:x"))
	if j := b.final(waiting); j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindLost && j.Failure.Kind != jobspec.KindInternal {
		t.Errorf("job = %s %+v, want lost", j.State, j.Failure)
	}
	n, err := b.Node(t.Context())
	if err != nil || n.Executors[0].Problem == "" {
		t.Errorf("node = %+v, %v, want what is wrong with its engine", n.Executors, err)
	}
	b.state.Release() // it ends meanwhile
	b.state.SetDown(nil)
	if j := b.final(running); j.State != jobspec.JobSucceeded || len(j.Attempts) != 1 {
		t.Errorf("a job that ran meanwhile = %s %+v after %d attempts, want success in one", j.State, j.Failure, len(j.Attempts))
	}
	if j := b.final(b.submit(spec("DUMMY_WRITE=/outputs/a:x"))); j.State != jobspec.JobSucceeded {
		t.Errorf("a job after that = %s %+v", j.State, j.Failure)
	}
	if n, err := b.Node(t.Context()); err != nil || n.Executors[0].Problem != "" {
		t.Errorf("node = %+v, %v, want an engine that is well again", n.Executors, err)
	}
}

// hung is an engine that takes calls that make containers and answers none
// until it is mended.
type hung struct {
	executor.Executor
	mended chan struct{}
}

func (e hung) Create(ctx context.Context, t executor.Task) (executor.ID, error) {
	select {
	case <-e.mended:
		return e.Executor.Create(ctx, t)
	case <-time.After(20 * time.Millisecond): // its adapter's deadline
		return "", away()
	}
}

func (e hung) Info(ctx context.Context) (executor.Info, error) {
	select {
	case <-e.mended:
		return e.Executor.Info(ctx)
	default:
		return executor.Info{Name: "dummy"}, away()
	}
}

// TestF09EngineHangsUnderJobs: jobs wait and say why, what runs goes on, the API
// answers, and all of them end once the engine answers.
func TestF09EngineHangsUnderJobs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	running := b.submit(spec("DUMMY_SLEEP=1h", "DUMMY_WRITE=/outputs/a:x"))
	b.until(running, jobspec.AttemptRunning)
	h := hung{mended: make(chan struct{})}
	b.wrap = func(ex executor.Executor) executor.Executor { h.Executor = ex; return h }
	b.patience = time.Hour
	b.restart()
	var ids []string
	for i := range 3 {
		ids = append(ids, b.submit(spec(fmt.Sprint("DUMMY_WRITE=/outputs/a:", i))))
	}
	b.state.Release()
	if j := b.final(running); j.State != jobspec.JobSucceeded {
		t.Errorf("a job that ran already = %s %+v", j.State, j.Failure)
	}
	if n, err := b.Node(t.Context()); err != nil || !strings.Contains(n.Executors[0].Problem, "does not answer") {
		t.Errorf("node = %+v, %v, want an engine that does not answer", n.Executors, err)
	}
	close(h.mended)
	for _, id := range ids {
		if j := b.final(id); j.State != jobspec.JobSucceeded || len(j.Attempts) != 1 {
			t.Errorf("job = %s %+v after %d attempts, want success in one", j.State, j.Failure, len(j.Attempts))
		}
	}
}

// mute is an engine that starts programs and does not say so until it is mended.
type mute struct {
	executor.Executor
	asked  atomic.Int64
	mended chan struct{}
}

func (e *mute) Start(ctx context.Context, id executor.ID) error {
	defer e.asked.Add(1)
	err := e.Executor.Start(ctx, id)
	select {
	case <-e.mended:
		return err
	default:
		return errors.Join(err, away())
	}
}

// A program that may have been started is waited for longer than the engine
// otherwise is, so that it does not run twice.
func TestF11StartAnswerLostForLong(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ex := &mute{mended: make(chan struct{})}
	b.wrap = func(in executor.Executor) executor.Executor { ex.Executor = in; return ex }
	b.patience = time.Millisecond
	b.restart()
	id := b.submit(spec("DUMMY_WRITE=/outputs/a:x"))
	b.when(id, func(j wire.Job) bool { return ex.asked.Load() >= 3 || j.State.Final() })
	close(ex.mended)
	if j := b.final(id); j.State != jobspec.JobSucceeded || len(j.Attempts) != 1 || b.state.Count("create") != 1 {
		t.Errorf("job = %s %+v after %d attempts and %d containers, want success in one", j.State, j.Failure, len(j.Attempts), b.state.Count("create"))
	}
}

// shy is an engine that says nothing of itself until it is told to.
type shy struct {
	executor.Executor
	asked atomic.Int64
	told  chan struct{}
}

func (e *shy) Info(ctx context.Context) (executor.Info, error) {
	e.asked.Add(1)
	select {
	case <-e.told:
		return e.Executor.Info(ctx)
	case <-ctx.Done():
		return executor.Info{}, away()
	}
}

// A strict job that waits for room goes on in a node that is started anew, also
// when its engine comes later: what that has for it is asked before it is judged.
func TestStrictJobOverRestart(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]bool{"the engine is up": false, "the engine comes later": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.state.SetStrict("runsc")
			all := jobspec.Resources{CPU: 2000, Memory: jobspec.GiB, Disk: jobspec.GiB}
			busy, s := spec("DUMMY_SLEEP=1h"), spec("DUMMY_WRITE=/outputs/a:x")
			busy.Resources, s.Resources, s.Isolation = all, all, jobspec.IsolationStrict
			first := b.submit(busy)
			b.until(first, jobspec.AttemptRunning)
			id := b.submit(s)
			b.when(id, func(j wire.Job) bool { return j.State == jobspec.JobQueued })
			b.stop()
			ex := &shy{told: make(chan struct{})}
			b.wrap = func(in executor.Executor) executor.Executor { ex.Executor = in; return ex }
			if down {
				b.state.SetDown(away())
				close(ex.told)
			}
			b.start()
			// The sweep asks, and so does the task; it is not refused meanwhile.
			b.when(id, func(j wire.Job) bool { return ex.asked.Load() >= 2 || j.State.Final() })
			if down {
				b.state.SetDown(nil)
			} else {
				close(ex.told)
			}
			b.when(id, func(j wire.Job) bool { return b.Strict() == "runsc" || j.State.Final() })
			b.state.Release()
			if j := b.final(id); j.State != jobspec.JobSucceeded {
				t.Errorf("job = %s %+v, want success", j.State, j.Failure)
			}
			b.final(first)
		})
	}
}

// when waits until a job is as it is to be.
func (b *bench) when(ref string, is func(wire.Job) bool) {
	b.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); ; <-tick.C {
		j, err := b.Job(b.t.Context(), "t", ref)
		if err != nil || time.Now().After(deadline) {
			b.t.Fatalf("job %s is %s, %v", ref, j.State, err)
		}
		if is(j) {
			return
		}
	}
}

// A submit of a strict job to a node whose engine does not answer is refused,
// and the refusal says so.
func TestStrictJobOfSilentEngine(t *testing.T) {
	b := newBench(t)
	b.state.SetDown(away())
	s := spec()
	s.Isolation = jobspec.IsolationStrict
	_, _, err := b.Submit(t.Context(), api.Submission{Tenant: "t", Spec: s})
	if f := jobspec.AsFailure(err); f.Kind != jobspec.KindPolicy || !strings.Contains(f.Detail, "does not answer") {
		t.Errorf("Submit = %v, want E_POLICY that says that the engine does not answer", err)
	}
}

// TestF13RemovalsFail: an engine that cannot remove containers keeps no other
// job from running; the failures are counted, and the sweeper tries again.
func TestF13RemovalsFail(t *testing.T) {
	b := newBench(t)
	b.sweepEvery = 20 * time.Millisecond
	b.restart()
	var ids []string
	for i := range 4 {
		id := b.submit(spec("DUMMY_FAIL_REMOVE=3*device or resource busy", fmt.Sprint("DUMMY_WRITE=/outputs/a:", i)))
		if j := b.final(id); j.State != jobspec.JobSucceeded {
			t.Errorf("job = %s %+v", j.State, j.Failure)
		}
		ids = append(ids, id)
	}
	for late := time.Now().Add(2 * time.Minute); b.counter("ipdc_removals_failed_total") < 12; runtime.Gosched() {
		if time.Now().After(late) {
			t.Fatalf("%v removals failed, want 12", b.counter("ipdc_removals_failed_total"))
		}
	}
	for _, id := range ids {
		b.nothingLeft(id)
	}
}

// counter returns a metric of the present start.
func (b *bench) counter(name string) (n float64) {
	b.t.Helper()
	families, err := prometheus.Gatherers{b.registry}.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			n += f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return n
}

// TestF14OOM is not tried again unless the job asks for that.
func TestF14OOM(t *testing.T) {
	b := newBench(t)
	s := spec("DUMMY_OOM=1")
	if j := b.final(b.submit(s)); j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindOOM || len(j.Attempts) != 1 {
		t.Errorf("job = %s %+v after %d attempts, want oom after one", j.State, j.Failure, len(j.Attempts))
	}
	s.Retry.On = []jobspec.Kind{jobspec.KindOOM}
	s.Retry.Attempts = 2
	if j := b.final(b.submit(s)); j.Failure == nil || j.Failure.Kind != jobspec.KindOOM || len(j.Attempts) != 2 {
		t.Errorf("job = %s %+v after %d attempts, want oom after two", j.State, j.Failure, len(j.Attempts))
	}
}

// TestF69LogUnreadable: the result does not suffer, and the log says that it is
// not whole.
func TestF69LogUnreadable(t *testing.T) {
	b := newBench(t)
	whole, cut := "DUMMY_STDOUT=text", "DUMMY_FAIL_LOGS=the engine cannot read the log"
	id := b.submit(spec(whole, cut, "DUMMY_WRITE=/outputs/a:x"))
	j := b.final(id)
	if j.State != jobspec.JobSucceeded || b.outputs(j.Result)["a"] != "x" || !j.Attempts[0].LogTruncated {
		t.Errorf("job = %s %+v, log_truncated %v, want its result and true", j.State, j.Failure, j.Attempts[0].LogTruncated)
	}
	if log := b.log(id, false); !strings.Contains(log, "the log is truncated") {
		t.Errorf("log = %q, want that it is truncated", log)
	}
	if j := b.final(b.submit(spec(whole, "DUMMY_WRITE=/outputs/a:y"))); j.Attempts[0].LogTruncated {
		t.Error("a whole log is said to be truncated")
	}
}
