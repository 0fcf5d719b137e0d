package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/schedule"
)

// until lets time go by without mishaps.
func (w *world) until(d time.Duration) {
	w.t.Helper()
	for end := w.ran + d; w.ran < end; {
		w.pass(min(max(w.tick(), time.Second), end-w.ran))
	}
	w.tick()
}

func (w *world) states(s jobspec.Schedule) (list []string) {
	for _, i := range w.rows(s, 0) {
		text := i.At.Format("02T15:04") + " " + string(i.State)
		if i.Missed != "" {
			text += " " + string(i.Missed)
		}
		if i.Count > 0 {
			text += fmt.Sprintf(" x%d", i.Count)
		}
		list = append(list, text)
	}
	return list
}

func (w *world) wantStates(s jobspec.Schedule, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.states(s)); diff != "" {
		w.t.Errorf("history of %s (-want +got):\n%s", s.Name, diff)
	}
}

// What each policy makes of a night without the node.
func TestCatchUp(t *testing.T) {
	w := newWorld(t, 1)
	w.boot()
	none := w.add(jobspec.Schedule{Name: "none", Cron: "0 * * * *", CatchUp: jobspec.CatchUpNone})
	last := w.add(jobspec.Schedule{Name: "last", Cron: "0 * * * *", CatchUp: jobspec.CatchUpLast})
	all := w.add(jobspec.Schedule{Name: "all", Cron: "0 * * * *", CatchUp: 2, Overlap: jobspec.OverlapAllow})
	w.tick()
	w.pass(4*time.Hour + 30*time.Minute)
	w.boot()
	w.tick()
	w.wantStates(none, "01T04:00 missed down", "01T03:00 missed down", "01T02:00 missed down", "01T01:00 missed down")
	w.wantStates(last, "01T04:00 started", "01T03:00 missed catch-up", "01T02:00 missed catch-up", "01T01:00 missed catch-up")
	w.wantStates(all, "01T04:00 started", "01T03:00 started", "01T02:00 missed catch-up", "01T01:00 missed catch-up")
}

// A clock that is set ten years ahead starts one job, and lists the rest
// within bounds; set back, the years ahead are to be decided anew.
func TestF31NoStormAfterAJump(t *testing.T) {
	w := newWorld(t, 1)
	w.long = time.Minute
	w.boot()
	s := w.add(jobspec.Schedule{Name: "s", Cron: "*/5 * * * *", CatchUp: jobspec.CatchUpLast})
	w.until(time.Hour)
	before := len(w.runs)
	const years = 10 * 365 * 24 * time.Hour
	w.wall = w.wall.Add(years)
	w.tick()
	if n := len(w.runs) - before; n > 1 {
		t.Errorf("the jump began %d jobs, want at most one", n)
	}
	rows := w.rows(s, 0)
	if len(rows) > 1100 || rows[len(rows)-1].At.Before(s.Created) {
		t.Errorf("%d rows after the jump", len(rows))
	}
	w.wall = w.wall.Add(-years)
	before = len(w.runs)
	w.until(2 * time.Hour)
	if n := len(w.runs) - before; n < 2 {
		t.Errorf("after the clock was set right %d jobs began in two hours", n)
	}
	w.settle([]jobspec.Schedule{s})
	if problems, n, _ := w.judge(s); len(problems) > 0 || n < 30 {
		t.Errorf("%d instants: %v", n, problems)
	}
}

// A job that takes longer than its schedule's interval.
func TestS22Overlap(t *testing.T) {
	for overlap, want := range map[jobspec.Overlap][]string{
		jobspec.OverlapForbid:  {"01T00:15 missed overlap", "01T00:10 missed overlap", "01T00:05 started"},
		jobspec.OverlapAllow:   {"01T00:15 started", "01T00:10 started", "01T00:05 started"},
		jobspec.OverlapReplace: {"01T00:15 started", "01T00:10 stopped", "01T00:05 stopped"},
	} {
		w := newWorld(t, 1)
		w.long = time.Hour
		w.boot()
		s := w.add(jobspec.Schedule{Name: "s", Cron: "*/5 * * * *", Overlap: overlap, CatchUp: 1})
		w.until(16 * time.Minute)
		w.wantStates(s, want...)
		_, err := w.e.RunNow(t.Context(), "local", "s")
		if refused := errors.Is(err, jobspec.KindConflict.Error()); refused != (overlap == jobspec.OverlapForbid) {
			t.Errorf("%s: run now = %v", overlap, err)
		}
	}
}

// A job that was made before the node was killed is found again, however long
// submits are refused then: what ran is not missed.
func TestRefusedAfterAKill(t *testing.T) {
	for _, overlap := range []jobspec.Overlap{jobspec.OverlapForbid, jobspec.OverlapReplace} {
		w := newWorld(t, 1)
		w.boot()
		s := w.add(jobspec.Schedule{Name: "s", Cron: "0 * * * *", Overlap: overlap, CatchUp: 1})
		w.kill, w.killAt = 1, "instant-started.after-effect"
		for w.kills == 0 {
			w.pass(w.tick())
		}
		w.kill, w.refuse = 0, 1
		w.until(3 * time.Hour)
		w.settle([]jobspec.Schedule{s})
		if problems, n, ran := w.judge(s); len(problems) > 0 || n < 3 || ran == 0 {
			t.Errorf("%s: %d instants, %d of them run: %v", overlap, n, ran, problems)
		}
	}
}

