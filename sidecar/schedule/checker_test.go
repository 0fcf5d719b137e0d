package schedule_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// zones change their clocks at different hours, in both halves of the year, and
// one of them by half an hour.
var zones = []string{"Europe/Lisbon", "America/New_York", "Australia/Lord_Howe"}

// populate makes schedules of all ways in all zones.
func (w *world) populate() (list []jobspec.Schedule) {
	ways := []struct {
		overlap jobspec.Overlap
		catchUp jobspec.CatchUp
	}{{jobspec.OverlapForbid, 1}, {jobspec.OverlapForbid, 0}, {jobspec.OverlapForbid, 5}, {jobspec.OverlapAllow, 3}, {jobspec.OverlapReplace, 1}}
	n := 0
	for _, zone := range zones {
		for _, cron := range []string{"*/20 * * * *", "15,45 1-3 * * *", "@every 47m"} {
			way := ways[n%len(ways)]
			n++
			list = append(list, w.add(jobspec.Schedule{Name: fmt.Sprintf("s%d", n), Cron: cron, Zone: zone, Overlap: way.overlap, CatchUp: way.catchUp}))
		}
	}
	return list
}

// live lets time go by until a moment, with everything that may happen.
func (w *world) live(until time.Duration, list []jobspec.Schedule, jumps bool) {
	ahead := time.Duration(0) // of the clock
	for w.ran < until {
		wait := w.tick()
		switch r := w.rnd.IntN(1000); {
		case r == 0: // the node is stopped
			w.pass(w.downtime())
			w.boot()
			continue
		case r <= 3 && jumps:
			by := time.Duration(w.rnd.Int64N(int64(6*time.Hour))) - 3*time.Hour
			switch {
			case w.rnd.IntN(200) == 0:
				by = 10 * 365 * 24 * time.Hour
			case ahead > 24*time.Hour || ahead < -24*time.Hour:
				by = -ahead
			}
			w.wall, ahead = w.wall.Add(by), ahead+by
			if w.rnd.IntN(2) == 0 {
				w.boot() // it was set while the node was down
			}
			continue
		case r == 4:
			s := list[w.rnd.IntN(len(list))]
			_, err := w.e.Pause(w.t.Context(), "local", s.Name, w.rnd.IntN(3) == 0)
			w.e.Visited() // it may kill the node, too
			if err != nil && !w.dead {
				w.t.Fatal(err)
			}
			if w.dead {
				w.kills++
				w.boot()
			}
		}
		w.pass(wait + time.Duration(w.rnd.IntN(int(2*time.Second))))
	}
	w.wall = w.wall.Add(-ahead)
}

// settle lets time go by without further mishaps until no job is to be made.
func (w *world) settle(list []jobspec.Schedule) {
	w.t.Helper()
	w.kill, w.refuse = 0, 0
	w.boot()
	for range 10_000 {
		wait := w.tick()
		if !w.waiting(list) {
			return
		}
		w.pass(wait)
	}
	w.t.Error("jobs are yet to be made after 10,000 passes")
}

// waiting reports whether jobs are yet to be made.
func (w *world) waiting(list []jobspec.Schedule) (due bool) {
	w.t.Helper()
	err := w.st.View(w.t.Context(), func(tx *store.Tx) error {
		for _, s := range list {
			live, err := tx.LiveInstants(s.ID)
			if err != nil {
				return err
			}
			for _, i := range live {
				due = due || i.State == jobspec.InstantDue
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return due
}

// edges are days before changes of clocks: New York's, then Lisbon's and Lord
// Howe's, in spring and in autumn of 2026.
var edges = []time.Time{
	time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC),
	time.Date(2026, 10, 2, 0, 0, 0, 0, time.UTC), time.Date(2026, 10, 24, 18, 0, 0, 0, time.UTC),
}

// The checker: over 10,000 instants in three zones, through changes of
// their clocks, with kills between any two durable steps, downtimes,
// refusals, pauses and clocks that are set, each is run exactly once or is
// listed as missed.
func TestF31F68EachInstantIsRunOnceOrListedAsMissed(t *testing.T) {
	var mu sync.Mutex // guards the sums
	instants, ran, kills := 0, 0, 0
	world := func(t *testing.T, seed uint64, edge time.Time) {
		w := newWorld(t, seed)
		w.refuse, w.wall = 0.02, edge
		w.boot()
		list := w.populate()
		w.kill = 0.01
		w.live(188*time.Hour, list, true)
		w.settle(list)
		mu.Lock()
		defer mu.Unlock()
		kills += w.kills
		for _, s := range list {
			problems, n, r := w.judge(s)
			for _, p := range problems[:min(len(problems), 5)] {
				t.Error(p)
			}
			instants, ran = instants+n, ran+r
		}
	}
	t.Run("worlds", func(t *testing.T) {
		for n, edge := range edges {
			t.Run(edge.Format(time.DateOnly), func(t *testing.T) {
				t.Parallel()
				world(t, uint64(n+1), edge)
			})
		}
	})
	few := func() bool { return instants < 10_000 || kills < 100 || ran < instants/10 }
	for n := len(edges); few() && n < 4*len(edges) && !t.Failed(); n++ { // how much a world sees is by chance
		t.Run(fmt.Sprintf("world %d", n), func(t *testing.T) { world(t, uint64(n+1), edges[n%len(edges)]) })
	}
	t.Logf("%d instants, %d of them run, %d kills", instants, ran, kills)
	if few() {
		t.Errorf("%d of %d instants were run, with %d kills: the checker looks at too little", ran, instants, kills)
	}
}

// The control: without the guards the checker finds instants that ran twice.
func TestCheckerFindsDoubles(t *testing.T) {
	for _, tt := range []struct {
		name   string
		noRows bool
		kill   float64
	}{
		{"a second submit makes a second job, and a kill comes between job and row", false, 0.2},
		{"an instant may be recorded twice, and the clock is set back", true, 0},
	} {
		found := 0
		for seed := uint64(1); found == 0 && seed < 20; seed++ {
			w := newWorld(t, seed)
			w.wall, w.twice, w.noRows = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), true, tt.noRows
			w.boot()
			list := w.populate()
			w.kill = tt.kill
			w.live(18*time.Hour, list, tt.noRows)
			w.settle(list)
			for _, s := range list {
				problems, _, _ := w.judge(s)
				found += len(problems)
			}
		}
		t.Logf("%s: %d problems", tt.name, found)
		if found == 0 {
			t.Errorf("%s: the checker finds nothing", tt.name)
		}
	}
}
