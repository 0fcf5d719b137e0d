package schedule_test

import (
	"context"
	"errors"
	"maps"
	"math"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/schedule"
)

// odd are times that a schedule's file of another member may say.
var odd = []struct {
	name    string
	created time.Time
	cursor  int64
}{
	{"a cursor at the end of numbers", epoch, math.MaxInt64},
	{"a cursor at the other end", epoch, math.MinInt64},
	{"a cursor that is negative", epoch, -1},
	{"a cursor of the year 9000", epoch, time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC).Unix()},
	{"made before 1734", time.Date(1700, 1, 1, 0, 0, 0, 0, time.UTC), epoch.Unix()},
	{"made in the year 1", time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), epoch.Unix()},
	{"made in the year 9000", time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC), epoch.Unix()},
}

// An heir refuses a schedule whose times no clock could have shown. The
// control: the same one with honest times is taken.
func TestHeirRefusesOddTimes(t *testing.T) {
	w := newWorld(t, 1)
	w.boot()
	s := jobspec.Schedule{Name: "s", Cron: "@every 1m", Overlap: jobspec.OverlapForbid, Created: epoch, Cursor: epoch.Unix()}
	if err := w.e.Check(s); err != nil {
		t.Fatalf("Check of an honest schedule = %v", err)
	}
	for _, tt := range odd {
		s.Created, s.Cursor = tt.created, tt.cursor
		if err := w.e.Check(s); !errors.Is(err, jobspec.KindSpec.Error()) {
			t.Errorf("%s: Check = %v, want %s", tt.name, err, jobspec.KindSpec)
		}
		if err := w.e.CheckTimes(epoch, true, tt.cursor); (err == nil) != (tt.cursor >= 0 && tt.cursor < 1<<53) {
			t.Errorf("%s: CheckTimes of versions = %v", tt.name, err)
		}
	}
}

// Should such times get into the store all the same, what is computed of them
// ends, and never goes back in time.
func TestExprEndsAtAnyTime(t *testing.T) {
	now := epoch.AddDate(0, 6, 0)
	for _, tt := range odd {
		for _, text := range []string{"@every 1m", "@every 8760h", "0 0 29 2 *", "* * * * *"} {
			e, err := schedule.ParseExpr(text, "", tt.created, now, time.Minute)
			if err != nil {
				t.Fatalf("%s: %s: %v", tt.name, text, err)
			}
			from := time.Unix(tt.cursor, 0)
			for _, at := range []time.Time{from, now, tt.created} {
				if next := e.Next(at); !next.IsZero() && !next.After(at) {
					t.Errorf("%s: %s: after %s comes %s", tt.name, text, at, next)
				}
			}
			list, _, _, older := e.Between(from, now, 1000)
			if len(list) > 1000 || older > 10_000 {
				t.Errorf("%s: %s: %d instants and %d older ones", tt.name, text, len(list), older)
			}
		}
	}
}

// moved is a Holder of schedules that other members own.
type moved struct {
	*waits
	over bool
	err  error
}

func (h *moved) Over(context.Context, jobspec.Schedule) (bool, error) { return h.over, h.err }
func (h *moved) Hold(context.Context, jobspec.Schedule) (*jobspec.Tenure, error) {
	return nil, nil
}

// What another member owns is removed there. When it was, or nobody can say any
// more, what is left of it is removed here.
func TestRemoveOfAnotherMembers(t *testing.T) {
	for name, tt := range map[string]struct {
		holder moved
		want   error
	}{
		"it goes on there":     {moved{}, jobspec.KindLeaseLost.Error()},
		"nobody answers":       {moved{err: jobspec.KindNoQuorum.Errorf("none")}, jobspec.KindNoQuorum.Error()},
		"it was removed there": {moved{over: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.holder = &tt.holder
			w.boot()
			s := w.add(jobspec.Schedule{Name: "s", Cron: "@daily"})
			if err := w.e.Lose(t.Context(), s.ID, "other"); err != nil {
				t.Fatal(err)
			}
			if _, err := w.e.Remove(t.Context(), "local", "s"); !errors.Is(err, tt.want) {
				t.Errorf("Remove = %v, want %v", err, tt.want)
			}
			if _, err := w.e.Get(t.Context(), s.ID); (err == nil) != (tt.want != nil) {
				t.Errorf("behind it Get = %v", err)
			}
		})
	}
}

// What was left to another member is decided here after all, when the schedule
// comes back before that one had a job for it; what had one is not.
func TestComesBackUndecided(t *testing.T) {
	for name, tt := range map[string]struct {
		ran  bool // there
		want string
	}{
		"nobody ran it":    {false, "01T01:00 succeeded"},
		"it was run there": {true, "01T01:00 missed moved"}, // the control
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.refuse, w.long = 1, time.Minute
			w.boot()
			s := w.add(jobspec.Schedule{Name: "s", Cron: "0 * * * *", CatchUp: jobspec.CatchUpLast})
			w.until(time.Hour + 10*time.Second)
			if err := w.e.Lose(t.Context(), s.ID, "other"); err != nil {
				t.Fatal(err)
			}
			w.until(time.Minute)
			w.wantStates(s, "01T01:00 missed moved") // the control
			own := schedule.Tenancy{Tenure: jobspec.Tenure{Record: "r", Epoch: 3}, New: &s, Taken: true, Cursor: s.Cursor}
			if tt.ran {
				own.Cursor = epoch.Add(time.Hour).Unix()
			}
			w.refuse = 0
			if err := w.e.Own(t.Context(), s.ID, own); err != nil {
				t.Fatal(err)
			}
			w.until(30 * time.Minute)
			w.wantStates(s, tt.want)
		})
	}
}

// The same for a name without versions, which may point elsewhere by then: what it
// pointed to is run all the same.
func TestNameComesBackUndecided(t *testing.T) {
	h := &heads{}
	h.move(t, 1)
	w := newWorld(t, 1)
	w.heads, w.refuse, w.long = h, 1, time.Minute
	w.boot()
	s := w.add(jobspec.Schedule{Name: "s", OnChange: "name"})
	h.move(t, 1)
	moved := h.named
	w.until(time.Hour)
	if err := w.e.Lose(t.Context(), s.ID, "other"); err != nil {
		t.Fatal(err)
	}
	w.until(time.Minute)
	if rows := w.rows(s, 0); len(rows) != 1 || rows[0].Missed != jobspec.MissedMoved || rows[0].Input != moved { // the control
		t.Fatalf("left to the other member: %+v", rows)
	}
	h.move(t, 1)
	w.refuse = 0
	own := schedule.Tenancy{Tenure: jobspec.Tenure{Record: "r", Epoch: 3}, New: &s, Taken: true, Cursor: s.Cursor}
	if err := w.e.Own(t.Context(), s.ID, own); err != nil {
		t.Fatal(err)
	}
	w.until(24 * time.Hour)
	ran := map[jobspec.CID]int{}
	for _, i := range w.rows(s, 0) {
		if i.State == jobspec.InstantSucceeded {
			ran[i.Input] += w.runs[i.Key()]
		}
	}
	if want := map[jobspec.CID]int{moved: 1, h.named: 1}; !maps.Equal(ran, want) {
		t.Errorf("ran %v, want %v", ran, want)
	}
}
