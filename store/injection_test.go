package store_test

import (
	"crypto/sha256"
	"database/sql"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// Whatever a field holds is a value and never a statement: it is read as it was
// written, finds itself and nothing else, and removes itself and nothing else.
func TestZ05TextInFieldsIsNoStatement(t *testing.T) {
	st := openNew(t)
	kept := newJob("local", "kept")
	update(t, st, func(tx *store.Tx) error {
		return errors.Join(tx.PutJob(kept), tx.PutToken(store.Token{Name: "kept", Created: epoch}, sha256.Sum256([]byte("kept"))))
	})
	for _, evil := range []string{
		`'); DROP TABLE jobs; --`, `' OR '1'='1`, `x"; DELETE FROM tokens; --`, `%`, `_`, `\`, "a\x00b", `?`, `:name`, `$1`, `"}]`, `[*]`,
	} {
		job := newJob(evil, evil)
		job.Spec.Labels, job.Spec.Run.Env = map[string]string{evil: evil}, map[string]string{evil: evil}
		attempt := jobspec.Attempt{ID: jobspec.AttemptID{Job: job.ID, Try: 1}, Token: evil, Node: evil, State: jobspec.AttemptLeased, Leased: epoch}
		update(t, st, func(tx *store.Tx) error {
			put := tx.PutJob(job)
			_, err := tx.AppendEvent(jobspec.Event{Job: job.ID, Type: jobspec.EventState, Detail: evil, Time: epoch})
			handed := tx.PutHanded(store.Handed{Tenant: evil, Key: evil, Member: identity.ID(evil), Asked: epoch, Job: job})
			return errors.Join(put, err, handed, tx.PutAttempt(attempt), tx.PutIdempotencyKey(evil, evil, job.ID, mustCID(t, 1)),
				tx.PutMeta(evil, evil), tx.PutToken(store.Token{Name: evil, Created: epoch}, sha256.Sum256([]byte(evil))))
		})
		view(t, st, func(tx *store.Tx) error {
			got, err1 := tx.Job(job.ID)
			list, err2 := tx.Jobs(store.Filter{Tenant: evil, Labels: map[string]string{evil: evil}})
			id, err3 := tx.FindJob(evil, evil)
			back, err4 := tx.Attempt(attempt.ID)
			byKey, _, known, err5 := tx.IdempotencyKey(evil, evil)
			value, _, err6 := tx.Meta(evil)
			handed, err7 := tx.FindHanded(evil, evil)
			if diff := cmp.Diff(job, got, equateCIDs); diff != "" {
				t.Errorf("%q: job (-want +got):\n%s", evil, diff)
			}
			if len(list) != 1 || id != job.ID || back.Token != evil || !known || byKey != job.ID || value != evil || len(handed) != 1 {
				t.Errorf("%q: %d jobs, found %s, token %q, by key %s, meta %q, %d handed over", evil, len(list), id, back.Token, byKey, value, len(handed))
			}
			_, none := tx.FindJob("local", evil)
			wantKind(t, none, jobspec.KindNotFound)
			return errors.Join(err1, err2, err3, err4, err5, err6, err7)
		})
		update(t, st, func(tx *store.Tx) error {
			return errors.Join(tx.DeleteJob(job.ID), tx.DeleteToken(evil), tx.DeleteHanded(evil, evil))
		})
		view(t, st, func(tx *store.Tx) error {
			all, err := tx.Jobs(store.Filter{})
			tokens, err2 := tx.Tokens()
			if len(all) != 1 || len(tokens) != 1 {
				t.Errorf("%q: %d jobs and %d tokens are left, want one of each", evil, len(all), len(tokens))
			}
			return errors.Join(err, err2)
		})
	}
}

// The control of TestZ05TextInFieldsIsNoStatement: the same text inside a
// statement is one.
func TestZ05Control(t *testing.T) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE jobs (name TEXT)"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "INSERT INTO jobs VALUES ('"+`'); DROP TABLE jobs; --`+"')"); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM jobs").Scan(&n); err == nil {
		t.Error("the table is still there: the text is harmless")
	}
}
