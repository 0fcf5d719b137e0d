package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// Jobs at other members are found as those here are.
func TestHanded(t *testing.T) {
	st := openNew(t)
	hand := func(tenant, key, name string, state jobspec.JobState) store.Handed {
		h := store.Handed{Tenant: tenant, Key: key, Member: "12D3KooWmember", Asked: time.Unix(1000, 0).UTC(), Job: newJob(tenant, name)}
		h.Job.State = state
		update(t, st, func(tx *store.Tx) error { return tx.PutHanded(h) })
		return h
	}
	a := hand("t", "1", "one", jobspec.JobRunning)
	b := hand("t", "2", "two", jobspec.JobSucceeded)
	hand("u", "1", "one", jobspec.JobRunning)
	open := store.Handed{Tenant: "t", Key: "3", Asked: time.Unix(1000, 0).UTC()}
	update(t, st, func(tx *store.Tx) error { return tx.PutHanded(open) })
	view(t, st, func(tx *store.Tx) error {
		for ref, want := range map[string]string{
			"@last": "2", "one": "1", "two": "2", a.Job.ID.String(): "1", b.Job.ID.String(): "2", "none": "", "": "",
		} {
			list, err := tx.FindHanded("t", ref)
			got := ""
			if len(list) == 1 {
				got = list[0].Key
			}
			if got != want || err != nil {
				t.Errorf("FindHanded(%q) = key %q, %v, want %q", ref, got, err, want)
			}
		}
		if list, err := tx.FindHanded("t", a.Job.ID.String()[:3]); len(list) != 2 || err != nil {
			t.Errorf("FindHanded of a short prefix = %d jobs, %v, want 2", len(list), err)
		}
		got, err := tx.Handed("t", "1")
		if diff := cmp.Diff(a, got, cmpopts.EquateComparable(jobspec.CID{})); diff != "" || err != nil {
			t.Errorf("Handed (-want +got): %v\n%s", err, diff)
		}
		live, err1 := tx.HandedJobs("", true, 0)
		mine, err2 := tx.HandedJobs("t", false, 0)
		n, err3 := tx.CountHanded("t")
		if len(live) != 2 || len(mine) != 2 || n != 2 {
			t.Errorf("%d live, %d of t, %d of t that have not ended; want 2, 2, 2", len(live), len(mine), n)
		}
		return errors.Join(err1, err2, err3)
	})
	update(t, st, func(tx *store.Tx) error {
		return errors.Join(tx.DeleteUnanswered(time.Unix(2000, 0)), tx.DeleteHanded("t", "1"))
	})
	view(t, st, func(tx *store.Tx) error {
		for key, want := range map[string]bool{"1": false, "2": true, "3": false} {
			if _, err := tx.Handed("t", key); (err == nil) != want {
				t.Errorf("Handed(%s) = %v", key, err)
			}
		}
		return nil
	})
}
