package docker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/executor/executortest"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
)

// life takes a task through all its states, and tries each call again that the
// engine did not do, as a node does.
func (b *bench) life(ctx context.Context, task executor.Task) (exit executor.Exit, err error) {
	var id executor.ID
	again := func(call func() error) {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for try := 0; err == nil && ctx.Err() == nil; try++ {
			var fe *jobspec.FailureError
			cerr := call()
			if cerr == nil {
				return
			}
			if errors.As(cerr, &fe) || try == 300 {
				err = cerr
			}
			<-tick.C
		}
	}
	again(func() (err error) { id, err = b.ex.Create(ctx, task); return err })
	again(func() error { return b.ex.Start(ctx, id) })
	again(func() (err error) { exit, err = b.ex.Wait(ctx, id); return err })
	again(func() error { return b.ex.Logs(ctx, id, &executortest.Sink{}) })
	end := err
	err = nil
	again(func() error { return b.ex.Remove(ctx, id) })
	return exit, errors.Join(end, err)
}

// lives has several tasks at a time in all their states until it is told to
// stop, and checks what is told of each.
type lives struct {
	g      errgroup.Group
	stop   chan struct{} // closed by end
	ended  chan struct{} // one element per task that came to its end
	lost   atomic.Int32
	checks sync.Once
}

func (b *bench) lives(t *testing.T) *lives {
	l := &lives{stop: make(chan struct{}), ended: make(chan struct{}, 1000)}
	for range 4 {
		l.g.Go(func() error {
			for {
				select {
				case <-l.stop:
					return nil
				default:
				}
				task := b.task("script")
				task.Env = append(task.Env, "DUMMY_LINES=5", "DUMMY_SLEEP=100ms", "DUMMY_EXIT=5")
				exit, err := b.life(bounded(t), task)
				switch {
				case errors.Is(err, jobspec.KindLost.Error()):
					l.lost.Add(1)
				case err != nil || exit.Code != 5 || exit.OOM:
					return fmt.Errorf("a program that ends with 5 = %+v, %w, want that or lost", exit, err)
				}
				l.ended <- struct{}{}
			}
		})
	}
	return l
}

// some waits for the end of n tasks.
func (l *lives) some(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-l.ended:
		case <-bounded(t).Done():
			t.Fatal("no task comes to its end")
		}
	}
}

