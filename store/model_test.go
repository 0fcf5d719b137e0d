package store_test

import (
	"errors"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// The event log against a map of slices (I8): numbered from 1 without gaps per
// job, whatever fails, is deleted or reopened in between.
func TestEventsModel(t *testing.T) {
	dir := t.TempDir()
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		path := filepath.Join(dir, strconv.Itoa(round))
		st := openAt(t, path)
		model := map[jobspec.JobID][]jobspec.Event{}
		jobID := rapid.SampledFrom([]jobspec.JobID{"01k0aaaaaaaaaaaaaaaaaaaaaa", "01k0aaaaaaaaaaaaaaaaaaaaab", "01k0bbbbbbbbbbbbbbbbbbbbbb"})
		append1 := func(tx *store.Tx, id jobspec.JobID) (jobspec.Event, error) {
			return tx.AppendEvent(jobspec.Event{Job: id, Time: epoch, Done: len(model[id])})
		}
		rt.Repeat(map[string]func(*rapid.T){
			"put job": func(rt *rapid.T) {
				j := newJob("local", "")
				j.ID = jobID.Draw(rt, "job")
				update(t, st, func(tx *store.Tx) error { return tx.PutJob(j) })
				model[j.ID] = append([]jobspec.Event{}, model[j.ID]...)
			},
			"append": func(rt *rapid.T) {
				id := jobID.Draw(rt, "job")
				var e jobspec.Event
				err := st.Update(t.Context(), func(tx *store.Tx) (err error) { e, err = append1(tx, id); return err })
				if model[id] == nil {
					if !errors.Is(err, jobspec.KindNotFound.Error()) {
						rt.Fatalf("AppendEvent without a job: %v", err)
					}
					return
				}
				if want := int64(len(model[id]) + 1); err != nil || e.Seq != want {
					rt.Fatalf("AppendEvent = %d, %v, want %d", e.Seq, err, want)
				}
				model[id] = append(model[id], e)
			},
			"append and fail": func(rt *rapid.T) {
				id, boom := jobID.Draw(rt, "job"), errors.New("boom")
				_ = st.Update(t.Context(), func(tx *store.Tx) error { _, _ = append1(tx, id); return boom })
			},
			"delete": func(rt *rapid.T) {
				id := jobID.Draw(rt, "job")
				update(t, st, func(tx *store.Tx) error { return tx.DeleteJob(id) })
				delete(model, id)
			},
			"reopen": func(*rapid.T) {
				if err := st.Close(); err != nil {
					rt.Fatal(err)
				}
				st = openAt(t, path)
			},
			"": func(rt *rapid.T) {
				id := jobID.Draw(rt, "job")
				after, limit := rapid.IntRange(0, 5).Draw(rt, "after"), rapid.IntRange(0, 3).Draw(rt, "limit")
				want := model[id][min(after, len(model[id])):]
				if limit > 0 {
					want = want[:min(limit, len(want))]
				}
				view(t, st, func(tx *store.Tx) error {
					got, err := tx.Events(id, int64(after), limit)
					if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
						rt.Fatalf("Events(%d, %d) (-want +got):\n%s", after, limit, diff)
					}
					return err
				})
			},
		})
		if err := st.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}
