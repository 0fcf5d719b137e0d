package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// withSeats runs test with what of a sidecar holds room: 4 CPUs, 4 GiB of memory
// and of disk.
func withSeats(t *testing.T, test func(s *Sidecar)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &Sidecar{
			cfg: Config{Now: time.Now, Lease: time.Minute}, log: slog.New(slog.DiscardHandler), id: "me", base: ctx,
			placer: newPlacer(wire.Capacity{CPU: 4000, Memory: 4 * jobspec.GiB, Disk: 4 * jobspec.GiB}, nil),
			seats:  map[string]*seats{}, standings: map[string]*standing{},
		}
		test(s)
		cancel()
		s.work.Wait()
	})
}

var oneCPU = jobspec.Resources{CPU: 1000, Memory: jobspec.GiB, Disk: jobspec.GiB}

// wish asks for room for tasks of a CPU each.
func wish(gang string, tasks int) wire.Reserve {
	return wire.Reserve{Gang: gang, Generation: 1, Tasks: tasks, Each: oneCPU}
}

func TestHostileWishForRoom(t *testing.T) {
	withSeats(t, func(s *Sidecar) {
		free := s.placer.snapshot()
		for name, each := range map[string]jobspec.Resources{
			"nothing":        {},
			"negative":       {CPU: -1000, Memory: jobspec.GiB, Disk: jobspec.GiB},
			"negative disk":  {CPU: 1000, Memory: jobspec.GiB, Disk: -jobspec.GiB},
			"negative GPUs":  {CPU: 1000, Memory: jobspec.GiB, Disk: jobspec.GiB, GPU: -1},
			"64 of it are 0": {CPU: 1 << 58, Memory: 1 << 58, Disk: 1 << 58},
		} {
			q := wish("g", jobspec.MaxGang)
			q.Job, q.Each = jobspec.NewJobID(time.Now()).String(), each
			if _, err := s.seated(t.Context(), bus.Letter{From: "other"}, q); !errors.Is(err, jobspec.KindSpec.Error()) {
				t.Errorf("%s: seated = %v, want E_SPEC", name, err)
			}
		}
		if s.placer.snapshot() != free {
			t.Errorf("free = %+v after that, want %+v", s.placer.snapshot(), free)
		}
		q := wish("unguarded", 1)
		q.Each.CPU = -1000
		if _, err := s.holdSeats("other", "job", q); err != nil || s.placer.snapshot().CPU != free.CPU+1000 {
			t.Errorf("without the check: %v, free %+v, want the attack to work", err, s.placer.snapshot())
		}
		s.dropSeats(seatKey("other", "unguarded"))
		if r, err := s.holdSeats("other", "job", wish("g", 3)); err != nil || !r.Held || s.placer.snapshot().CPU != 1000 {
			t.Errorf("an honest wish: %+v, %v, free %+v", r, err, s.placer.snapshot())
		}
	})
}

// What one member holds and waits for leaves room for others' wishes, and for
// this node's own.
func TestRoomIsSharedByMembers(t *testing.T) {
	withSeats(t, func(s *Sidecar) {
		ask := func(owner identity.ID, gang int) error {
			_, err := s.holdSeats(owner, "job", wish(fmt.Sprint(gang), 4))
			return err
		}
		for i := range maxGangsOf {
			if err := ask("greedy", i); err != nil {
				t.Fatal(err)
			}
		}
		if err := ask("greedy", maxGangsOf); !errors.Is(err, jobspec.KindLimit.Error()) {
			t.Errorf("one more gang of a member: %v, want E_LIMIT", err)
		}
		if err := errors.Join(ask("greedy", 0), ask("other", 0)); err != nil {
			t.Errorf("a gang that is there, and one of another member: %v", err)
		}
		for i := range maxGangsOf + 1 {
			if err := ask("me", i); err != nil {
				t.Errorf("own gang %d: %v", i, err)
			}
		}
	})
}

// Another member's gang stands where it first asked, whatever the id of its job
// says, and loses its place when it has held room for nothing for too long.
func TestGangsStandInLine(t *testing.T) {
	withSeats(t, func(s *Sidecar) {
		old, now := jobspec.JobID("00000000000000000000000000"), jobspec.NewJobID(time.Now())
		held := func(owner identity.ID, job jobspec.JobID, gang string) bool {
			t.Helper()
			r, err := s.holdSeats(owner, job, wish(gang, 4))
			if err != nil {
				t.Fatal(err)
			}
			return r.Held
		}
		if !held("first", now, "a") || held("second", now, "b") || held("third", old, "c") {
			t.Fatal("want the first one to hold all, and the others to wait")
		}
		s.dropSeats(seatKey("first", "a")) // a round has ended, for the next one
		time.Sleep(time.Second)
		if held("first", now, "a2") || held("third", old, "c") || !held("second", now, "b") {
			t.Error("room did not go to the one that asked second")
		}
		s.dropSeats(seatKey("second", "b"))
		if held("third", old, "c") || !held("first", now, "a2") {
			t.Error("a gang lost its place between two rounds")
		}
		for range 10 { // it renews for ever
			time.Sleep(holdMost / 9)
			held("first", now, "a2")
			held("third", old, "c")
		}
		if held("first", now, "a2") || !held("third", old, "c") {
			t.Error("room is held without end")
		}
		if free := s.placer.snapshot(); free.CPU != 0 {
			t.Errorf("free = %+v, want what is held counted once", free)
		}
	})
}