// Run-now makes no more rows than may wait, and none of a schedule that another
// member owns is removed or run here.
func TestRunNowIsBounded(t *testing.T) {
	w := newWorld(t, 1)
	w.refuse = 1
	w.boot()
	s := w.add(jobspec.Schedule{Name: "s", Cron: "@daily", Overlap: jobspec.OverlapAllow})
	taken := 0
	for range 200 {
		_, err := w.e.RunNow(t.Context(), "local", "s")
		if err != nil {
			if !errors.Is(err, jobspec.KindLimit.Error()) {
				t.Fatalf("RunNow = %v", err)
			}
			break
		}
		taken++
	}
	if taken != 100 {
		t.Errorf("%d instants wait, want 100", taken)
	}
	if err := w.e.Lose(t.Context(), s.ID, "other"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.e.Remove(t.Context(), "local", "s"); !errors.Is(err, jobspec.KindLeaseLost.Error()) {
		t.Errorf("Remove of another member's = %v", err)
	}
}

func TestPause(t *testing.T) {
	w := newWorld(t, 1)
	w.long = time.Hour
	w.boot()
	s := w.add(jobspec.Schedule{Name: "s", Cron: "0 * * * *", CatchUp: 5})
	w.until(30 * time.Minute)
	if _, err := w.e.Pause(t.Context(), "local", "s", true); err != nil {
		t.Fatal(err)
	}
	w.until(time.Hour)
	w.pass(time.Hour) // down, too
	w.boot()
	if got, err := w.e.Pause(t.Context(), "local", "s", false); err != nil || got.Paused {
		t.Errorf("resume = %+v, %v", got, err)
	}
	w.until(time.Hour)
	w.wantStates(s, "01T03:00 started", "01T02:00 missed paused", "01T01:00 missed paused")
}

// Tenants do not see each other's schedules, and have so many at most.
func TestS22TenantsAndTheirCaps(t *testing.T) {
	w := newWorld(t, 1)
	w.cap = 3
	w.boot()
	add := func(tenant, name, cron string) (jobspec.Schedule, bool, error) {
		return w.e.Add(t.Context(), jobspec.Schedule{Tenant: tenant, Name: name, Cron: cron, CatchUp: 1}, func(jobspec.Spec) error { return nil })
	}
	for n := range 3 {
		if _, created, err := add("alice", fmt.Sprint("s", n), "@daily"); err != nil || !created {
			t.Fatalf("Add = %t, %v", created, err)
		}
	}
	if s, created, err := add("alice", "s1", "@daily"); err != nil || created || s.Name != "s1" {
		t.Errorf("the same again = %s, %t, %v", s.Name, created, err)
	}
	if _, _, err := add("alice", "s1", "@hourly"); !errors.Is(err, jobspec.KindConflict.Error()) {
		t.Errorf("another of the same name: %v", err)
	}
	if _, _, err := add("alice", "s4", "@daily"); !errors.Is(err, jobspec.KindLimit.Error()) {
		t.Errorf("one too many: %v", err)
	}
	if _, _, err := add("bob", "s1", "@hourly"); err != nil { // the control
		t.Errorf("another tenant: %v", err)
	}
	hers, err := w.e.Schedule(t.Context(), "alice", "s2")
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"s2", hers.ID.String(), hers.ID.String()[:20]} {
		_, err := w.e.Schedule(t.Context(), "bob", ref)
		_, err2 := w.e.Remove(t.Context(), "bob", ref)
		_, err3 := w.e.History(t.Context(), "bob", ref, 0, 0)
		_, err4 := w.e.RunNow(t.Context(), "bob", ref)
		_, err5 := w.e.Pause(t.Context(), "bob", ref, true)
		for _, err := range []error{err, err2, err3, err4, err5} {
			if !errors.Is(err, jobspec.KindNotFound.Error()) {
				t.Errorf("bob and %s: %v, want E_NOT_FOUND", ref, err)
			}
		}
	}
	if _, err := w.e.Remove(t.Context(), "alice", "s2"); err != nil {
		t.Errorf("Remove = %v", err)
	}
}

// heads is a dataset in memory.
type heads struct {
	id       string
	versions []schedule.Version
	named    jobspec.CID // what a name without versions points to
}

func (h *heads) Head(_ context.Context, _, name string) (schedule.Version, error) {
	switch {
	case name == "name":
		return schedule.Version{CID: h.named}, nil
	case name != "sensors":
		return schedule.Version{}, jobspec.KindNotFound.Errorf("there is no dataset %q", name)
	}
	return h.versions[len(h.versions)-1], nil
}