func (l *lives) end(t *testing.T) {
	t.Helper()
	l.checks.Do(func() {
		close(l.stop)
		if err := l.g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestF08EngineKilled ends the engine, orderly and not, and starts it anew. What
// is told of a program is true; what the engine took with it is lost, and only
// that; nothing is left. With IPDC_PROVE_LONG other containers are in the middle
// of every call meanwhile.
func TestF08EngineKilled(t *testing.T) {
	for _, live := range []bool{true, false} {
		t.Run(fmt.Sprintf("live-restore %v", live), func(t *testing.T) {
			eng := testenv.NewOwnEngine(t, map[string]any{"live-restore": live})
			b := newBenchAt(t, eng.Host, "")
			for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
				t.Run(sig.String(), func(t *testing.T) { b.overKill(t, eng, live, sig) })
			}
		})
	}
}

func (b *bench) overKill(t *testing.T, eng *testenv.OwnEngine, live bool, sig syscall.Signal) {
	script := func(sleep string, code int) executor.Task {
		task := b.task("script")
		task.Env = append(task.Env, "DUMMY_LINES=3", fmt.Sprint("DUMMY_EXIT=", code), "DUMMY_SLEEP="+sleep)
		return task
	}
	long := script("1h", 7)
	if live {
		long = script("3s", 7)
	}
	id, ended := b.start(t, long), b.start(t, script("0s", 5))
	made, err := b.ex.Create(bounded(t), script("0s", 6))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.ex.Remove(bounded(t), made) })
	b.await(t, id, "line 3")
	var exit executor.Exit
	var sink executortest.Sink
	waited, logged := make(chan error, 1), make(chan struct{})
	go func() {
		var err error
		exit, err = b.ex.Wait(bounded(t), id)
		waited <- err
	}()
	go func() {
		defer close(logged)
		_ = b.ex.Logs(bounded(t), id, &sink)
	}()
	if _, err := b.ex.Wait(bounded(t), ended); err != nil {
		t.Fatal(err)
	}
	finish := func() {}
	if os.Getenv("IPDC_PROVE_LONG") != "" {
		l := b.lives(t)
		l.some(t, 4)
		finish = func() { l.some(t, 6); l.end(t) }
	}
	eng.Kill(sig)
	if _, err := b.ex.Info(bounded(t)); !errors.Is(err, executor.ErrAway) {
		t.Errorf("Info of a dead engine = %v, want that it does not answer", err)
	}
	eng.Start()
	finish()
	switch err := <-waited; {
	case live && (err != nil || exit.Code != 7):
		t.Errorf("a program that outlives its engine = %+v, %v, want code 7", exit, err)
	case !live && !errors.Is(err, jobspec.KindLost.Error()):
		t.Errorf("a program that its engine took with it = %+v, %v, want lost", exit, err)
	}
	if <-logged; sink.Out.String() != "line 1\nline 2\nline 3\n" {
		t.Errorf("its output = %q, want each line once", sink.Out.String())
	}
	for id, code := range map[executor.ID]int{ended: 5, made: 6} {
		err := b.ex.Start(bounded(t), id)
		exit, werr := b.ex.Wait(bounded(t), id)
		if err := errors.Join(err, werr); err != nil || exit.Code != code {
			t.Errorf("a program that did not run meanwhile = %+v, %v, want code %d", exit, err, code)
		}
	}
	for _, id := range []executor.ID{id, ended, made} {
		if err := b.ex.Remove(bounded(t), id); err != nil {
			t.Error(err)
		}
	}
	if left, err := b.ex.List(bounded(t), prefix); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestF15ShimKilled kills the process that holds a container for the engine.
// The control is a program that kills itself: that is its own end.
func TestF15ShimKilled(t *testing.T) {
	eng := testenv.NewOwnEngine(t, nil)
	b := newBenchAt(t, eng.Host, "")
	task := b.task("script")
	task.Env = append(task.Env, "DUMMY_LINES=1", "DUMMY_SLEEP=1h")
	id := b.start(t, task)
	b.await(t, id, "line 1")
	shim := eng.Shim(string(id))
	if shim == 0 {
		t.Fatal("the container has no shim")
	}
	if err := syscall.Kill(shim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if exit, err := b.ex.Wait(bounded(t), id); !errors.Is(err, jobspec.KindLost.Error()) {
		t.Errorf("Wait = %+v, %v, want lost", exit, err)
	}
	if err := b.ex.Remove(bounded(t), id); err != nil {
		t.Error(err)
	}
	if left, err := b.ex.List(bounded(t), prefix); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	task = b.task("script")
	task.Env = append(task.Env, "DUMMY_SIGNAL=9")
	if exit, err := b.ex.Wait(bounded(t), b.start(t, task)); err != nil || exit.Code != 137 {
		t.Errorf("Wait for a program that kills itself = %+v, %v, want its code", exit, err)
	}
}

// TestEndedFromOutside has somebody else stop and kill containers: that is no
// failure of theirs. What this node stops is what it says.
func TestEndedFromOutside(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, other := b.behind(t, time.Minute)
	for name, by := range map[string]struct {
		ex   executor.Executor
		lost bool
	}{"another": {other, true}, "this one": {b.ex, false}} {
		task := b.task("script")
		task.Env = append(task.Env, "DUMMY_SLEEP=1h")
		id := b.start(t, task)
		if err := by.ex.Stop(bounded(t), id, 0); err != nil {
			t.Fatal(err)
		}
		exit, err := b.ex.Wait(bounded(t), id)
		if errors.Is(err, jobspec.KindLost.Error()) != by.lost || exit.Code < 128 {
			t.Errorf("Wait after a Stop by %s = %+v, %v, want lost: %v", name, exit, err, by.lost)
		}
	}
}
