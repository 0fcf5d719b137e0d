package schedule_test

import (
	"errors"
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
