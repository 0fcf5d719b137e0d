package store

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/ipdc/ipdc/jobspec"
)

// AppendEvent stores e as the next event of e.Job, which must be there, and
// returns it with its Seq. The first has Seq 1.
func (tx *Tx) AppendEvent(e jobspec.Event) (jobspec.Event, error) {
	events := []jobspec.Event{e}
	err := tx.AppendEvents(e.Job, events)
	return events[0], err
}

// AppendEvents stores the next events of a job, which must be there, and sets
// their Job and Seq.
func (tx *Tx) AppendEvents(job jobspec.JobID, events []jobspec.Event) error {
	var last int64
	err := tx.get([]any{&last}, "", "SELECT coalesce(max(seq), 0) FROM events WHERE job = ?", string(job))
	for i := range events {
		if err != nil {
			break
		}
		last++
		events[i].Job, events[i].Seq = job, last
		var record string
		if record, err = encode(events[i]); err == nil {
			err = tx.put(eventTable, string(job), last, record)
		}
	}
	if err != nil {
		return fmt.Errorf("append event of job %s: %w", job, err)
	}
	return nil
}

// Events returns the events of a job with Seq > after in order, at most limit
// of them; a limit of 0 means all.
func (tx *Tx) Events(job jobspec.JobID, after int64, limit int) (list []jobspec.Event, err error) {
	if limit <= 0 {
		limit = math.MaxInt32
	}
	var record []byte
	err = tx.each([]any{&record}, func() error {
		var e jobspec.Event
		err := json.Unmarshal(record, &e)
		list = append(list, e)
		return err
	}, "SELECT record FROM events WHERE job = ? AND seq > ? ORDER BY seq LIMIT ?", string(job), after, limit)
	if err != nil {
		return nil, fmt.Errorf("list events of job %s: %w", job, err)
	}
	return list, nil
}
