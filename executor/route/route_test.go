package route_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/executor/dummy"
	"github.com/ipdc/ipdc/executor/executortest"
	"github.com/ipdc/ipdc/executor/lazy"
	"github.com/ipdc/ipdc/executor/route"
	"github.com/ipdc/ipdc/jobspec"
)

const (
	image   = jobspec.ImageID("sha256:1111111111111111111111111111111111111111111111111111111111111111")
	routed  = jobspec.ImageID("sha256:3333333333333333333333333333333333333333333333333333333333333333")
	missing = jobspec.ImageID("sha256:2222222222222222222222222222222222222222222222222222222222222222")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Both ways through a router, one of them to an engine that is connected late,
// keep the contract.
func TestExecutor(t *testing.T) {
	for name, img := range map[string]jobspec.ImageID{"default": image, "route": routed} {
		t.Run(name, func(t *testing.T) {
			a, b := dummy.NewState(image), dummy.NewState(routed)
			defer a.Close()
			defer b.Close()
			executortest.Test(t, executortest.Harness{
				Open: func(*testing.T) executor.Executor {
					late := lazy.New(lazy.Config{Name: "dummy", Open: func(context.Context) (executor.Executor, string, error) {
						return dummy.New(a), "", nil
					}})
					return route.New(late, route.Route{Name: "other", Image: routed, Executor: dummy.New(b)})
				},
				Image: img, Missing: missing, Command: []string{"/probe", "script"},
			})
		})
	}
}

func TestIDsNameTheirExecutor(t *testing.T) {
	a, b := dummy.NewState(image), dummy.NewState(routed)
	defer a.Close()
	defer b.Close()
	ex := route.New(dummy.New(a), route.Route{Name: "other", Image: routed, Executor: dummy.New(b)})
	task := executor.Task{
		Name: "ipdctest-a", Image: routed, Command: []string{"/x"}, WorkDir: "/", UID: 7, GID: 7,
		CPU: 1000, Memory: jobspec.GiB, Pids: 64, NoFile: 64, Tmp: jobspec.MiB, Shm: jobspec.MiB, LogSize: jobspec.MiB,
	}
	id, err := ex.Create(t.Context(), task)
	if err != nil || !strings.HasPrefix(string(id), "other/") {
		t.Errorf("Create = %s, %v, want an id of other", id, err)
	}
	task.Image, task.Name = image, "ipdctest-b"
	if id, err = ex.Create(t.Context(), task); err != nil || strings.Contains(string(id), "/") {
		t.Errorf("Create = %s, %v, want an id of the default executor's own", id, err)
	}
	if list, err := ex.List(t.Context(), "ipdctest-"); err != nil || len(list) != 2 {
		t.Errorf("List = %+v, %v, want both", list, err)
	}
}

var errDown = errors.New("the engine is down")

// A node without its engine works as far as it goes, and has it as soon as it
// answers.
func TestEngineThatComesLate(t *testing.T) {
	a, b := dummy.NewState(image), dummy.NewState(routed)
	defer a.Close()
	defer b.Close()
	down := errDown
	late := lazy.New(lazy.Config{Name: "dummy", Hint: "start it", Again: time.Nanosecond, Open: func(context.Context) (executor.Executor, string, error) {
		return dummy.New(a), "", down
	}})
	ex := route.New(late, route.Route{Name: "other", Image: routed, Executor: dummy.New(b)})
	err := late.Ready(t.Context())
	if f := jobspec.AsFailure(err); f.Kind != jobspec.KindPolicy || f.Detail != "this node has no container engine: the engine is down" || f.Hint != "start it" {
		t.Errorf("Ready = %+v, want E_POLICY with reason and hint", f)
	}
	if !errors.Is(err, executor.ErrNoEngine) {
		t.Errorf("Ready = %v, want it marked as what may pass", err)
	}
	if _, err := late.Info(t.Context()); !errors.Is(err, errDown) || !strings.Contains(err.Error(), "start it") {
		t.Errorf("Info = %v, want reason and hint", err)
	}
	if _, err := late.Wait(t.Context(), "x"); !errors.Is(err, errDown) {
		t.Errorf("Wait = %v, want the reason", err)
	}
	if list, err := ex.List(t.Context(), ""); err != nil || len(list) != 0 {
		t.Errorf("List = %v, %v, want nothing", list, err)
	}
	if info, err := ex.Info(t.Context()); err != nil || info.Name == "" {
		t.Errorf("Info of both = %+v, %v, want that of the one that can be used", info, err)
	}
	down = nil
	if err := late.Ready(t.Context()); err != nil {
		t.Errorf("Ready when the engine answers = %v", err)
	}
}

// While an engine takes its time to answer, who cannot wait need not.
func TestSlowEngineHoldsNobody(t *testing.T) {
	a := dummy.NewState(image)
	defer a.Close()
	asked, answer := make(chan struct{}), make(chan struct{})
	late := lazy.New(lazy.Config{Name: "dummy", Open: func(context.Context) (executor.Executor, string, error) {
		close(asked) // twice would panic: there is one connection
		<-answer
		return dummy.New(a), "", nil
	}})
	var first error
	var wg sync.WaitGroup
	wg.Go(func() { first = late.Ready(t.Context()) })
	<-asked
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := late.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Ready of a caller who cannot wait = %v, want its deadline", err)
	}
	close(answer)
	wg.Wait()
	if err := late.Ready(t.Context()); err != nil || first != nil {
		t.Errorf("Ready = %v, then %v", first, err)
	}
}

// A caller that went away says nothing about the engine to the next one.
func TestCancelledAttemptIsNotRemembered(t *testing.T) {
	a := dummy.NewState(image)
	defer a.Close()
	late := lazy.New(lazy.Config{Name: "dummy", Again: time.Hour, Open: func(ctx context.Context) (executor.Executor, string, error) {
		return dummy.New(a), "", ctx.Err()
	}})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := late.Ready(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("Ready of a cancelled caller = %v, want context.Canceled", err)
	}
	if err := late.Ready(t.Context()); err != nil {
		t.Errorf("Ready of the next = %v", err)
	}
}
