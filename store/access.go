package store

import (
	"errors"
	"fmt"

	"github.com/ipdc/ipdc/jobspec"
)

// IdempotencyKey returns the job that the tenant submitted with this key and
// the CID of its spec; ok is false when the key was not used, or the job was
// deleted since.
func (tx *Tx) IdempotencyKey(tenant, key string) (job jobspec.JobID, spec jobspec.CID, ok bool, err error) {
	var id, text string
	err = tx.get([]any{&id, &text}, "idempotency key", "SELECT job, spec FROM idempotency WHERE tenant = ? AND key = ?", tenant, key)
	if errors.Is(err, jobspec.KindNotFound.Error()) {
		return "", jobspec.CID{}, false, nil
	}
	if err == nil {
		spec, err = jobspec.ParseCID(text)
	}
	if err != nil {
		return "", jobspec.CID{}, false, fmt.Errorf("look up idempotency key: %w", err)
	}
	return jobspec.JobID(id), spec, true, nil
}

// PutIdempotencyKey notes that the tenant submitted the job with this key.
func (tx *Tx) PutIdempotencyKey(tenant, key string, job jobspec.JobID, spec jobspec.CID) error {
	if err := tx.put(idempotencyTable, tenant, key, string(job), spec.String()); err != nil {
		return fmt.Errorf("put idempotency key of job %s: %w", job, err)
	}
	return nil
}

// Meta returns a fact about the node, such as a port it chose; ok is false
// when it was never put.
func (tx *Tx) Meta(key string) (value string, ok bool, err error) {
	err = tx.get([]any{&value}, key, "SELECT value FROM meta WHERE key = ?", key)
	if errors.Is(err, jobspec.KindNotFound.Error()) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("get %s: %w", key, err)
	}
	return value, true, nil
}

// PutMeta stores a fact about the node. The keys "id", "open" and "tried" are
// the store's own.
func (tx *Tx) PutMeta(key, value string) error {
	if err := tx.put(metaTable, key, value); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}
