package store

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// Due is a delivery that waits for its next try.
type Due struct {
	Job jobspec.JobID
	N   int
	jobspec.Delivery
}

// PutDelivery stores delivery n of a job, which counts from 0, in place of an
// earlier one. Without the job the error is of kind E_NOT_FOUND.
func (tx *Tx) PutDelivery(job jobspec.JobID, n int, d jobspec.Delivery) error {
	var due int64
	if d.State == jobspec.DeliveryWaiting {
		due = max(d.Next.UnixMilli(), 1)
	}
	record, err := encode(d)
	if err == nil {
		err = tx.put(deliveryTable, string(job), int64(n), due, record)
	}
	if err != nil {
		return fmt.Errorf("put delivery %d of job %s: %w", n, job, err)
	}
	return nil
}

// Deliveries returns the deliveries of a job, in their order.
func (tx *Tx) Deliveries(job jobspec.JobID) ([]jobspec.Delivery, error) {
	var list []jobspec.Delivery
	due, err := tx.deliveries("job = ? ORDER BY n", string(job))
	for _, d := range due {
		list = append(list, d.Delivery)
	}
	return list, err
}

// DueDeliveries returns at most limit deliveries of a kind that wait for an
// instant from one on, the zero Time for any, the next ones first.
func (tx *Tx) DueDeliveries(kind jobspec.DeliveryKind, from time.Time, limit int) ([]Due, error) {
	return tx.deliveries("due > 0 AND due >= ? AND record ->> 'kind' = ? ORDER BY due, job, n LIMIT ?", max(from.UnixMilli(), 0), string(kind), limit)
}

func (tx *Tx) deliveries(where string, args ...any) (list []Due, err error) {
	var job string
	var n int
	var record []byte
	err = tx.each([]any{&job, &n, &record}, func() error {
		d := Due{Job: jobspec.JobID(job), N: n}
		err := json.Unmarshal(record, &d.Delivery)
		list = append(list, d)
		return err
	}, "SELECT job, n, record FROM deliveries WHERE "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	return list, nil
}
