package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// Last is the ref of a tenant's newest job; jobs that another job needs are
// passed over.
const Last = "@last"

// Bounds of a job reference.
const (
	minPrefix  = 3 // characters of an id
	maxMatches = 5 // listed when a prefix is ambiguous
)

// PutJob inserts the job or replaces its record. Its place in the order of
// jobs is that of the first PutJob.
func (tx *Tx) PutJob(j jobspec.Job) error {
	labels, err := encode(j.Spec.Labels)
	if err != nil {
		return fmt.Errorf("put job %s: %w", j.ID, err)
	}
	record, err := encode(j)
	if err == nil {
		err = tx.put(jobTable, string(j.ID), j.Tenant, j.Spec.Name, string(j.State), flag(!j.State.Final()), labels, record)
	}
	if err != nil {
		return fmt.Errorf("put job %s: %w", j.ID, err)
	}
	return nil
}

// Job returns a job of any tenant, or an error of kind E_NOT_FOUND.
func (tx *Tx) Job(id jobspec.JobID) (j jobspec.Job, err error) {
	var record []byte
	if err := tx.get([]any{&record}, "job "+id, "SELECT record FROM jobs WHERE id = ?", string(id)); err != nil {
		return j, fmt.Errorf("get job %s: %w", id, err)
	}
	return j, json.Unmarshal(record, &j)
}

// States returns the state of every job.
func (tx *Tx) States() (map[jobspec.JobID]jobspec.JobState, error) {
	states := map[jobspec.JobID]jobspec.JobState{}
	var id, state string
	err := tx.each([]any{&id, &state}, func() error {
		states[jobspec.JobID(id)] = jobspec.JobState(state)
		return nil
	}, "SELECT id, state FROM jobs")
	if err != nil {
		return nil, fmt.Errorf("list states of jobs: %w", err)
	}
	return states, nil
}

// FindJob resolves what a user typed to one job of the tenant: a whole id, a
// unique prefix of one (at least 3 characters, either case), the exact name of
// a job (the newest of that name), or [Last]. The error is of kind E_NOT_FOUND,
// or E_CONFLICT with the first matches when a prefix fits several jobs and no
// name.
func (tx *Tx) FindJob(tenant, ref string) (jobspec.JobID, error) {
	prefix := strings.ToLower(ref)
	var matches []string
	var err error
	switch {
	case ref == Last:
		matches, err = tx.jobIDs("tenant = ? AND "+ofUser+" ORDER BY seq DESC LIMIT 1", tenant)
	case isPrefix(prefix):
		// "~" is above every character of an id.
		matches, err = tx.jobIDs("tenant = ? AND id >= ? AND id < ? || '~' ORDER BY id LIMIT ?", tenant, prefix, prefix, maxMatches+1)
	}
	if err == nil && len(matches) != 1 && ref != "" {
		var named []string
		named, err = tx.jobIDs("tenant = ? AND name = ? ORDER BY seq DESC LIMIT 1", tenant, ref)
		if len(named) == 1 {
			matches = named
		}
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("find job %q: %w", ref, err)
	case len(matches) == 0:
		return "", notFound(ref)
	case len(matches) > 1:
		return "", ambiguous(ref, matches)
	}
	return jobspec.JobID(matches[0]), nil
}

func (tx *Tx) jobIDs(where string, args ...any) (ids []string, err error) {
	var id string
	err = tx.each([]any{&id}, func() error { ids = append(ids, id); return nil }, "SELECT id FROM jobs WHERE "+where, args...)
	return ids, err
}

func isPrefix(s string) bool {
	return len(s) >= minPrefix && strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyz") == ""
}

func notFound(ref string) error {
	f := jobspec.Failure{Kind: jobspec.KindNotFound, Detail: fmt.Sprintf("there is no job %q", ref), Hint: "`ipdc job list` shows the jobs"}
	if ref == Last {
		f.Detail = "there is no job yet"
	}
	return f.Error()
}

func ambiguous(ref string, matches []string) error {
	listed := strings.Join(matches[:min(len(matches), maxMatches)], ", ")
	if len(matches) > maxMatches {
		listed += ", ..."
	}
	return jobspec.Failure{
		Kind:   jobspec.KindConflict,
		Detail: fmt.Sprintf("%q is the beginning of several job ids: %s", ref, listed),
		Hint:   "type more characters of the id",
	}.Error()
}

