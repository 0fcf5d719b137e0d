package sidecar

import (
	"context"
	"sync"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// tally counts the items done by the running attempts of a job, and orders its
// leases.
type tally struct {
	mu    sync.Mutex
	sum   int         // of kept and by
	by    map[int]int // task -> items of its current attempt
	said  int         // the sum that was written last
	noted time.Time   // when that was
	lent  time.Time   // the last lease
}

// newTally starts with the items of a job that are none of its present stage's
// tasks, as earlier stages have done them or they were remembered, and with what
// these tasks have done in an earlier process.
func newTally(job jobspec.Job, stage jobspec.Plan, attempts map[int][]jobspec.Attempt) *tally {
	t := &tally{sum: job.ItemsTotal, by: map[int]int{}}
	for _, task := range stage.Tasks {
		t.sum -= len(task.Items)
	}
	t.sum = max(t.sum, 0) // a job that runs for another node does not count them
	for task, list := range attempts {
		t.by[task] = list[len(list)-1].ItemsDone
		t.sum += t.by[task]
	}
	t.said = t.sum
	return t
}

// follow lets leases come behind those of attempts.
func (t *tally) follow(attempts map[int][]jobspec.Attempt) {
	for _, list := range attempts {
		for _, a := range list {
			if a.Leased.After(t.lent) {
				t.lent = a.Leased
			}
		}
	}
}

// lease returns the time of a lease that is written now: each is later than
// those that were written before, so that whoever lists them finds new ones
// behind those that it knows.
func (t *tally) lease(now time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !now.After(t.lent) {
		now = t.lent.Add(time.Millisecond)
	}
	t.lent = now
	return now
}

// count takes in that a task's current attempt has done n items, its last word or
// not, and reports all that are done, and whether that is to be written now.
func (t *tally) count(task, n int, last bool, now time.Time) (sum int, due bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum += n - t.by[task]
	t.by[task] = n
	due = t.sum != t.said && (last || now.Sub(t.noted) >= progressEvery)
	if due {
		t.said, t.noted = t.sum, now
	}
	return t.sum, due
}

// progressEvery bounds how often progress is written.
const progressEvery = 500 * time.Millisecond

// progress notes that a task's current attempt has done n items.
func (d *driver) progress(ctx context.Context, job jobspec.Job, task, n int, last bool) {
	sum, due := d.done.count(task, n, last, d.now())
	if !due || job.Spec.Run.Per != jobspec.PerItem {
		return
	}
	err := d.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		job, err := tx.Job(d.id)
		if err != nil {
			return err
		}
		job.ItemsDone = max(job.ItemsDone, min(sum, job.ItemsTotal))
		return d.record(tx, job, jobspec.Event{Type: jobspec.EventProgress, Done: job.ItemsDone, Total: job.ItemsTotal})
	})
	if err != nil && ctx.Err() == nil {
		d.log.Warn("record progress", "job", d.id, "err", err)
	}
	d.hub.notify(d.id)
}
