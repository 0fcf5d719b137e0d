package schedule_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/schedule"
	"github.com/ipdc/ipdc/store"
)

// anew makes the dataset anew, with n versions.
func (h *heads) anew(t *testing.T, id string, n int) {
	t.Helper()
	h.id, h.versions = id, nil
	h.move(t, n)
}

// read are the versions that a schedule's jobs read, the first one first. Each
// instant has a slot of its own, and ran once.
func (w *world) read(s jobspec.Schedule) (list []string) {
	w.t.Helper()
	for _, i := range w.rows(s, 0) {
		if n := w.runs[i.Key()]; n != 1 || i.State != jobspec.InstantSucceeded {
			w.t.Errorf("slot %d, %s, is %s and ran %d times", i.Slot, i.Dataset, i.State, n)
		}
		list = append([]string{i.Dataset}, list...)
	}
	return list
}

// A dataset that is removed and made anew has versions from 1 again: each of them
// is run, however many the one before had, and however the node is killed.
func TestDatasetMadeAnew(t *testing.T) {
	h := &heads{}
	h.anew(t, "first", 5)
	w := newWorld(t, 1)
	w.heads = h
	w.boot()
	s := w.add(jobspec.Schedule{Name: "s", OnChange: "sensors"})
	h.move(t, 2)
	w.until(7 * 24 * time.Hour)
	want := []string{"sensors@6", "sensors@7"}
	w.kill = 0.05
	for n, versions := range []int{3, 20, 1} {
		h.anew(t, fmt.Sprint("anew", n), versions)
		w.until(14 * 24 * time.Hour)
		for v := range versions {
			want = append(want, fmt.Sprintf("sensors@%d", v+1))
		}
	}
	w.kill = 0
	h.move(t, 2)
	w.until(14 * 24 * time.Hour)
	want = append(want, "sensors@2", "sensors@3")
	if diff := gocmp.Diff(want, w.read(s)); diff != "" {
		t.Errorf("versions that were run (-want +got):\n%s", diff)
	}
}

// What waits for its turn when the dataset is made anew is never run: its name is
// that of another version then.
func TestDatasetMadeAnewBeforeItsTurn(t *testing.T) {
	h := &heads{}
	h.anew(t, "first", 5)
	w := newWorld(t, 1)
	w.heads, w.long = h, 8*time.Hour
	w.boot()
	s := w.add(jobspec.Schedule{Name: "s", OnChange: "sensors"})
	w.tick()
	h.move(t, 2)
	w.e.Moved(t.Context(), "local", "sensors")
	w.tick()
	h.anew(t, "second", 7)
	w.until(7 * 24 * time.Hour)
	var got []string
	for _, i := range w.rows(s, 0) {
		got = append([]string{fmt.Sprintf("%s %s %d", i.Dataset, cmp.Or(string(i.Missed), string(i.State)), w.runs[i.Key()])}, got...)
	}
	want := []string{"sensors@6 succeeded 1", "sensors@7 refused 0"}
	for v := range 7 {
		want = append(want, fmt.Sprintf("sensors@%d succeeded 1", v+1))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

// A schedule from before ids of datasets were noted goes on with the one that it
// follows; one that is made anew then is seen.
func TestDatasetOfAnOldSchedule(t *testing.T) {
	h := &heads{}
	h.anew(t, "first", 5)
	w := newWorld(t, 1)
	w.heads = h
	w.boot()
	s := w.add(jobspec.Schedule{Name: "s", OnChange: "sensors"})
	s.Counts = nil
	if err := w.st.Update(t.Context(), func(tx *store.Tx) error { return tx.PutSchedule(s) }); err != nil {
		t.Fatal(err)
	}
	h.move(t, 1)
	w.until(7 * 24 * time.Hour)
	h.anew(t, "second", 1)
	w.until(7 * 24 * time.Hour)
	if diff := gocmp.Diff([]string{"sensors@6", "sensors@1"}, w.read(s)); diff != "" {
		t.Errorf("versions that were run (-want +got):\n%s", diff)
	}
}

// told is a Holder that keeps what it is told of a schedule's count.
type told struct {
	*waits
	counts *jobspec.Counts
}

func (h *told) Hold(context.Context, jobspec.Schedule) (*jobspec.Tenure, error) {
	return &jobspec.Tenure{Record: "r", Epoch: 1}, nil
}

func (h *told) Count(_ context.Context, _ jobspec.Schedule, c jobspec.Counts) error {
	h.counts = &c
	return nil
}

// An heir goes on behind the newest version of the dataset that was made anew, by
// what the keepers were told; without that it would begin at the first again.
func TestHeirOfADatasetMadeAnew(t *testing.T) {
	for name, tt := range map[string]struct {
		knows bool
		want  []string
	}{
		"it counts as its owner did": {true, []string{"sensors@3"}},
		"it was not told":            {false, []string{"sensors@1", "sensors@2", "sensors@3"}}, // the control
	} {
		t.Run(name, func(t *testing.T) {
			h, k := &heads{}, &told{}
			h.anew(t, "first", 5)
			owner := newWorld(t, 1)
			owner.heads, owner.holder = h, k
			owner.boot()
			first := owner.add(jobspec.Schedule{Name: "s", OnChange: "sensors"})
			h.anew(t, "second", 2)
			owner.until(7 * 24 * time.Hour)
			got, err := owner.e.Get(t.Context(), first.ID)
			if err != nil || len(owner.read(first)) != 2 {
				t.Fatalf("the owner ran %v, %v", owner.read(first), err)
			}
			heir := newWorld(t, 2)
			heir.heads, heir.wall = h, owner.wall
			heir.boot()
			own := schedule.Tenancy{Tenure: jobspec.Tenure{Record: "r", Epoch: 2}, New: &first, Taken: true, Cursor: got.Cursor}
			if tt.knows {
				first.Counts = k.counts
			}
			if err := heir.e.Own(t.Context(), first.ID, own); err != nil {
				t.Fatal(err)
			}
			h.move(t, 1)
			heir.until(7 * 24 * time.Hour)
			if diff := gocmp.Diff(tt.want, heir.read(first)); diff != "" {
				t.Errorf("versions that the heir ran (-want +got):\n%s", diff)
			}
		})
	}
}
