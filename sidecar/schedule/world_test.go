package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/schedule"
	"github.com/ipdc/ipdc/store"
)

func TestMain(m *testing.M) {
	testenv.InMemory()
	os.Exit(m.Run())
}

// world is a machine with a clock that can be set, a store that survives a
// kill, and jobs that run by themselves.
type world struct {
	t    *testing.T
	rnd  *rand.Rand
	st   *store.Store
	e    *schedule.Engine
	wall time.Time
	ran  time.Duration

	jobs  map[jobspec.JobID]*simJob
	going map[*simJob]bool // those that have not ended
	runs  map[string]int   // how often the job of an instant was begun, by its key

	killAt  string  // the place of a kill; "" = any
	kill    float64 // probability at each place between two durable steps
	refuse  float64 // of a refusal for now
	dead    bool
	kills   int
	twice   bool // a second submit makes a second job
	noRows  bool
	heads   schedule.Heads
	holder  schedule.Holder
	history int
	cap     int           // schedules of a tenant
	long    time.Duration // of each job; 0 = any
}

type simJob struct {
	ends    time.Duration // by world.ran
	stopped bool
}

var errKilled = errors.New("killed")

func newWorld(t *testing.T, seed uint64) *world {
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "state.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	w := &world{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), st: st, wall: epoch, jobs: map[jobspec.JobID]*simJob{}, going: map[*simJob]bool{}, runs: map[string]int{}, history: 1 << 30, cap: 1000,
	}
	return w
}

// boot starts the node anew.
func (w *world) boot() {
	w.t.Helper()
	w.dead = false
	e, err := schedule.New(schedule.Config{
		Store: w.st, Jobs: w, Heads: w.heads, Holder: w.holder, Now: func() time.Time { return w.wall }, Elapsed: func() time.Duration { return w.ran },
		Parallel: 1, Poll: 6 * time.Hour, Step: w.step, History: w.history, PerTenant: w.cap,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.noRows {
		e.WithoutRows()
	}
	w.e = e
}

func (w *world) step(place string) error {
	if w.dead || w.kill > 0 && (w.killAt == "" || w.killAt == place) && w.rnd.Float64() < w.kill {
		w.dead = true
		return errKilled
	}
	return nil
}

// tick is one pass; after a kill the node stays down for a while.
func (w *world) tick() (wait time.Duration) {
	w.t.Helper()
	wait, err := w.e.Tick(w.t.Context())
	switch {
	case w.dead:
		w.kills++
		w.pass(w.downtime())
		w.boot()
		return 0
	case err != nil:
		w.t.Fatalf("Tick: %v", err)
	}
	for j := range w.going {
		if left := j.ends - w.ran; left > 0 {
			wait = min(wait, max(left, 20*time.Minute)) // a pass for each of them would be most of all passes
		} else {
			delete(w.going, j)
		}
	}
	return wait
}

// pass lets time go by.
func (w *world) pass(d time.Duration) { w.wall, w.ran = w.wall.Add(d), w.ran+d }

func (w *world) downtime() time.Duration {
	switch r := w.rnd.IntN(50); {
	case r == 0:
		return time.Duration(w.rnd.IntN(24 * int(time.Hour)))
	case r < 10:
		return time.Duration(w.rnd.IntN(3 * int(time.Hour)))
	}
	return time.Duration(w.rnd.IntN(2 * int(time.Minute)))
}

// Submit implements [schedule.Jobs].
func (w *world) Submit(_ context.Context, r schedule.Run) error {
	if w.rnd.Float64() < w.refuse {
		return jobspec.KindLimit.Errorf("the queue is full")
	}
	if _, ok := w.jobs[r.Job]; ok && !w.twice {
		return nil
	}
	j := &simJob{ends: w.ran + time.Duration(w.rnd.IntN(int(90*time.Minute)))}
	if w.long > 0 {
		j.ends = w.ran + w.long
	}
	w.jobs[r.Job], w.going[j] = j, true
	w.runs[r.Key()]++
	return nil
}

// Ended implements [schedule.Jobs].
func (w *world) Ended(_ context.Context, _ string, id jobspec.JobID) (schedule.End, bool, error) {
	j, ok := w.jobs[id]
	if !ok {
		return schedule.End{}, false, jobspec.KindNotFound.Errorf("there is no job %s", id)
	}
	if j.stopped {
		return schedule.End{State: jobspec.JobStopped, Finished: w.wall}, true, nil
	}
	return schedule.End{State: jobspec.JobSucceeded, Finished: w.wall}, j.ends <= w.ran, nil
}

// Stop implements [schedule.Jobs].
func (w *world) Stop(_ context.Context, _ string, id jobspec.JobID) error {
	if j := w.jobs[id]; j != nil && j.ends > w.ran {
		j.stopped, j.ends = true, w.ran
	}
	return nil
}

// add makes a schedule.
func (w *world) add(s jobspec.Schedule) jobspec.Schedule {
	w.t.Helper()
	s.Tenant = "local"
	got, _, err := w.e.Add(w.t.Context(), s, func(jobspec.Spec) error { return nil })
	if err != nil {
		w.t.Fatalf("Add(%s): %v", s.Name, err)
	}
	return got
}

func (w *world) rows(s jobspec.Schedule, limit int) []jobspec.Instant {
	w.t.Helper()
	list, err := w.e.History(w.t.Context(), "local", s.Name, limit, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// judge says what is wrong with the history of a schedule: each instant up to
// now was run once, or is listed as missed and was not run.
func (w *world) judge(s jobspec.Schedule) (problems []string, instants, ran int) {
	e := mustExpr(w.t, s.Cron, s.Zone)
	if s.Cron[0] == '@' {
		e, _ = schedule.ParseExpr(s.Cron, s.Zone, s.Created, s.Created, time.Minute)
	}
	rows := w.rows(s, 0)
	single := map[int64]jobspec.Instant{}
	var many []jobspec.Instant
	for _, i := range rows {
		if i.Until.IsZero() {
			single[i.Slot] = i
		} else {
			many = append(many, i)
		}
	}
	seen := map[int64]bool{}
	for at := e.Next(s.Created); !at.After(w.wall); at = e.Next(at) {
		instants++
		i, ok := single[at.Unix()]
		if !ok {
			for _, m := range many {
				if !at.Before(m.At) && !at.After(m.Until) {
					i, ok = m, true
				}
			}
		}
		seen[at.Unix()] = true
		n := w.runs[jobspec.Instant{Schedule: s.ID, Kind: jobspec.InstantTime, Slot: at.Unix()}.Key()]
		missed := i.State == jobspec.InstantMissed
		ran += n
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("%s of %s is not listed, and ran %d times", at, s.Name, n))
		case n > 1, missed && n > 0, !missed && n != 1:
			problems = append(problems, fmt.Sprintf("%s of %s is %s (%s), and ran %d times", at, s.Name, i.State, i.Missed, n))
		case missed && i.Missed == "":
			problems = append(problems, fmt.Sprintf("%s of %s is missed without a reason", at, s.Name))
		}
	}
	for slot, i := range single {
		n := w.runs[i.Key()]
		ahead := time.Unix(slot, 0).After(w.wall) // it ran when the clock was there
		if !seen[slot] && (!ahead || n != 1 || i.State == jobspec.InstantMissed) {
			problems = append(problems, fmt.Sprintf("%s of %s is listed as %s and ran %d times, but is none of its instants up to now", i.At, s.Name, i.State, n))
		}
	}
	return problems, instants, ran
}
