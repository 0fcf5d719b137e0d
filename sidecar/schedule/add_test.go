package schedule_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/schedule"
)

// waits is a Holder that waits until it is let go, and then refuses the first
// schedule that it was asked for.
type waits struct {
	asked chan struct{} // when it is asked for the first one
	letGo chan struct{}
	once  sync.Once
}

func (h *waits) Hold(context.Context, jobspec.Schedule) (t *jobspec.Tenure, err error) {
	t = &jobspec.Tenure{Record: "r", Epoch: 1}
	h.once.Do(func() {
		close(h.asked)
		<-h.letGo
		t, err = nil, jobspec.KindNoQuorum.Errorf("1 of 3 keepers answers")
	})
	return t, err
}

func (*waits) Amend(context.Context, jobspec.Schedule) error   { return nil }
func (*waits) Release(context.Context, jobspec.Schedule) error { return nil }
func (*waits) Over(context.Context, jobspec.Schedule) (bool, error) {
	return false, nil
}
func (*waits) Ready(jobspec.Schedule) bool { return true }
func (*waits) Count(context.Context, jobspec.Schedule, jobspec.Counts) error {
	return nil
}

// The same schedule is added a second time while the keepers are asked about the
// first: what is acknowledged then stays, though the first is refused.
func TestAddAgainMeanwhile(t *testing.T) {
	w := newWorld(t, 1)
	for range 20 { // who comes first is by chance
		h := &waits{asked: make(chan struct{}), letGo: make(chan struct{})}
		e, err := schedule.New(schedule.Config{Store: w.st, Jobs: w, Holder: h})
		if err != nil {
			t.Fatal(err)
		}
		s := jobspec.Schedule{Tenant: "local", Name: "s", Cron: "@daily"}
		var first, second error
		var both sync.WaitGroup
		both.Go(func() { _, _, first = e.Add(t.Context(), s, func(jobspec.Spec) error { return nil }) })
		<-h.asked
		taken := make(chan struct{})
		both.Go(func() {
			_, _, second = e.Add(t.Context(), s, func(jobspec.Spec) error { close(taken); return nil })
		})
		<-taken
		close(h.letGo)
		both.Wait()
		if !errors.Is(first, jobspec.KindNoQuorum.Error()) || second != nil {
			t.Fatalf("the first add = %v, the second one = %v, want %s and none", first, second, jobspec.KindNoQuorum)
		}
		got, err := e.Schedule(t.Context(), "local", "s")
		if err != nil || got.Tenure == nil {
			t.Fatalf("what was acknowledged is %+v, %v", got.Tenure, err)
		}
		if _, err := e.Remove(t.Context(), "local", "s"); err != nil {
			t.Fatal(err)
		}
	}
}