func (h *heads) After(_ context.Context, _, _ string, version int64) (list []schedule.Version, _ error) {
	return h.versions[version:], nil
}

func (h *heads) move(t *testing.T, n int) {
	t.Helper()
	for range n {
		c, err := jobspec.Spec{Name: fmt.Sprint(len(h.versions))}.CID()
		if err != nil {
			t.Fatal(err)
		}
		h.versions = append(h.versions, schedule.Version{Version: int64(len(h.versions) + 1), CID: c, ID: h.id})
		h.named = c
	}
}

// Each version of a head is run once, also those that came while the node was
// down, however it is killed.
func TestOnChange(t *testing.T) {
	h := &heads{}
	h.move(t, 2)
	w := newWorld(t, 1)
	w.heads = h
	w.boot()
	s := w.add(jobspec.Schedule{Name: "s", OnChange: "sensors"})
	named := w.add(jobspec.Schedule{Name: "named", OnChange: "name"})
	if got := s.Spec.Inputs[0].Dataset; got != "sensors@2" {
		t.Errorf("the input is %q, want sensors@2", got)
	}
	w.until(time.Hour)
	w.wantStates(s)
	w.kill = 0.05
	for range 10 {
		h.move(t, 1+w.rnd.IntN(8))
		w.until(time.Duration(w.rnd.IntN(int(24 * time.Hour))))
	}
	w.kill = 0
	w.until(7 * 24 * time.Hour)
	var slots []int64
	for _, i := range w.rows(s, 0) {
		if n := w.runs[i.Key()]; n != 1 || i.State != jobspec.InstantSucceeded || i.Dataset != fmt.Sprintf("sensors@%d", i.Slot) {
			t.Errorf("version %d is %s with %s, and ran %d times", i.Slot, i.State, i.Dataset, n)
		}
		slots = append(slots, i.Slot)
	}
	if len(slots) != len(h.versions)-2 {
		t.Errorf("%d versions ran, %d came", len(slots), len(h.versions)-2)
	}
	if rows := w.rows(named, 0); len(rows) == 0 || rows[0].Input != h.named || w.runs[rows[0].Key()] != 1 {
		t.Errorf("the name without versions was not followed: %+v", rows)
	}
	_, _, err := w.e.Add(t.Context(), jobspec.Schedule{Tenant: "local", Name: "x", OnChange: "nothing"}, func(jobspec.Spec) error { return nil })
	if !errors.Is(err, jobspec.KindNotFound.Error()) {
		t.Errorf("a head that is not there: %v, want E_NOT_FOUND", err)
	}
}

// A head that is known to have moved is looked at in the next pass; else nobody
// looks before it is time to.
func TestMoved(t *testing.T) {
	h := &heads{}
	h.move(t, 1)
	w := newWorld(t, 1)
	w.heads = h
	w.boot()
	s := w.add(jobspec.Schedule{Name: "s", OnChange: "sensors"})
	other := w.add(jobspec.Schedule{Name: "other", OnChange: "name"})
	w.tick()
	w.tick()
	h.move(t, 1)
	for _, not := range [][2]string{{"ci", "sensors"}, {"local", "logs"}} {
		w.e.Moved(t.Context(), not[0], not[1])
		if w.tick(); len(w.rows(s, 0)) != 0 {
			t.Fatalf("the head was looked at before its time, when %s of %s moved", not[1], not[0])
		}
	}
	w.e.Moved(t.Context(), "local", "sensors")
	w.tick()
	if n, m := len(w.rows(s, 0)), len(w.rows(other, 0)); n != 1 || m != 0 {
		t.Errorf("after its head moved the schedule has %d instants, and another one %d, want 1 and 0", n, m)
	}
}

// A job that is refused for good, and one that is refused for longer than its
// instant may wait, are missed with the reason.
func TestRefused(t *testing.T) {
	w := newWorld(t, 1)
	w.refuse = 1
	w.boot()
	s := w.add(jobspec.Schedule{Name: "s", Cron: "*/30 * * * *", CatchUp: 1})
	w.until(70 * time.Minute)
	rows := w.rows(s, 0)
	if len(rows) != 2 || rows[1].Missed != jobspec.MissedRefused && rows[0].Missed != jobspec.MissedOverlap || rows[1].Detail == "" {
		t.Errorf("history %v: %+v", w.states(s), rows)
	}
}

// What is forgotten of a long history is not run again when the clock is set back.
func TestForgottenHistoryIsNotRunAgain(t *testing.T) {
	w := newWorld(t, 1)
	w.history = 20
	w.boot()
	s := w.add(jobspec.Schedule{Name: "s", Cron: "*/5 * * * *", CatchUp: 1, Overlap: jobspec.OverlapAllow})
	w.until(6 * time.Hour)
	if n := len(w.rows(s, 0)); n > 60 {
		t.Errorf("%d rows are kept of 20", n)
	}
	w.wall = w.wall.Add(-5 * time.Hour)
	w.until(6 * time.Hour)
	for key, n := range w.runs {
		if n > 1 {
			t.Errorf("%s ran %d times", key, n)
		}
	}
}
