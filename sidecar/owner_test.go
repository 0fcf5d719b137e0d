package sidecar_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/quorum"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// keepers gives a node its part in the record of jobs.
func (f *fleet) keepers(b *bench, post *bus.Post, log *slog.Logger) *quorum.Quorum {
	f.t.Helper()
	f.mu.Lock()
	streams := f.streams[b.key.ID()]
	f.mu.Unlock()
	q, err := quorum.Open(quorum.Config{
		Dir: filepath.Join(b.dir, "keepers"), Self: b.key.ID(), Post: post, Streams: streams, Lease: b.lease, Logger: log,
		Live: func() (ids []identity.ID) {
			for _, p := range f.Live() {
				if p.ID != b.key.ID() {
					ids = append(ids, p.ID)
				}
			}
			return ids
		},
		Founder: b == f.nodes[0], Joined: time.Unix(1, 0),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	close := b.closeRecord
	b.closeRecord = func() {
		close()
		if err := q.Close(); err != nil {
			f.t.Error(err)
		}
	}
	return q
}

// lose makes the others think that a node is gone, or back.
func (f *fleet) lose(b *bench, gone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away[b] = gone
}

// newRecorded is a fleet whose nodes keep a record of their jobs.
func newRecorded(t *testing.T, n int, lease time.Duration) *fleet {
	f := newFleet(t, n)
	f.keepRecord(lease)
	return f
}

// keepRecord starts all nodes anew with a record of their jobs.
func (f *fleet) keepRecord(lease time.Duration) {
	f.t.Helper()
	f.recorded = true
	f.lease(lease)
	for _, b := range f.nodes {
		f.await("all know the keepers", func() bool { return b.status().Keepers.Active() && b.status().Keepers.Leader != "" })
	}
}

func (f *fleet) await(what string, ok func() bool) {
	f.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); <-tick.C {
		if ok() {
			return
		}
	}
	f.t.Fatalf("never %s", what)
}

func (b *bench) status() wire.Node {
	b.t.Helper()
	n, err := b.Node(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// heir waits until another node than the first one has a job, and returns it.
func (f *fleet) heir(id string) (heir *bench) {
	f.t.Helper()
	f.await("another node owns the job", func() bool {
		for _, b := range f.nodes[1:] {
			if j, err := b.Job(f.t.Context(), "t", id); err == nil && j.Recorded == nil {
				heir = b
				return true
			}
		}
		return false
	})
	return heir
}

// everywhere puts all blocks of a dataset on each node, so that it survives
// any of them.
func (f *fleet) everywhere(root string) {
	f.t.Helper()
	c, err := jobspec.ParseCID(root)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, b := range f.nodes {
		if err := b.ipfs.Pin(f.t.Context(), "user/all", c); err != nil {
			f.t.Fatal(err)
		}
	}
}

const shortLease = 2 * time.Second

// The owner is gone for good in the middle of a job: another node ends it, with
// the same result, and the record has one end. When the old owner comes back
// all the same, its job ends there without one.
func TestF57OwnerIsGoneForGood(t *testing.T) {
	refusal.Produces(t, jobspec.KindLeaseLost)
	t.Parallel()
	f := newFleet(t, 4)
	owner := f.nodes[0]
	owner.slow(endless) // so that the job does not end before it is gone
	f.keepRecord(shortLease)
	root, files := f.dataset(2)
	f.everywhere(root)
	id := owner.submit(slow(root, files, time.Second))
	f.untilAway(2)
	f.lose(owner, true)
	owner.stop()

	heir := f.heir(id)
	j := heir.final(id)
	if j.State != jobspec.JobSucceeded || j.Result.String() != root {
		t.Fatalf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
	}
	if j.Tenure == nil || j.Tenure.Epoch != 2 || j.ItemsDone != len(files) {
		t.Errorf("job has tenure %+v, %d of %d items done", j.Tenure, j.ItemsDone, len(files))
	}
	for _, b := range f.nodes[1:] { // each member tells how it ended
		told, err := b.Job(t.Context(), "t", id)
		if err != nil || told.Result.String() != root {
			t.Errorf("another member tells %+v, %v", told.Recorded, err)
		}
	}

	for _, b := range f.nodes[1:] { // though the old owner revokes nothing
		f.await("its tasks have ended", func() bool { return b.status().Jobs == 0 })
	}
	f.lose(owner, false)
	owner.start()
	back := owner.final(id)
	if back.State != jobspec.JobFailed || !refusal.Is(t, back.Failure.Error(), jobspec.KindLeaseLost) || back.Result.Defined() {
		t.Errorf("at the old owner the job is %s with %q: %+v, want no second result", back.State, back.Result, back.Failure)
	}
	if !strings.Contains(back.Failure.Detail, heir.key.ID().String()) {
		t.Errorf("it does not say who owns it: %+v", back.Failure)
	}
	if pins, err := owner.ipfs.Pins(t.Context(), "job/"+id+"/result"); err != nil || len(pins) > 0 {
		t.Errorf("the old owner has a result: %v, %v", pins, err)
	}
}

// An owner that is cut off goes on working and cannot publish: by the time that
// it is back, another one has.
func TestF58OwnerCutOffDoesNotPublish(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	owner := f.nodes[0]
	owner.slow(func(n int64) time.Duration { // so that the job does not end before the cut
		if n == 1 {
			return time.Hour
		}
		return 0
	})
	f.keepRecord(shortLease)
	root, files := f.dataset(1)
	f.everywhere(root)
	id := owner.submit(slow(root, files, time.Second))
	f.untilAway(1)
	owner.look(id, func(j wire.Job) bool {
		return slices.Contains(makers(j.Attempts, jobspec.AttemptRunning), owner.key.ID().String())
	})
	f.net.Partition(f.ids(0))
	f.lose(owner, true)
	owner.state.Release()
	heir := f.heir(id)
	if j := heir.final(id); j.State != jobspec.JobSucceeded || j.Result.String() != root {
		t.Fatalf("job is %s with %s: %+v", j.State, j.Result, j.Failure)
	}
	cut, err := owner.Job(t.Context(), "t", id)
	if err != nil || cut.State.Final() || cut.Result.Defined() {
		t.Errorf("cut off, the owner has it %s with %q, %v: want it to wait for the keepers", cut.State, cut.Result, err)
	}
	f.net.Heal()
	f.lose(owner, false)
	if j := owner.final(id); j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindLeaseLost || j.Result.Defined() {
		t.Errorf("back, the owner has it %s with %q: %+v", j.State, j.Result, j.Failure)
	}
}

// A node that drains and has waited long enough hands its jobs on, and they end
// elsewhere.
func TestDrainHandsJobsOn(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	owner := f.nodes[0]
	owner.slow(endless) // so that the job does not end before
	f.keepRecord(shortLease)
	root, files := f.dataset(1)
	f.everywhere(root)
	id := owner.submit(slow(root, files, time.Second))
	f.untilAway(1)
	if _, err := owner.Drain(t.Context(), wire.DrainWish{}); err != nil {
		t.Fatal(err)
	}
	heir := f.heir(id)
	if j := heir.final(id); j.State != jobspec.JobSucceeded || j.Result.String() != root {
		t.Errorf("job is %s with %s: %+v", j.State, j.Result, j.Failure)
	}
	if j := owner.final(id); j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindLeaseLost {
		t.Errorf("at the node that drains the job is %s: %+v", j.State, j.Failure)
	}
}

// Without a majority of the keepers nothing is taken, and the numbers are told.
func TestSubmitWithoutMajority(t *testing.T) {
	refusal.Produces(t, jobspec.KindNoQuorum)
	t.Parallel()
	f := newRecorded(t, 3, shortLease)
	owner := f.nodes[0]
	f.net.Partition(f.ids(0))
	_, _, err := owner.Submit(t.Context(), api.Submission{Tenant: "t", Spec: spec(), IdempotencyKey: "k"})
	if !refusal.Is(t, err, jobspec.KindNoQuorum) || !strings.Contains(err.Error(), "1 of 3 keepers") {
		t.Errorf("submit = %v, want a refusal with the numbers", err)
	}
	if list, err := owner.Jobs(t.Context(), "t", api.JobFilter{}); err != nil || len(list) > 0 {
		t.Errorf("a refused job is listed: %+v, %v", list, err)
	}
	f.net.Heal()
	var j wire.Job
	var created bool
	f.await("the keepers answer again", func() bool {
		j, created, err = owner.Submit(t.Context(), api.Submission{Tenant: "t", Spec: spec(), IdempotencyKey: "k"})
		return !errors.Is(err, jobspec.KindNoQuorum.Error())
	})
	if err != nil || !created || j.Tenure == nil || j.Tenure.Epoch != 1 {
		t.Fatalf("submit = %+v, %v, %v", j.Tenure, created, err)
	}
	if j := owner.final(j.ID.String()); j.State != jobspec.JobSucceeded {
		t.Errorf("job is %s: %+v", j.State, j.Failure)
	}
}

// What a job needs and only its owner has is held by the keepers until it is
// over.
func TestKeepersHoldWhatAJobNeeds(t *testing.T) {
	t.Parallel()
	f := newRecorded(t, 3, shortLease)
	owner := f.nodes[0]
	code, err := jobspec.ParseCID(owner.input("main.py"))
	if err != nil {
		t.Fatal(err)
	}
	s := spec("DUMMY_SLEEP=1h")
	s.Run.Code = code
	id := owner.submit(s)
	held := func() (n int) {
		for _, b := range f.nodes[1:] {
			pins, err := b.ipfs.Pins(t.Context(), "record/"+owner.key.ID().String()+"/"+id+"/")
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range pins {
				if p.Root == code {
					n++
				}
			}
		}
		return n
	}
	if held() == 0 {
		t.Error("no keeper holds the code of an acknowledged job")
	}
	if _, err := owner.Stop(t.Context(), "t", id); err != nil {
		t.Fatal(err)
	}
	owner.final(id)
	for _, b := range f.nodes[1:] {
		b.restart() // sweeps
	}
	f.await("it is let go", func() bool { return held() == 0 })
}

// A job of before there were keepers enters the record when there are.
func TestLateRecord(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.lease(shortLease)
	id := f.nodes[0].submit(spec("DUMMY_SLEEP=1h"))
	f.recorded = true
	f.lease(shortLease)
	f.await("the job is in the record", func() bool {
		j, err := f.nodes[1].Job(t.Context(), "t", id)
		return err == nil && j.Recorded != nil && j.Recorded.Epoch == 1
	})
	err := f.nodes[1].Events(t.Context(), "t", id, 0, true, func(jobspec.Event) error { return nil })
	if !errors.Is(err, jobspec.KindNotFound.Error()) || !strings.Contains(err.Error(), f.nodes[0].key.ID().String()) {
		t.Errorf("its history at another member: %v, want who owns it", err)
	}
	if _, err := f.nodes[1].Job(t.Context(), "u", id); !errors.Is(err, jobspec.KindNotFound.Error()) {
		t.Errorf("another tenant is told of it: %v", err)
	}
}

// leaderless is a record whose keepers choose a leader, and do not say until then
// what they know of jobs.
type leaderless struct {
	sidecar.Record
	choose atomic.Bool
}

func (l *leaderless) Find(ctx context.Context, id jobspec.JobID) (wire.Recorded, error) {
	if l.choose.Load() {
		return wire.Recorded{}, jobspec.KindNoQuorum.Errorf("there is no leader")
	}
	return l.Record.Find(ctx, id)
}

// While the keepers cannot say who owns a job nobody is told that there is none.
func TestUnknownOwnerIsNotNotFound(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	l := &leaderless{}
	f.nodes[1].asks = func(r sidecar.Record) sidecar.Record {
		l.Record = r
		return l
	}
	f.keepRecord(shortLease)
	id := f.nodes[0].submit(spec("DUMMY_SLEEP=1h"))
	l.choose.Store(true)
	_, err := f.nodes[1].Job(t.Context(), "t", id)
	wantKind(t, "Job", err, jobspec.KindNoQuorum, "who owns it is not known now: there is no leader")
	_, err = f.nodes[1].Stop(t.Context(), "t", id)
	wantKind(t, "Stop", err, jobspec.KindNoQuorum, "who owns it is not known now")
	_, err = f.nodes[1].Job(t.Context(), "t", "a-name")
	wantKind(t, "Job of a name", err, jobspec.KindNotFound)
	l.choose.Store(false)
	f.await("it is told what the record says", func() bool {
		j, err := f.nodes[1].Job(t.Context(), "t", id)
		if err != nil && !errors.Is(err, jobspec.KindNoQuorum.Error()) {
			t.Fatal(err)
		}
		return err == nil && j.Recorded != nil
	})
}
