package store_test

import (
	"crypto/sha256"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

func TestTokens(t *testing.T) {
	st := openNew(t)
	made := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	alice, bob := sha256.Sum256([]byte("alice")), sha256.Sum256([]byte("bob"))
	update(t, st, func(tx *store.Tx) error {
		return errors.Join(tx.PutToken(store.Token{Name: "bob", Created: made}, bob), tx.PutToken(store.Token{Name: "alice", Created: made}, alice))
	})
	view(t, st, func(tx *store.Tx) error {
		got, err := tx.Tokens()
		if diff := cmp.Diff([]store.Token{{Name: "alice", Created: made}, {Name: "bob", Created: made}}, got); diff != "" {
			t.Errorf("Tokens (-want +got):\n%s", diff)
		}
		_, missing := tx.Token("carol")
		wantKind(t, missing, jobspec.KindNotFound)
		return err
	})
	update(t, st, func(tx *store.Tx) error { return errors.Join(tx.DeleteToken("bob"), tx.DeleteToken("carol")) })
	view(t, st, func(tx *store.Tx) error {
		_, gone := tx.TokenByHash(bob)
		wantKind(t, gone, jobspec.KindNotFound)
		tenant, err := tx.TokenByHash(alice)
		if tenant != "alice" {
			t.Errorf("TokenByHash = %q, want alice", tenant)
		}
		return err
	})
}

func TestCountJobs(t *testing.T) {
	st := openNew(t)
	update(t, st, func(tx *store.Tx) error {
		done := newJob("b", "")
		done.State = jobspec.JobSucceeded
		return errors.Join(tx.PutJob(newJob("a", "")), tx.PutJob(newJob("b", "")), tx.PutJob(done))
	})
	view(t, st, func(tx *store.Tx) error {
		got, err := tx.CountJobs()
		if diff := cmp.Diff(map[jobspec.JobState]int{jobspec.JobAccepted: 2, jobspec.JobSucceeded: 1}, got); diff != "" {
			t.Errorf("CountJobs (-want +got):\n%s", diff)
		}
		for tenant, want := range map[string]int{"a": 1, "b": 1, "c": 0} {
			n, err := tx.CountLive(tenant)
			if n != want || err != nil {
				t.Errorf("CountLive(%s) = %d, %v, want %d", tenant, n, err, want)
			}
		}
		return err
	})
}

// A database of the first version keeps its jobs.
func TestUpgradeFromFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	first := openAt(t, path)
	job := newJob("local", "kept")
	update(t, first, func(tx *store.Tx) error { return tx.PutJob(job) })
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	rawExec(t, path, "DROP INDEX jobs_state; DROP INDEX jobs_live_tenant; DROP TABLE tokens; DROP TABLE handed; DROP TABLE holdings; DROP TABLE instants; DROP TABLE schedules; DROP TABLE deliveries; DROP TABLE dataset_versions; DROP TABLE datasets; DROP TABLE dataset_seen; DROP INDEX jobs_dataset; PRAGMA user_version = 1;"+
		"CREATE TABLE tokens (name TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID;"+
		"INSERT INTO tokens VALUES ('local', 'x', 1)")
	now := openAt(t, path)
	view(t, now, func(tx *store.Tx) error {
		_, err := tx.Job(job.ID)
		_, err2 := tx.Tokens()
		return errors.Join(err, err2)
	})
}
