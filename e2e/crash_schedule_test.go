package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

const oftenEnough = "IPDC_CRON_INTERVAL=1s"

// A schedule that was acknowledged is there, and asked for again it is the same.
func crashSchedule(t *testing.T, places []string) {
	n := newCrasher(t, []string{oftenEnough})
	n.calms()
	spec := crashYAML(t, "run: {image: shell, command: [date]}\n")
	for _, place := range places {
		t.Run(place, func(t *testing.T) {
			n.ready(t)
			c := n.client()
			wish := wire.ScheduleRequest{Name: place, Cron: "@every 1h", Spec: spec}
			var first wire.Schedule
			var err error
			n.crash(place, func() { first, err = c.AddSchedule(t.Context(), wish) })
			again, lost := c.AddSchedule(t.Context(), wish)
			if lost != nil || err == nil && again.ID != first.ID {
				t.Errorf("asked for again it is %s, %v, was %s, %v", again.ID, lost, first.ID, err)
			}
			if all, err := c.Schedules(t.Context()); err != nil || len(all) != 1 {
				t.Errorf("there are %d schedules, %v, want one", len(all), err)
			}
			if err := c.RemoveSchedule(t.Context(), place); err != nil {
				t.Error(err)
			}
			n.settles()
		})
	}
	n.t = t
}

// Each instant has one job and one end, or is listed as missed.
func crashInstant(t *testing.T, places []string) {
	n := newCrasher(t, []string{oftenEnough})
	out := t.TempDir()
	allowed := "publish: [{url: \"file://" + out + "\"}]\n"
	n.permit(allowed)
	spec := crashSpec(t, n.ok("add", "-q", logsDir(t)), "task", copying)
	want := n.wants(spec)
	for _, place := range places {
		t.Run(place, func(t *testing.T) {
			n.ready(t)
			c := n.client()
			wish := wire.ScheduleRequest{Name: place, Cron: "@every 2s", Overlap: "allow", Spec: spec}
			if step(place) == "instant-missed" { // what it asks for is permitted no more when its time comes
				wish.Spec.Publish = []string{"file://" + out}
			}
			s, err := c.AddSchedule(t.Context(), wish)
			if err != nil {
				t.Fatal(err)
			}
			n.crash(place, func() {
				if wish.Spec.Publish != nil {
					n.permit("publish: []\n")
				}
			})
			again := time.Now()
			n.await("an instant that is over", time.Minute, func() bool {
				list, err := c.History(t.Context(), place, 1000, 0)
				return err == nil && slices.ContainsFunc(list, func(i jobspec.Instant) bool {
					if step(place) == "instant-missed" { // as all are
						return i.State == jobspec.InstantMissed
					}
					return i.State == jobspec.InstantSucceeded && i.At.After(again)
				})
			})
			if _, err := c.PauseSchedule(t.Context(), place); err != nil {
				t.Fatal(err)
			}
			n.instantsEnd(c, s, want)
			n.settles()
			n.permit(allowed)
		})
	}
	n.t = t
}

// instantsEnd waits for all instants of a schedule, and holds that each has one
// job, which has one end.
func (n *crasher) instantsEnd(c *client.Client, s wire.Schedule, want jobspec.CID) {
	n.t.Helper()
	var list []jobspec.Instant
	n.await("its instants to end", time.Minute, func() bool {
		var err error
		if list, err = c.History(n.t.Context(), s.Name, 1000, 0); err != nil {
			return false
		}
		for _, i := range list {
			if i.State.Live() {
				return false
			}
		}
		return true
	})
	jobs, err := c.Jobs(n.t.Context(), client.JobFilter{Limit: 500})
	if err != nil {
		n.t.Fatal(err)
	}
	of := map[jobspec.JobID]bool{}
	for _, j := range jobs {
		if j.Fired != nil && j.Fired.Schedule == s.ID {
			of[j.ID] = true
		}
	}
	seen := map[int64]bool{}
	for _, i := range list {
		switch {
		case seen[i.At.Unix()]:
			n.t.Errorf("%s is listed twice", i.At)
		case i.State == jobspec.InstantMissed && i.Missed != "" && i.Job == "":
		case i.State == jobspec.InstantSucceeded && i.Result == want && of[i.Job]:
			n.checkHistory(i.Job.String(), 1)
			ran(i.Job.String())
			delete(of, i.Job)
		default:
			n.t.Errorf("instant %+v", i)
		}
		seen[i.At.Unix()] = true
	}
	if len(of) > 0 {
		n.t.Errorf("jobs %v are of no instant", of)
	}
	if missing := strings.Contains(s.Name, "missed") && len(seen) == 0; missing {
		n.t.Error("no instant is listed")
	}
}
