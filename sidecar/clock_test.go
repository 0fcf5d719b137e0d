package sidecar_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// upFor returns a node on a machine that has been up for *up, an hour so far,
// with a job that runs until it is released.
func upFor(t *testing.T, timeouts jobspec.Timeouts) (b *bench, up *time.Duration, id string) {
	t.Helper()
	b, up = newBench(t), new(time.Duration)
	*up = time.Hour
	b.uptime = func() time.Duration { return *up }
	b.restart()
	s := spec("DUMMY_SLEEP=1h", "DUMMY_WRITE=/outputs/o:done")
	s.Timeouts = timeouts
	id = b.submit(s)
	b.until(id, jobspec.AttemptRunning)
	return b, up, id
}

// endsWith waits for the end of a job, which is a failure of a kind; "" = success.
func (b *bench) endsWith(id string, kind jobspec.Kind) wire.Job {
	b.t.Helper()
	j := b.final(id)
	if kind == "" && j.State != jobspec.JobSucceeded || kind != "" && (j.Failure == nil || j.Failure.Kind != kind) {
		b.t.Fatalf("job is %s: %+v, want the end %q", j.State, j.Failure, kind)
	}
	return j
}

// A clock that is set while a program runs, or while the node is down, and a
// machine that was suspended take nothing from the program's time and give it
// nothing: that is counted by the time that the machine has run.
func TestF31F33ClockIsSet(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for name, c := range map[string]struct {
		wall, up time.Duration // go on meanwhile
		kind     jobspec.Kind  // of the end
	}{
		"F31 an hour ahead":        {time.Hour, 0, ""},
		"F31 an hour back":         {-time.Hour, 0, ""},
		"F31 ten years ahead":      {10 * year, 0, ""},
		"F31 ten years back":       {-10 * year, 0, ""},
		"F33 suspended":            {5 * time.Hour, 0, ""},
		"control: ran longer":      {11 * time.Minute, 11 * time.Minute, jobspec.KindTimeout},
		"F31 back, and ran longer": {-10 * year, 11 * time.Minute, jobspec.KindTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, up, id := upFor(t, jobspec.Timeouts{Run: jobspec.Duration(10 * time.Minute)})
			b.later.Store(int64(c.wall / 2)) // while it runs
			b.stop()
			b.later.Store(int64(c.wall)) // and while the node is down
			*up += c.up
			b.start()
			if c.kind == "" {
				b.state.Release()
			}
			j := b.endsWith(id, c.kind)
			if wall := j.Attempts[0].Receipt.Usage.Wall.Std(); wall < 0 || wall > 20*time.Minute {
				t.Errorf("the receipt says that it ran for %s", wall)
			}
		})
	}
}

// A member is not avoided for longer because this node's clock was set back.
func TestF31ShyGoesByNoSetClock(t *testing.T) {
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	id, now := key.ID(), time.Unix(1e9, 0)
	var s sidecar.Shy
	s.Add(id, now)
	if !s.Is(id, now) || s.Is(id, now.Add(-24*time.Hour)) {
		t.Error("a member is avoided after a day back, or not at all")
	}
	s.Add(id, now.Add(-24*time.Hour))
	if at := now.Add(-24 * time.Hour); !s.Is(id, at) || s.Is(id, at.Add(20*time.Second)) {
		t.Error("a member that refuses after a day back is avoided for other than 20 s")
	}
}

// Members whose clocks differ by minutes work for each other; one whose clock
// is ten minutes off gets no work, and the job ends without it.
func TestF32ClocksDiffer(t *testing.T) {
	for name, c := range map[string]struct {
		off   time.Duration
		works bool
	}{
		"F32 four minutes ahead": {4 * time.Minute, true},
		"F32 four minutes back":  {-4 * time.Minute, true},
		"F32 ten minutes ahead":  {10 * time.Minute, false},
		"F32 ten minutes back":   {-10 * time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 2)
			owner, worker := f.nodes[0], f.nodes[1]
			f.skew = map[identity.ID]time.Duration{worker.key.ID(): c.off}
			f.lease(3 * time.Second)
			root, files := f.dataset(1)
			j := owner.final(owner.submit(perItem(root, files)))
			if j.State != jobspec.JobSucceeded || j.Result.String() != root {
				t.Errorf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
			}
			made := makers(j.Attempts, jobspec.AttemptRecorded, jobspec.AttemptCleaned)
			if slices.Contains(made, worker.key.ID().String()) != c.works {
				t.Errorf("tasks were done by %s; by the other member: want %v", strings.Join(made, " "), c.works)
			}
		})
	}
}

// After a boot the time of a job goes by the clock: the uptime of the boot before
// is another one, also where this boot has lasted longer.
func TestF31TotalTimeGoesOnAfterABoot(t *testing.T) {
	for name, c := range map[string]struct {
		wall, up time.Duration // go on meanwhile
		kind     jobspec.Kind  // of the end
	}{
		"up for longer":                 {time.Minute, time.Hour, ""},
		"up for longer, its time is up": {31 * time.Minute, time.Minute, jobspec.KindTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, up, id := upFor(t, jobspec.Timeouts{Total: jobspec.Duration(30 * time.Minute)})
			b.stop()
			b.later.Store(int64(c.wall))
			*up += c.up
			err := b.store.Update(t.Context(), func(tx *store.Tx) error { return tx.PutMeta("boot_id", "an earlier one") })
			if err != nil {
				t.Fatal(err)
			}
			b.start()
			if c.kind == "" {
				b.triedAgain(id)
			}
			b.endsWith(id, c.kind)
		})
	}
}
