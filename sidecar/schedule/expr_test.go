package schedule_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/schedule"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func mustExpr(t *testing.T, text, zone string) schedule.Expr {
	t.Helper()
	e, err := schedule.ParseExpr(text, zone, epoch, epoch, time.Second)
	if err != nil {
		t.Fatalf("ParseExpr(%q, %q): %v", text, zone, err)
	}
	return e
}

// What the rules of daylight saving say, by example.
func TestS21NextAtDaylightSaving(t *testing.T) {
	for _, tt := range []struct {
		text, zone, from string
		want             []string // local times with their offsets
	}{
		{"30 1 * * *", "Europe/Lisbon", "2026-03-28T12:00:00Z", []string{"2026-03-29T02:00:00+01:00", "2026-03-30T01:30:00+01:00"}}, // 01:30 does not exist
		{"*/20 1 * * *", "Europe/Lisbon", "2026-03-28T12:00:00Z", []string{"2026-03-29T02:00:00+01:00", "2026-03-30T01:00:00+01:00"}},
		{"30 1 * * *", "Europe/Lisbon", "2026-10-24T12:00:00Z", []string{"2026-10-25T01:30:00+01:00", "2026-10-26T01:30:00Z"}}, // 01:30 exists twice
		{"30 * * * *", "Europe/Lisbon", "2026-10-24T23:40:00Z", []string{"2026-10-25T01:30:00+01:00", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"}},
		{"30 * * * *", "Europe/Lisbon", "2026-03-29T00:00:00Z", []string{"2026-03-29T00:30:00Z", "2026-03-29T02:30:00+01:00"}},
		{"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", []string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"}},                       // set forward by half an hour
		{"0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", []string{"2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"}}, // a day that was left out
		{"0 2 * * *", "", "2026-03-28T12:00:00Z", []string{"2026-03-29T02:00:00Z"}},
		{"@every 7h", "America/New_York", "2026-01-01T00:00:00Z", []string{"2026-01-01T02:00:00-05:00", "2026-01-01T09:00:00-05:00"}},
		{"0 0 13 * 5", "", "2026-01-31T00:00:00Z", []string{"2026-02-06T00:00:00Z", "2026-02-13T00:00:00Z"}}, // the 13th, and Fridays
	} {
		e := mustExpr(t, tt.text, tt.zone)
		loc, err := time.LoadLocation(tt.zone)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, tt.from)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for range tt.want {
			at = e.Next(at)
			got = append(got, at.In(loc).Format(time.RFC3339))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q in %q (-want +got):\n%s", tt.text, tt.zone, diff)
		}
	}
}

// Next against the rules themselves, minute by minute around each transition.
func TestNextFollowsTheRules(t *testing.T) {
	match := func(text string, w time.Time) bool { // the expressions below, by hand
		switch text {
		case "*/7 * * * *":
			return w.Minute()%7 == 0
		case "*/10 0-3 * * *":
			return w.Minute()%10 == 0 && w.Hour() <= 3
		case "5,35 */2 * * *":
			return (w.Minute() == 5 || w.Minute() == 35) && w.Hour()%2 == 0
		}
		panic(text)
	}
	for _, zone := range []string{"Europe/Lisbon", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		for year := 2017; year <= 2018; year++ { // Sao Paulo still changed its clocks
			at := time.Date(year, 1, 1, 0, 0, 0, 0, loc)
			for range 3 {
				_, end := at.ZoneBounds()
				if end.IsZero() || end.Year() > year {
					end = time.Date(year, 6, 1, 0, 0, 0, 0, loc)
				}
				for _, text := range []string{"*/7 * * * *", "*/10 0-3 * * *", "5,35 */2 * * *"} {
					from, to := end.Add(-30*time.Hour).UTC(), end.Add(30*time.Hour).UTC()
					want := byTheRules(text, loc, from, to, match)
					var got []string
					e := mustExpr(t, text, zone)
					for next := e.Next(from); !next.After(to); next = e.Next(next) {
						got = append(got, next.Format(time.RFC3339))
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%q in %s at %s (-want +got):\n%s", text, zone, end, diff)
					}
				}
				at = end
			}
		}
	}
}

func byTheRules(text string, loc *time.Location, from, to time.Time, match func(string, time.Time) bool) (want []string) {
	wall := func(at time.Time) time.Time {
		_, offset := at.In(loc).Zone()
		return at.Add(time.Duration(offset) * time.Second)
	}
	seen := map[time.Time]bool{}
	early := from.Add(-3 * time.Hour)
	last := wall(early.Add(-time.Minute))
	for at := early; !at.After(to); at = at.Add(time.Minute) {
		w := wall(at)
		hit := match(text, w) && (text[0:6] == "*/7 * " || !seen[w])
		for g := last.Add(time.Minute); text[0:6] != "*/7 * " && g.Before(w); g = g.Add(time.Minute) {
			hit = hit || match(text, g) // skipped
		}
		seen[w] = true
		if w.After(last) {
			last = w
		}
		if hit && at.After(from) {
			want = append(want, at.Format(time.RFC3339))
		}
	}
	return want
}

// Expressions that never fire, fire all the time, or cost too much to read.
func TestS20S21ExpressionsAreRefused(t *testing.T) {
	for _, tt := range []struct{ text, zone, hint string }{
		{"0 0 30 2 *", "", "February"},
		{"0 0 31 4,6,9,11 *", "", "never"},
		{"* * * * * *", "", "minute, hour"},
		{"@every 1ns", "", "whole seconds"},
		{"@every 1s", "", "every 1s"},
		{"@every 59s", "", "at most"},
		{"@every -1h", "", "whole seconds"},
		{"@every 99999h", "", "longer"},
		{"@reboot", "", "cron expression"},
		{"0-99999999 * * * *", "", "cron expression"},
		{"0-9999999999999999999999 * * * *", "", "cron expression"},
		{"*/99999999 * * * *", "", "cron expression"},
		{"61 * * * *", "", "cron expression"},
		{strings.Repeat("1,", 5000) + "1 * * * *", "", "10009 characters"},
		{strings.Repeat("*", 200), "", "cron expression"},
		{"TZ=Europe/Lisbon 0 2 * * *", "", "cron expression"},
		{"0 2 * * *\n", "", "cron expression"},
		{"", "", "cron expression"},
		{"0 2 * *", "", "cron expression"},
		{"0 2 * * *", "Europe/Atlantis", "time zone"},
		{"0 2 * * *", "../../etc/passwd", "time zone"},
		{"0 2 * * *", "Local", "time zone"},
	} {
		_, err := schedule.ParseExpr(tt.text, tt.zone, epoch, epoch, time.Minute)
		f := jobspec.AsFailure(orNil(err))
		if !errors.Is(err, jobspec.KindSpec.Error()) || f.Hint == "" || !strings.Contains(f.Detail+f.Hint, tt.hint) {
			t.Errorf("ParseExpr(%.40q, %q) = %v (hint %q), want E_SPEC with %q", tt.text, tt.zone, err, f.Hint, tt.hint)
		}
	}
	if _, err := schedule.ParseExpr("@every 1s", "", epoch, epoch, time.Second); err != nil {
		t.Errorf("a node that allows it refuses @every 1s: %v", err)
	}
	if _, err := schedule.ParseExpr("*/10 * * * *", "", epoch, epoch, time.Hour); err == nil {
		t.Error("an hour between instants is asked for, and */10 taken")
	}
}

func orNil(err error) error {
	if err == nil {
		return fmt.Errorf("no error")
	}
	return err
}

func FuzzParseExpr(f *testing.F) {
	for _, s := range []string{"0 2 * * *", "@daily", "@every 90m", "*/5 22-3 1-7 jan-mar mon,fri", "0 0 29 2 *", "? ? ? ? ?"} {
		f.Add(s, "Europe/Lisbon")
	}
	f.Fuzz(func(t *testing.T, text, zone string) {
		e, err := schedule.ParseExpr(text, zone, epoch, epoch, time.Minute)
		if err != nil {
			return
		}
		at := epoch
		for range 20 {
			next := e.Next(at)
			if next.IsZero() {
				return
			}
			if !next.After(at) {
				t.Fatalf("%q in %q: %s comes after %s", text, zone, next, at)
			}
			at = next
		}
	})
}
