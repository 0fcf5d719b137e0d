package store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

func TestFindJob(t *testing.T) {
	st := openNew(t)
	ids := []jobspec.JobID{
		"01k0aaaaaaaaaaaaaaaaaaaaaa", "01k0aaaaaaaaaaaaaaaaaaaaab", "01k0bbbbbbbbbbbbbbbbbbbbbb",
		"01k0c0000000000000000000c1", "01k0c0000000000000000000c2", "01k0c0000000000000000000c3",
		"01k0c0000000000000000000c4", "01k0c0000000000000000000c5", "01k0c0000000000000000000c6",
	}
	names := []string{"twice", "twice", "01k0c", "", "", "", "", "", "end"}
	update(t, st, func(tx *store.Tx) error {
		for i, id := range ids {
			j := newJob("local", names[i])
			j.ID = id
			if err := tx.PutJob(j); err != nil {
				return err
			}
		}
		other := newJob("other", "secret")
		other.ID = "01k0d0000000000000000000d0"
		return tx.PutJob(other)
	})
	for _, tt := range []struct {
		ref    string
		want   jobspec.JobID
		kind   jobspec.Kind
		detail string
	}{
		{ref: string(ids[1]), want: ids[1]},
		{ref: strings.ToUpper(string(ids[1])), want: ids[1]},
		{ref: "01k0b", want: ids[2]},
		{ref: "twice", want: ids[1]},
		{ref: "01k0c", want: ids[2]}, // an exact name goes before an ambiguous prefix
		{ref: "end", want: ids[8]},
		{ref: "@last", want: ids[8]},
		{ref: "01k0a", kind: jobspec.KindConflict, detail: "01k0aaaaaaaaaaaaaaaaaaaaaa, 01k0aaaaaaaaaaaaaaaaaaaaab"},
		{ref: "01k0c0", kind: jobspec.KindConflict, detail: "c5, ..."},
		{ref: "01", kind: jobspec.KindNotFound},
		{ref: "", kind: jobspec.KindNotFound},
		{ref: "01k0%", kind: jobspec.KindNotFound},
		{ref: "secret", kind: jobspec.KindNotFound}, // another tenant's
		{ref: "01k0d", kind: jobspec.KindNotFound},
		{ref: "01k0d0000000000000000000d0", kind: jobspec.KindNotFound},
	} {
		t.Run(tt.ref, func(t *testing.T) {
			view(t, st, func(tx *store.Tx) error {
				got, err := tx.FindJob("local", tt.ref)
				if tt.kind != "" {
					wantKind(t, err, tt.kind)
					if !strings.Contains(fmt.Sprint(err), tt.detail) {
						t.Errorf("FindJob(%q): %v, want %q in it", tt.ref, err, tt.detail)
					}
					return nil
				}
				if got != tt.want {
					t.Errorf("FindJob(%q) = %s, want %s", tt.ref, got, tt.want)
				}
				return err
			})
		})
	}
}

func TestJobsFilter(t *testing.T) {
	st := openNew(t)
	put := func(name, tenant string, state jobspec.JobState, labels map[string]string) {
		j := newJob(tenant, name)
		j.State, j.Spec.Labels = state, labels
		update(t, st, func(tx *store.Tx) error { return tx.PutJob(j) })
	}
	put("a", "local", jobspec.JobSucceeded, map[string]string{"x": "1", "y": "2"})
	put("b", "local", jobspec.JobRunning, map[string]string{"x": "1"})
	put("c", "other", jobspec.JobQueued, nil)
	put("d", "local", jobspec.JobStopped, map[string]string{"x": "2"})
	for i, over := range []jobspec.DatasetUse{{Name: "logs", Version: 2, Owner: "o"}, {Name: "logs", Version: 3, Owner: "o", ID: "old"}, {Name: "photos", Version: 3}} {
		j := newJob("over", fmt.Sprint("run", i))
		j.Dataset, j.State = &over, jobspec.JobSucceeded
		update(t, st, func(tx *store.Tx) error { return tx.PutJob(j) })
	}
	for _, tt := range []struct {
		name string
		f    store.Filter
		want string
	}{
		{"all, newest first", store.Filter{}, "run2 run1 run0 d c b a"},
		{"tenant", store.Filter{Tenant: "local"}, "d b a"},
		{"live", store.Filter{Live: true}, "c b"},
		{"states", store.Filter{States: []jobspec.JobState{jobspec.JobRunning, jobspec.JobStopped}}, "d b"},
		{"label", store.Filter{Labels: map[string]string{"x": "1"}}, "b a"},
		{"labels", store.Filter{Labels: map[string]string{"x": "1", "y": "2"}}, "a"},
		{"no such label", store.Filter{Labels: map[string]string{"z": ""}}, ""},
		{"limit", store.Filter{Tenant: "local", Limit: 2}, "d b"},
		{"dataset", store.Filter{Dataset: jobspec.DatasetRef{Name: "logs"}}, "run1 run0"},
		{"version", store.Filter{Dataset: jobspec.DatasetRef{Name: "logs", Version: 3}}, "run1"},
		{"dataset made anew", store.Filter{Dataset: jobspec.DatasetRef{Name: "logs"}, NamedNow: map[identity.ID][]string{"o": {"new"}, "p": {"other"}}}, "run0"}, // which notes no id
		{"dataset of some", store.Filter{Dataset: jobspec.DatasetRef{Name: "logs"}, NamedNow: map[identity.ID][]string{"o": {"new", "old"}}}, "run1 run0"},
		{"dataset of another", store.Filter{Dataset: jobspec.DatasetRef{Name: "logs"}, NamedNow: map[identity.ID][]string{"p": {"new"}}}, "run1 run0"},
		{"all at once", store.Filter{Tenant: "local", Live: true, Labels: map[string]string{"x": "1"}, States: []jobspec.JobState{jobspec.JobRunning}, Limit: 5}, "b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			view(t, st, func(tx *store.Tx) error {
				jobs, err := tx.Jobs(tt.f)
				var got []string
				for _, j := range jobs {
					got = append(got, j.Spec.Name)
				}
				if strings.Join(got, " ") != tt.want {
					t.Errorf("Jobs(%+v) = %v, want %s", tt.f, got, tt.want)
				}
				return err
			})
		})
	}
}
