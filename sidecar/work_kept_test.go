package sidecar_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// workOf returns the jobs that a node does, or did, for another owner's.
func (b *bench) workOf(owner *bench) (list []wire.Job) {
	b.t.Helper()
	list, err := b.Jobs(b.t.Context(), api.OwnerTenant(owner.key.ID()), api.JobFilter{})
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

// forgotten says whether nothing of a job of any tenant is left.
func (b *bench) forgotten(j wire.Job) bool {
	b.t.Helper()
	_, err := b.Job(b.t.Context(), j.Tenant, j.ID.String())
	pins, perr := b.ipfs.Pins(b.t.Context(), "job/"+j.ID.String()+"/")
	_, lerr := os.Stat(filepath.Join(b.dir, "logs", j.ID.String()))
	if perr != nil {
		b.t.Fatal(perr)
	}
	return errors.Is(err, jobspec.KindNotFound.Error()) && len(pins) == 0 && errors.Is(lerr, os.ErrNotExist)
}

// A task that was done for another member goes at the end of its time, which is
// the node's own, or the spec's, but not before the owner's job may have ended.
// The owner keeps its job, and the holders of the result keep their copies.
func TestWorkForOthersIsKeptForATime(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		keep, total time.Duration
		stays, goes time.Duration // after the end
	}{
		"by the node's own time":      {0, time.Hour, 6 * day, 8 * day},
		"by the spec's":               {day, time.Hour, 23 * time.Hour, 25 * time.Hour},
		"not longer for a long keep":  {90 * day, time.Hour, 6 * day, 8 * day},
		"as long as the job may take": {0, 20 * day, 19 * day, 21 * day},
		"and with a short keep":       {day, 20 * day, 19 * day, 21 * day},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 2)
			owner, worker := f.nodes[0], f.nodes[1]
			root, files := f.dataset(1)
			s := perItem(root, files)
			s.Keep, s.Timeouts.Total = jobspec.Duration(c.keep), jobspec.Duration(c.total)
			id := owner.submit(s)
			if j := owner.final(id); j.State != jobspec.JobSucceeded || j.Result.String() != root {
				t.Fatalf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
			}
			var work []wire.Job
			f.await("the worker's job has ended", func() bool {
				work = worker.workOf(owner)
				return len(work) == 1 && work[0].State.Final()
			})
			copies := worker.held()
			if len(copies) == 0 {
				t.Fatal("the worker holds no copy of the result")
			}
			for _, at := range []struct {
				ahead time.Duration
				gone  bool
			}{{c.stays, false}, {c.goes, true}} {
				worker.ahead = at.ahead
				worker.swept()
				if got := worker.forgotten(work[0]); got != at.gone {
					t.Errorf("%s later: gone = %v, want %v", at.ahead, got, at.gone)
				}
			}
			if got := worker.held(); !slices.Equal(got, copies) {
				t.Errorf("the worker holds %q for the owner, want %q", got, copies)
			}
			j := owner.final(id)
			if j.Result.String() != root {
				t.Errorf("the owner's result is %s, want %s", j.Result, root)
			}
			if _, err := worker.ipfs.Verify(t.Context(), j.Result); err != nil {
				t.Errorf("the copy that the worker holds: %v", err)
			}
		})
	}
}

// What its owner has not taken in is kept, however long that takes. Then its
// time begins, without a restart.
func TestWorkIsKeptUntilTakenIn(t *testing.T) {
	f := newFleet(t, 2)
	owner, worker := f.nodes[0], f.nodes[1]
	var taken atomic.Bool
	post := f.puppet(owner, func(_ context.Context, post *bus.Post) {
		bus.Answer(post, "beat", func(context.Context, bus.Letter, wire.Beat) (wire.Beating, error) { return wire.Beating{}, nil })
		bus.Answer(post, "report", func(context.Context, bus.Letter, wire.Report) (wire.Reported, error) {
			return wire.Reported{Taken: taken.Load()}, nil
		})
	})
	a := f.orderOf(owner, spec("DUMMY_WRITE=/outputs/a:text", "DUMMY_STDOUT=hello"))
	if _, err := bus.Request[wire.Assigned](t.Context(), post, worker.key.ID(), "assign", a); err != nil {
		t.Fatal(err)
	}
	worker.sweepEvery = 20 * time.Millisecond
	worker.ahead = 100 * 24 * time.Hour
	worker.swept()
	work := worker.workOf(owner)
	if len(work) != 1 || work[0].State.Final() || worker.forgotten(work[0]) {
		t.Fatalf("before its report is taken in the worker has %+v, want one job that goes on", work)
	}
	taken.Store(true)
	if j, err := worker.ended(work[0]); err != nil || j.State != jobspec.JobSucceeded {
		t.Fatalf("the worker's job is %s, %v, want succeeded", j.State, err)
	}
	worker.later.Store(int64(8 * 24 * time.Hour))
	f.await("the worker has let go of it", func() bool { return worker.forgotten(work[0]) })
}

// The node's own user removes what was done for a member, as any job.
func TestPruneOfWorkForOthers(t *testing.T) {
	f := newFleet(t, 2)
	owner, worker := f.nodes[0], f.nodes[1]
	root, files := f.dataset(1)
	owner.final(owner.submit(perItem(root, files)))
	var work []wire.Job
	f.await("the worker's job has ended", func() bool {
		work = worker.workOf(owner)
		return len(work) == 1 && work[0].State.Final()
	})
	res, err := worker.Prune(t.Context(), work[0].Tenant, api.PruneFilter{})
	if err != nil || len(res.Jobs) != 1 || !worker.forgotten(work[0]) {
		t.Errorf("Prune = %+v, %v; gone = %v, want the one job gone", res, err, worker.forgotten(work[0]))
	}
}
