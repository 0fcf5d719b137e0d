package store

import (
	"encoding/json"
	"fmt"

	"github.com/ipdc/ipdc/jobspec"
)

const attemptColumns = "SELECT token, record FROM attempts "

// PutAttempt inserts or replaces an attempt of a job that is there. The token
// is stored too.
func (tx *Tx) PutAttempt(a jobspec.Attempt) error {
	record, err := encode(a)
	if err == nil {
		err = tx.put(attemptTable, string(a.ID.Job), int64(a.ID.Task), int64(a.ID.Try), flag(!a.State.Final()), a.Token, record)
	}
	if err != nil {
		return fmt.Errorf("put attempt %s: %w", a.ID, err)
	}
	return nil
}

// Attempt returns one attempt, or an error of kind E_NOT_FOUND.
func (tx *Tx) Attempt(id jobspec.AttemptID) (a jobspec.Attempt, err error) {
	var token string
	var record []byte
	err = tx.get([]any{&token, &record}, "attempt "+id.String(),
		attemptColumns+"WHERE job = ? AND task = ? AND try = ?", string(id.Job), id.Task, id.Try)
	if err != nil {
		return a, fmt.Errorf("get attempt: %w", err)
	}
	err = json.Unmarshal(record, &a)
	a.Token = token
	return a, err
}

// Attempts returns all attempts of a job by task and try.
func (tx *Tx) Attempts(job jobspec.JobID) ([]jobspec.Attempt, error) {
	return tx.attempts("WHERE job = ? ORDER BY task, try", string(job))
}

// LiveAttempts returns the attempts of all jobs whose state is not final, by
// job, task and try.
func (tx *Tx) LiveAttempts() ([]jobspec.Attempt, error) {
	return tx.attempts("WHERE live = 1 ORDER BY job, task, try")
}

func (tx *Tx) attempts(where string, args ...any) (list []jobspec.Attempt, err error) {
	var token string
	var record []byte
	err = tx.each([]any{&token, &record}, func() error {
		var a jobspec.Attempt
		err := json.Unmarshal(record, &a)
		a.Token = token
		list = append(list, a)
		return err
	}, attemptColumns+where, args...)
	if err != nil {
		return nil, fmt.Errorf("list attempts: %w", err)
	}
	return list, nil
}
