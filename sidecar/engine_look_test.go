package sidecar_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/executor"
)

// several is an executor made of others.
type several struct {
	executor.Executor
	members []executor.Executor
}

func (e several) Members() []executor.Executor { return e.members }

// awaiting says how it is only once the other one is asked.
type awaiting struct {
	executor.Executor
	mutes *atomic.Bool // from now on
	asked <-chan struct{}
}

func (e awaiting) Info(ctx context.Context) (executor.Info, error) {
	if !e.mutes.Load() {
		return executor.Info{Name: "mute"}, nil
	}
	select {
	case <-e.asked:
		return executor.Info{Name: "mute"}, nil
	case <-ctx.Done():
		return executor.Info{Name: "mute"}, away()
	}
}

// telling tells that somebody has looked at it.
type telling struct {
	executor.Executor
	mutes *atomic.Bool
	once  *sync.Once
	asked chan<- struct{}
}

func (e telling) Info(ctx context.Context) (executor.Info, error) {
	if e.mutes.Load() {
		e.once.Do(func() { close(e.asked) })
	}
	if ctx.Err() != nil {
		return executor.Info{Name: "other"}, away()
	}
	return executor.Info{Name: "other"}, nil
}

// TestF09OtherEngineIsWell: an engine that does not say how it is makes no other
// one look bad.
func TestF09OtherEngineIsWell(t *testing.T) {
	b := newBench(t)
	mutes, was := new(atomic.Bool), make(chan struct{})
	b.wrap = func(ex executor.Executor) executor.Executor {
		return several{ex, []executor.Executor{awaiting{ex, mutes, was}, telling{ex, mutes, new(sync.Once), was}}}
	}
	b.restart()
	mutes.Store(true)
	n, err := b.Node(t.Context())
	if err != nil || len(n.Executors) != 2 {
		t.Fatalf("node = %+v, %v, want both engines", n.Executors, err)
	}
	for i, want := range []string{"mute", "other"} {
		if e := n.Executors[i]; e.Name != want || e.Problem != "" {
			t.Errorf("engine %d = %+v, want %s without a problem", i, e, want)
		}
	}
}

// stuckRemovals is an engine of which no container can be removed. It notes how
// long each removal might have taken.
type stuckRemovals struct {
	executor.Executor
	mu    *sync.Mutex
	most  *time.Duration
	first map[string]bool // containers that a sweep began with
	next  *bool           // the next removal is the first of a sweep
}

func (e stuckRemovals) List(ctx context.Context, prefix string) ([]executor.Container, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	*e.next = true
	return []executor.Container{{ID: "a", Name: prefix + "a"}, {ID: "b", Name: prefix + "b"}, {ID: "c", Name: prefix + "c"}}, nil
}

func (e stuckRemovals) Remove(ctx context.Context, id executor.ID) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	end, bounded := ctx.Deadline()
	if left := time.Until(end); !bounded {
		*e.most = time.Hour
	} else {
		*e.most = max(*e.most, left)
	}
	if *e.next {
		*e.next, e.first[string(id)] = false, true
	}
	return errors.New("device or resource busy")
}

// TestF13RemovalHangs: the sweeper waits a short while for each container, and
// begins with another one at times, so that all have their turn.
func TestF13RemovalHangs(t *testing.T) {
	b := newBench(t)
	b.sweepEvery = time.Millisecond
	var most time.Duration
	var next bool
	stuck := stuckRemovals{mu: new(sync.Mutex), most: &most, first: map[string]bool{}, next: &next}
	b.wrap = func(ex executor.Executor) executor.Executor { stuck.Executor = ex; return stuck }
	b.restart()
	began := func() int {
		stuck.mu.Lock()
		defer stuck.mu.Unlock()
		return len(stuck.first)
	}
	for late := time.Now().Add(2 * time.Minute); began() < 3; runtime.Gosched() {
		if time.Now().After(late) {
			t.Fatalf("sweeps begin with %d of 3 containers", began())
		}
	}
	stuck.mu.Lock()
	defer stuck.mu.Unlock()
	if most > 10*time.Second {
		t.Errorf("a removal may take %s of a sweep, want 10 s at most", most)
	}
}
