package store

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// Handed is a job that another member was asked to take, for a tenant of this
// node. Its record, its events and its log are at the member.
type Handed struct {
	Tenant string      `json:"tenant"`
	Key    string      `json:"key"`    // idempotency key of the submit
	Member identity.ID `json:"member"` // who was asked
	Asked  time.Time   `json:"asked"`
	Job    jobspec.Job `json:"job"` // as the member last told it; no ID = it has not answered yet
}

// PutHanded inserts or replaces what its tenant handed over with its key.
func (tx *Tx) PutHanded(h Handed) error {
	record, err := encode(h)
	if err == nil {
		err = tx.put(handedTable, h.Tenant, h.Key, string(h.Job.ID), h.Job.Spec.Name, flag(!h.Job.State.Final()), record)
	}
	if err != nil {
		return fmt.Errorf("put what was handed to %s: %w", h.Member.Short(), err)
	}
	return nil
}

// Handed returns what a tenant handed over with a key, or an error of kind
// E_NOT_FOUND.
func (tx *Tx) Handed(tenant, key string) (Handed, error) {
	list, err := tx.handed("tenant = ? AND key = ?", 1, tenant, key)
	if err != nil {
		return Handed{}, err
	}
	if len(list) == 0 {
		return Handed{}, jobspec.KindNotFound.Errorf("nothing was handed over with this key")
	}
	return list[0], nil
}

// HandedJobs returns the jobs that members have taken from a tenant, "" for
// all tenants, the newest first; with live only those that are not known to
// have ended.
func (tx *Tx) HandedJobs(tenant string, live bool, limit int) ([]Handed, error) {
	where := "job <> '' AND (? = '' OR tenant = ?)"
	if live {
		where += " AND live = 1"
	}
	return tx.handed(where, limit, tenant, tenant)
}

// CountHanded returns how many jobs of a tenant members have that are not
// known to have ended.
func (tx *Tx) CountHanded(tenant string) (n int, err error) {
	err = tx.get([]any{&n}, "count", "SELECT count(*) FROM handed WHERE live = 1 AND tenant = ?", tenant)
	return n, err
}

// FindHanded returns the jobs that ref may mean, as of FindJob: one, or several
// whose ids begin with it, or none.
func (tx *Tx) FindHanded(tenant, ref string) ([]Handed, error) {
	if ref == Last {
		return tx.handed("tenant = ? AND job <> ''", 1, tenant)
	}
	var list []Handed
	var err error
	if prefix := strings.ToLower(ref); isPrefix(prefix) {
		list, err = tx.handed("tenant = ? AND job >= ? AND job < ? || '~'", maxMatches+1, tenant, prefix, prefix)
	}
	if err != nil || len(list) == 1 || ref == "" {
		return list, err
	}
	named, err := tx.handed("tenant = ? AND job <> '' AND name = ?", 1, tenant, ref)
	if len(named) == 1 {
		list = named
	}
	return list, err
}

func (tx *Tx) handed(where string, limit int, args ...any) (list []Handed, err error) {
	if limit <= 0 {
		limit = math.MaxInt32
	}
	var record []byte
	err = tx.each([]any{&record}, func() error {
		var h Handed
		err := json.Unmarshal(record, &h)
		list = append(list, h)
		return err
	}, "SELECT record FROM handed WHERE "+where+" ORDER BY seq DESC LIMIT ?", append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("list what was handed over: %w", err)
	}
	return list, nil
}

// DeleteUnanswered forgets what members were asked to take before a time and
// have never answered.
func (tx *Tx) DeleteUnanswered(before time.Time) error {
	list, err := tx.handed("job = ''", 0)
	for _, h := range list {
		if err == nil && h.Asked.Before(before) {
			err = tx.DeleteHanded(h.Tenant, h.Key)
		}
	}
	return err
}

// DeleteHanded forgets what a tenant handed over with a key; without such a
// row it does nothing.
func (tx *Tx) DeleteHanded(tenant, key string) error {
	if err := tx.exec("DELETE FROM handed WHERE tenant = ? AND key = ?", tenant, key); err != nil {
		return fmt.Errorf("forget what was handed over: %w", err)
	}
	return nil
}