// ofUser selects jobs that somebody submitted, not those that a job needs.
const ofUser = "record ->> 'parent' IS NULL"

// Filter selects jobs; zero values select all.
type Filter struct {
	Tenant string
	States []jobspec.JobState
	Labels map[string]string // all must be equal
	// Dataset leaves jobs over it, with a version over that one.
	Dataset jobspec.DatasetRef
	// NamedNow has, with Dataset, the ids of datasets of that name by whose they
	// are: jobs over others of these owners are left out. A job that notes no id
	// is not.
	NamedNow map[identity.ID][]string
	Live     bool // only jobs whose state is not final
	Kept     bool // only final jobs whose spec limits how long they are kept, and those done for another node
	OfUser   bool // no jobs that another job needs, such as installations
	Limit    int  // 0 = no limit
}

// Jobs returns the jobs that f selects, the newest first.
func (tx *Tx) Jobs(f Filter) ([]jobspec.Job, error) {
	query, args, err := f.query()
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	var jobs []jobspec.Job
	var record []byte
	err = tx.each([]any{&record}, func() error {
		var j jobspec.Job
		err := json.Unmarshal(record, &j)
		jobs = append(jobs, j)
		return err
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	return jobs, nil
}

func (f Filter) query() (string, []any, error) {
	where, args := []string{"true"}, []any{}
	add := func(cond string, a ...any) { where, args = append(where, cond), append(args, a...) }
	if f.Tenant != "" {
		add("tenant = ?", f.Tenant)
	}
	if f.Live {
		add("live = 1")
	}
	if f.Kept {
		add("live = 0 AND (record ->> '$.spec.keep' IS NOT NULL OR record ->> '$.origin' IS NOT NULL)")
	}
	if f.OfUser {
		add(ofUser)
	}
	if d := f.Dataset; d.Name != "" {
		add("record ->> '$.dataset.name' = ?", d.Name)
		if d.Version != 0 {
			add("record ->> '$.dataset.version' = ?", d.Version)
		}
	}
	for owner, ids := range f.NamedNow {
		list, err := encode(ids)
		if err != nil {
			return "", nil, err
		}
		add("NOT (record ->> '$.dataset.owner' = ? AND ifnull(record ->> '$.dataset.id' NOT IN (SELECT value FROM json_each(?)), false))", owner.String(), list)
	}
	states, err1 := encode(f.States)
	if len(f.States) > 0 {
		add("state IN (SELECT value FROM json_each(?))", states)
	}
	labels, err2 := encode(f.Labels)
	if len(f.Labels) > 0 {
		add("labels <> 'null' AND NOT EXISTS (SELECT key, value FROM json_each(?) EXCEPT SELECT key, value FROM json_each(labels))", labels)
	}
	limit := f.Limit
	if limit <= 0 {
		limit = math.MaxInt32
	}
	query := "SELECT record FROM jobs WHERE " + strings.Join(where, " AND ") + " ORDER BY seq DESC LIMIT ?"
	return query, append(args, limit), errors.Join(err1, err2)
}

// DeleteJob removes the job with its plan, attempts, events, idempotency keys
// and what it is remembered for. Without such a job it does nothing.
func (tx *Tx) DeleteJob(id jobspec.JobID) error {
	if err := tx.exec("DELETE FROM jobs WHERE id = ?", string(id)); err != nil {
		return fmt.Errorf("delete job %s: %w", id, err)
	}
	return nil
}

// PutPlan stores the plan of a job that is there.
func (tx *Tx) PutPlan(id jobspec.JobID, p jobspec.Plan) error {
	record, err := encode(p)
	if err == nil {
		err = tx.put(planTable, string(id), record)
	}
	if err != nil {
		return fmt.Errorf("put plan of job %s: %w", id, err)
	}
	return nil
}

// Plan returns a job's plan, or an error of kind E_NOT_FOUND while it has none.
func (tx *Tx) Plan(id jobspec.JobID) (p jobspec.Plan, err error) {
	var record []byte
	if err := tx.get([]any{&record}, "plan of job "+id, "SELECT record FROM plans WHERE job = ?", string(id)); err != nil {
		return p, fmt.Errorf("get plan: %w", err)
	}
	return p, json.Unmarshal(record, &p)
}
