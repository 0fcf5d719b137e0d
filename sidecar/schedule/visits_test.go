package schedule_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/schedule"
	"github.com/ipdc/ipdc/store"
)

// slowJobs are jobs of which some are not taken until they are let go.
type slowJobs struct {
	slow  func(schedule.Run) bool
	begun chan string   // the slow ones, by key
	letGo chan struct{} // closed by the test

	mu   sync.Mutex
	made map[jobspec.JobID]bool
}

func (j *slowJobs) Submit(ctx context.Context, r schedule.Run) error {
	if j.slow(r) {
		j.begun <- r.Key()
		select {
		case <-j.letGo:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.made[r.Job] = true
	return nil
}

func (j *slowJobs) Ended(_ context.Context, _ string, id jobspec.JobID) (schedule.End, bool, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.made[id] {
		return schedule.End{}, false, jobspec.KindNotFound.Errorf("there is no job %s", id)
	}
	return schedule.End{}, false, nil
}

func (j *slowJobs) Stop(context.Context, string, jobspec.JobID) error { return nil }

// slowEngine has eight schedules, all due an hour after they were made, of which
// the first's submit is slow.
func slowEngine(t *testing.T, within time.Duration) (e *schedule.Engine, j *slowJobs, list []jobspec.Schedule) {
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "state.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	j = &slowJobs{made: map[jobspec.JobID]bool{}, begun: make(chan string, 100), letGo: make(chan struct{})}
	var mu sync.Mutex
	now := epoch
	e, err = schedule.New(schedule.Config{
		Store: st, Jobs: j, Parallel: 2, Within: within, Poll: 5 * time.Millisecond,
		Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 8 {
		s, _, err := e.Add(t.Context(), jobspec.Schedule{Tenant: "local", Name: fmt.Sprint("s", n), Cron: "@hourly", CatchUp: 1, Overlap: jobspec.OverlapAllow}, func(jobspec.Spec) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	j.slow = func(r schedule.Run) bool { return r.Schedule == list[0].ID }
	mu.Lock()
	now = now.Add(time.Hour)
	mu.Unlock()
	return e, j, list
}

// awaitStarted waits until the newest instant of a schedule has a job.
func awaitStarted(t *testing.T, e *schedule.Engine, name string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(2 * time.Minute); ; {
		rows, err := e.History(t.Context(), "local", name, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == 1 && rows[0].State == jobspec.InstantStarted {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the instant of %s has no job: %+v", name, rows)
		}
	}
}

// A job that is long in coming holds up no other schedule, nor the recording of
// instants.
func TestOneSlowSubmitHoldsUpNobody(t *testing.T) {
	e, j, list := slowEngine(t, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = e.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	<-j.begun
	for _, s := range list[1:] {
		awaitStarted(t, e, s.Name)
	}
	if i, err := e.RunNow(t.Context(), "local", "s7"); err != nil || i.State != jobspec.InstantStarted {
		t.Errorf("RunNow = %+v, %v, while the other waits", i, err)
	}
	rows, err := e.History(t.Context(), "local", list[0].Name, 0, 0)
	if err != nil || len(rows) != 1 || rows[0].State != jobspec.InstantDue {
		t.Errorf("the slow one: %+v, %v, want one due instant", rows, err)
	}
	close(j.letGo)
	awaitStarted(t, e, list[0].Name)
}

// A submit that never comes back is given up for now, and tried again.
func TestASubmitHasALimit(t *testing.T) {
	e, j, list := slowEngine(t, 20*time.Millisecond)
	if _, err := e.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows, err := e.History(t.Context(), "local", list[0].Name, 0, 0)
	if err != nil || len(rows) != 1 || rows[0].State != jobspec.InstantDue || len(j.made) != len(list)-1 {
		t.Errorf("%d jobs; the slow one: %+v, %v, want one due instant", len(j.made), rows, err)
	}
}

// Who asks for a run and goes away does not take the submit with him.
func TestRunNowGoesOnWithoutItsCaller(t *testing.T) {
	e, j, _ := slowEngine(t, time.Hour)
	j.slow = func(r schedule.Run) bool { return r.Kind == jobspec.InstantManual }
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := e.RunNow(ctx, "local", "s3"); err == nil {
			t.Error("RunNow of a caller who has gone = nil")
		}
	})
	<-j.begun
	cancel()
	wg.Wait()
	close(j.letGo)
	awaitStarted(t, e, "s3")
}
