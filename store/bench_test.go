package store_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

func BenchmarkUpdateJobAndEvent(b *testing.B) {
	st := openNew(b)
	job := newJob("local", "bench")
	for b.Loop() {
		update(b, st, func(tx *store.Tx) error {
			_, err := tx.AppendEvent(jobspec.Event{Job: job.ID, Type: jobspec.EventState})
			if errors.Is(err, jobspec.KindNotFound.Error()) {
				err = nil // the first one
			}
			return errors.Join(err, tx.PutJob(job))
		})
	}
}

// seed fills a database with n jobs of 20 events and an attempt each, the last
// ten of them live, and closes it.
func seed(b testing.TB, n int) (path string) {
	b.Helper()
	path = filepath.Join(b.TempDir(), "state.db")
	st := openAt(b, path)
	update(b, st, func(tx *store.Tx) (err error) {
		for i := range n {
			job := newJob("local", fmt.Sprint("job ", i))
			job.ID = jobspec.NewJobID(epoch.Add(time.Duration(i) * time.Millisecond))
			if job.State = jobspec.JobSucceeded; i >= n-10 {
				job.State = jobspec.JobRunning
			}
			err = errors.Join(err, tx.PutJob(job), tx.PutAttempt(jobspec.Attempt{ID: jobspec.AttemptID{Job: job.ID, Try: 1}, State: jobspec.AttemptCleaned}))
			for range 20 {
				_, err2 := tx.AppendEvent(jobspec.Event{Job: job.ID, Type: jobspec.EventProgress})
				err = errors.Join(err, err2)
			}
		}
		return err
	})
	if err := st.Close(); err != nil {
		b.Fatal(err)
	}
	return path
}

func Benchmark10000Jobs(b *testing.B) {
	path := seed(b, 10_000)
	b.Run("Open", func(b *testing.B) {
		for b.Loop() {
			if err := openAt(b, path).Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	st := openAt(b, path)
	for name, f := range map[string]store.Filter{
		"List all": {}, "List 100": {Tenant: "local", Limit: 100}, "List live": {Live: true},
		"List rare label": {Labels: map[string]string{"x": "1"}},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				view(b, st, func(tx *store.Tx) error { _, err := tx.Jobs(f); return err })
			}
		})
	}
	b.Run("Find", func(b *testing.B) {
		for b.Loop() {
			view(b, st, func(tx *store.Tx) error { _, err := tx.FindJob("local", "job 5000"); return err })
		}
	})
}
