package sidecar_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// A reader that is cut after any piece, and comes back after a restart of the
// node, gets the whole log once.
func TestLogEventsResume(t *testing.T) {
	b := newBench(t)
	id := b.submit(spec("DUMMY_STDOUT=" + strings.Repeat("line of output;", 6000)))
	b.final(id)
	b.restart()
	read := func(after api.LogPlace, most int) (text string, last api.LogPlace) {
		t.Helper()
		cut := errors.New("cut")
		err := b.LogEvents(t.Context(), "t", id, "", after, true, func(p api.LogPiece) error {
			if text, last = text+string(p.Data), p.End; len(p.Data) > 0 {
				most--
			}
			if most == 0 {
				return cut
			}
			return nil
		})
		if err != nil && !errors.Is(err, cut) {
			t.Fatal(err)
		}
		return text, last
	}
	whole, end := read(api.LogPlace{}, -1)
	if len(whole) < 6000*15 {
		t.Fatalf("the log has %d bytes", len(whole))
	}
	first, place := read(api.LogPlace{}, 1)
	if len(first) == len(whole) {
		t.Fatal("control: the log is one piece, nothing is cut")
	}
	if rest, last := read(place, -1); first+rest != whole || last != end {
		t.Errorf("%d bytes and after %s %d more, want %d in all", len(first), place, len(rest), len(whole))
	}
	place.Offset -= 10 // in the middle of a piece
	if rest, _ := read(place, -1); first[:len(first)-10]+rest != whole {
		t.Errorf("after %s the rest does not fit", place)
	}
	if rest, _ := read(end, -1); rest != "" {
		t.Errorf("after the end: %q", rest)
	}
	err := b.LogEvents(t.Context(), "t", id, "", api.LogPlace{Task: 7, Try: 1}, false, func(api.LogPiece) error { return nil })
	if !errors.Is(err, jobspec.KindNotFound.Error()) {
		t.Errorf("a place that is none = %v, want E_NOT_FOUND", err)
	}
}

// The reader of a log is told that there is one before any line of it, and not
// that there is one of a task that the job turns out not to have.
func TestLogIsAnnounced(t *testing.T) {
	b := newBench(t)
	id := b.submit(spec("DUMMY_STDOUT=x", "DUMMY_SLEEP=1h"))
	for task, want := range map[string]error{"": errSeen, "0": errSeen, "7": jobspec.KindNotFound.Error()} {
		err := b.LogEvents(t.Context(), "t", id, task, api.LogPlace{}, true, func(p api.LogPiece) error {
			if len(p.Data) > 0 {
				t.Errorf("task %q: begins with %q", task, p.Data)
			}
			return errSeen
		})
		if !errors.Is(err, want) {
			t.Errorf("the log of task %q = %v, want %v", task, err, want)
		}
	}
	b.follows(id, "x") // it runs
	b.state.Release()
	b.final(id)
}

// A follower finds each attempt's log once, however many are leased at the same
// time: what is leased later comes behind what it knows.
func TestLogEventsOfManyTasks(t *testing.T) {
	b := newBench(t)
	b.cap = wire.Capacity{CPU: 64_000, Memory: 64 * jobspec.GiB, Disk: 256 * jobspec.GiB}
	b.restart()
	var files []string
	for i := range 24 {
		files = append(files, fmt.Sprintf("%02d", i))
	}
	id := b.submit(inShards(b.input(files...), len(files), "DUMMY_STDOUT=x", "DUMMY_SLEEP=50ms"))
	if log := b.log(id, true); strings.Count(log, "x") != len(files) {
		t.Errorf("log of %d tasks = %q", len(files), log)
	}
	j := b.final(id)
	leased := map[time.Time]jobspec.AttemptID{}
	for _, a := range j.Attempts {
		if other, taken := leased[a.Leased]; taken {
			t.Errorf("attempts %s and %s have one place in the order", a.ID, other)
		}
		leased[a.Leased] = a.ID
	}
	if len(leased) == 0 {
		t.Errorf("job = %s %+v", j.State, j.Failure)
	}
}

// Whoever looks at what has ended leaves nothing behind.
func TestFollowersOfFinalJobs(t *testing.T) {
	b := newBench(t)
	id := b.submit(spec("DUMMY_STDOUT=x"))
	b.final(id)
	b.restart()
	b.log(id, false)
	b.log(id, true)
	b.final(id)
	if n := b.Followed(); n != 0 {
		t.Errorf("%d jobs are waited for, want none", n)
	}
}

// log is all that a job's programs wrote.
func (b *bench) log(id string, follow bool) string {
	b.t.Helper()
	var text strings.Builder
	err := b.LogEvents(b.t.Context(), "t", id, "", api.LogPlace{}, follow, func(p api.LogPiece) error {
		text.Write(p.Data)
		return nil
	})
	if err != nil {
		b.t.Errorf("log of %s: %v", id, err)
	}
	return text.String()
}
