package store_test

import (
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

var equateCIDs = cmp.Comparer(func(a, b jobspec.CID) bool { return a == b })

func wantKind(t *testing.T, err error, kind jobspec.Kind) {
	t.Helper()
	if !errors.Is(err, kind.Error()) {
		t.Errorf("err = %v, want kind %s", err, kind)
	}
}

func TestJobRoundTrip(t *testing.T) {
	st := openNew(t)
	job := newJob("local", "downscale")
	job.Spec.Labels = map[string]string{"team": "a \"b\""}
	job.SpecCID = mustCID(t, 1)
	plan := jobspec.Plan{SpecCID: job.SpecCID, Image: "sha256:x", Tasks: []jobspec.Task{{Key: mustCID(t, 2)}}}
	update(t, st, func(tx *store.Tx) error { return errors.Join(tx.PutJob(job), tx.PutPlan(job.ID, plan)) })
	job.State, job.Failure = jobspec.JobFailed, &jobspec.Failure{Kind: jobspec.KindExit, Detail: "exit code 3"}
	update(t, st, func(tx *store.Tx) error { return tx.PutJob(job) })

	view(t, st, func(tx *store.Tx) error {
		got, err := tx.Job(job.ID)
		if diff := cmp.Diff(job, got, equateCIDs); diff != "" {
			t.Errorf("Job (-want +got):\n%s", diff)
		}
		gotPlan, err2 := tx.Plan(job.ID)
		if diff := cmp.Diff(plan, gotPlan, equateCIDs); diff != "" {
			t.Errorf("Plan (-want +got):\n%s", diff)
		}
		_, missing := tx.Job("nope")
		wantKind(t, missing, jobspec.KindNotFound)
		_, missing = tx.Plan("nope")
		wantKind(t, missing, jobspec.KindNotFound)
		return errors.Join(err, err2)
	})
}

func TestAttempts(t *testing.T) {
	st := openNew(t)
	job := newJob("local", "")
	attempt := func(task, try int, state jobspec.AttemptState) jobspec.Attempt {
		return jobspec.Attempt{ID: jobspec.AttemptID{Job: job.ID, Task: task, Try: try}, Token: "secret", State: state, Leased: epoch}
	}
	all := []jobspec.Attempt{attempt(0, 1, jobspec.AttemptAbandoned), attempt(0, 2, jobspec.AttemptRunning), attempt(1, 1, jobspec.AttemptCleaned), attempt(2, 1, jobspec.AttemptLeased)}
	update(t, st, func(tx *store.Tx) error {
		err := tx.PutJob(job)
		for i := range all {
			err = errors.Join(err, tx.PutAttempt(all[len(all)-1-i]))
		}
		return err
	})
	view(t, st, func(tx *store.Tx) error {
		got, err := tx.Attempts(job.ID)
		if diff := cmp.Diff(all, got, equateCIDs); diff != "" {
			t.Errorf("Attempts (-want +got):\n%s", diff)
		}
		live, err2 := tx.LiveAttempts()
		if diff := cmp.Diff([]jobspec.Attempt{all[1], all[3]}, live, equateCIDs); diff != "" {
			t.Errorf("LiveAttempts (-want +got):\n%s", diff)
		}
		one, err3 := tx.Attempt(all[1].ID)
		if diff := cmp.Diff(all[1], one, equateCIDs); diff != "" {
			t.Errorf("Attempt (-want +got):\n%s", diff)
		}
		_, missing := tx.Attempt(jobspec.AttemptID{Job: job.ID, Task: 9, Try: 1})
		wantKind(t, missing, jobspec.KindNotFound)
		return errors.Join(err, err2, err3)
	})
}

func TestRemember(t *testing.T) {
	st := openNew(t)
	job := newJob("local", "")
	const n = 2500
	keys := make([]jobspec.CID, n)
	want := map[jobspec.CID]store.Remembered{}
	update(t, st, func(tx *store.Tx) error {
		err := tx.PutJob(job)
		for i := range keys {
			keys[i] = mustCID(t, i)
			if i%2 == 1 {
				continue
			}
			r := store.Remembered{Job: job.ID, Outputs: []store.Output{{Path: "a/b", CID: mustCID(t, -i-1)}}, Created: epoch.Add(time.Duration(i))}
			want[keys[i]] = r
			err = errors.Join(err, tx.Remember(keys[i], r))
		}
		return err
	})
	recall := func() (got map[jobspec.CID]store.Remembered) {
		view(t, st, func(tx *store.Tx) (err error) { got, err = tx.Recall(keys); return err })
		return got
	}
	if diff := cmp.Diff(want, recall(), equateCIDs); diff != "" {
		t.Errorf("Recall (-want +got):\n%s", diff)
	}
	update(t, st, func(tx *store.Tx) error {
		gone, err := tx.Forget(epoch.Add(100))
		if gone != 50 {
			t.Errorf("Forget = %d, want 50", gone)
		}
		return err
	})
	if got := recall(); len(got) != n/2-50 {
		t.Errorf("after Forget Recall gives %d, want %d", len(got), n/2-50)
	}
	update(t, st, func(tx *store.Tx) error { return tx.DeleteJob(job.ID) })
	if got := recall(); len(got) != 0 {
		t.Errorf("after DeleteJob Recall gives %d, want none", len(got))
	}
}

func TestDeleteJobCascades(t *testing.T) {
	st := openNew(t)
	job, other := newJob("local", ""), newJob("local", "")
	id := jobspec.AttemptID{Job: job.ID, Try: 1}
	update(t, st, func(tx *store.Tx) error {
		err := errors.Join(tx.PutJob(job), tx.PutJob(other), tx.PutPlan(job.ID, jobspec.Plan{}), tx.PutAttempt(jobspec.Attempt{ID: id}),
			tx.PutIdempotencyKey("local", "k", job.ID, mustCID(t, 1)))
		_, err2 := tx.AppendEvent(jobspec.Event{Job: job.ID})
		_, err3 := tx.AppendEvent(jobspec.Event{Job: other.ID})
		return errors.Join(err, err2, err3)
	})
	update(t, st, func(tx *store.Tx) error { return errors.Join(tx.DeleteJob(job.ID), tx.DeleteJob(job.ID)) })
	view(t, st, func(tx *store.Tx) error {
		_, err := tx.Job(job.ID)
		wantKind(t, err, jobspec.KindNotFound)
		_, err = tx.Plan(job.ID)
		wantKind(t, err, jobspec.KindNotFound)
		_, err = tx.Attempt(id)
		wantKind(t, err, jobspec.KindNotFound)
		events, err := tx.Events(job.ID, 0, 0)
		kept, err2 := tx.Events(other.ID, 0, 0)
		if len(events) != 0 || len(kept) != 1 {
			t.Errorf("%d events of the deleted job and %d of the other, want 0 and 1", len(events), len(kept))
		}
		_, _, used, err3 := tx.IdempotencyKey("local", "k")
		if used {
			t.Error("the idempotency key of a deleted job is still taken")
		}
		return errors.Join(err, err2, err3)
	})
}

func TestRowsNeedTheirJob(t *testing.T) {
	st := openNew(t)
	for name, fn := range map[string]func(*store.Tx) error{
		"plan":        func(tx *store.Tx) error { return tx.PutPlan("nope", jobspec.Plan{}) },
		"attempt":     func(tx *store.Tx) error { return tx.PutAttempt(jobspec.Attempt{ID: jobspec.AttemptID{Job: "nope"}}) },
		"event":       func(tx *store.Tx) error { _, err := tx.AppendEvent(jobspec.Event{Job: "nope"}); return err },
		"memory":      func(tx *store.Tx) error { return tx.Remember(mustCID(t, 1), store.Remembered{Job: "nope"}) },
		"idempotency": func(tx *store.Tx) error { return tx.PutIdempotencyKey("t", "k", "nope", mustCID(t, 1)) },
	} {
		t.Run(name, func(t *testing.T) { wantKind(t, st.Update(t.Context(), fn), jobspec.KindNotFound) })
	}
}

func TestAccess(t *testing.T) {
	st := openNew(t)
	job := newJob("a", "")
	spec, old, secret := mustCID(t, 1), sha256.Sum256([]byte("old")), sha256.Sum256([]byte("secret"))
	update(t, st, func(tx *store.Tx) error {
		return errors.Join(tx.PutJob(job), tx.PutIdempotencyKey("a", "k", job.ID, spec),
			tx.PutToken(store.Token{Name: "a"}, old), tx.PutToken(store.Token{Name: "a"}, secret), tx.PutMeta("port", "1"), tx.PutMeta("port", "4242"))
	})
	view(t, st, func(tx *store.Tx) error {
		id, c, ok, err := tx.IdempotencyKey("a", "k")
		if id != job.ID || c != spec || !ok {
			t.Errorf("IdempotencyKey = %s, %s, %v", id, c, ok)
		}
		_, _, ok, err2 := tx.IdempotencyKey("b", "k")
		if ok {
			t.Error("the key of one tenant is seen by another")
		}
		tenant, err3 := tx.TokenByHash(secret)
		if tenant != "a" {
			t.Errorf("TokenByHash = %q, want a", tenant)
		}
		_, err4 := tx.TokenByHash(old)
		wantKind(t, err4, jobspec.KindNotFound)
		port, ok, err5 := tx.Meta("port")
		if port != "4242" || !ok {
			t.Errorf("Meta = %q, %v", port, ok)
		}
		_, ok, err6 := tx.Meta("nope")
		if ok {
			t.Error("Meta of a missing key is ok")
		}
		return errors.Join(err, err2, err3, err5, err6)
	})
}

func TestUpdate(t *testing.T) {
	st := openNew(t)
	boom := errors.New("boom")
	job := newJob("local", "")
	if err := st.Update(t.Context(), func(tx *store.Tx) error { return errors.Join(tx.PutJob(job), boom) }); !errors.Is(err, boom) {
		t.Errorf("Update = %v, want the error of its function", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = st.Update(t.Context(), func(tx *store.Tx) error { _ = tx.PutJob(job); panic(boom) })
	}()
	view(t, st, func(tx *store.Tx) error {
		_, err := tx.Job(job.ID)
		wantKind(t, err, jobspec.KindNotFound)
		return nil
	})
	if err := st.View(t.Context(), func(tx *store.Tx) error { return tx.PutJob(job) }); err == nil {
		t.Error("a View may write")
	}
	update(t, st, func(tx *store.Tx) error { return tx.PutJob(job) })
}

func TestConcurrentUpdatesAndViews(t *testing.T) {
	st := openNew(t)
	const workers, rounds = 8, 40
	job := newJob("local", "")
	update(t, st, func(tx *store.Tx) error { return tx.PutJob(job) })
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				err := st.Update(t.Context(), func(tx *store.Tx) error {
					j, err := tx.Job(job.ID)
					j.ItemsDone++
					_, err2 := tx.AppendEvent(jobspec.Event{Job: job.ID, Done: j.ItemsDone})
					return errors.Join(err, err2, tx.PutJob(j))
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
				err = st.View(t.Context(), func(tx *store.Tx) error {
					j, err := tx.Job(job.ID)
					events, err2 := tx.Events(job.ID, 0, 0)
					if len(events) != j.ItemsDone {
						t.Errorf("a View sees %d events and %d items done", len(events), j.ItemsDone)
					}
					return errors.Join(err, err2)
				})
				if err != nil {
					t.Errorf("View: %v", err)
				}
			}
		})
	}
	wg.Wait()
	view(t, st, func(tx *store.Tx) error {
		j, err := tx.Job(job.ID)
		if want := workers * rounds; j.ItemsDone != want {
			t.Errorf("ItemsDone = %d, want %d", j.ItemsDone, want)
		}
		return err
	})
}

func TestEventsPages(t *testing.T) {
	st := openNew(t)
	job := newJob("local", "")
	update(t, st, func(tx *store.Tx) error {
		err := tx.PutJob(job)
		for i := range 5 {
			e, err2 := tx.AppendEvent(jobspec.Event{Job: job.ID, Time: epoch, Done: i})
			if e.Seq != int64(i+1) {
				t.Errorf("event %d has Seq %d", i, e.Seq)
			}
			err = errors.Join(err, err2)
		}
		return err
	})
	view(t, st, func(tx *store.Tx) error {
		got, err := tx.Events(job.ID, 2, 2)
		want := []jobspec.Event{{Job: job.ID, Seq: 3, Time: epoch, Done: 2}, {Job: job.ID, Seq: 4, Time: epoch, Done: 3}}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("Events (-want +got):\n%s", diff)
		}
		return err
	})
}
