package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// orders calls f with every order of some words.
func orders(words []string, f func([]string)) {
	seen := map[string]bool{}
	var next func(done, left []string)
	next = func(done, left []string) {
		if len(left) == 0 && !seen[fmt.Sprint(done)] {
			seen[fmt.Sprint(done)] = true
			f(done)
		}
		for i := range left {
			next(append(slices.Clone(done), left[i]), append(slices.Clone(left[:i]), left[i+1:]...))
		}
	}
	next(nil, words)
}

// What a member says of its attempt may come in any order, also before it has
// said that it takes it: the job ends with the same result, once.
func TestQ10F43AnyOrderAtTheOwner(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	root, files := f.dataset(1)
	owner, worker := f.nodes[0], f.nodes[1]
	var mu sync.Mutex
	var order []string
	var taken map[string]chan struct{} // by attempt: closed when it was accepted
	var said sync.WaitGroup
	t.Cleanup(said.Wait)
	f.puppet(worker, func(ctx context.Context, post *bus.Post) {
		f.answersHolds(post, worker)
		bus.Answer(post, "assign", func(_ context.Context, l bus.Letter, a wire.Assign) (wire.Assigned, error) {
			mu.Lock()
			words, done := order, taken[a.Attempt]
			again := done != nil
			if !again {
				done = make(chan struct{})
				taken[a.Attempt] = done
			}
			mu.Unlock()
			if again { // the owner asks again
				<-done
				return wire.Assigned{}, nil
			}
			outcome := f.outcome(worker, a, func(rc *jobspec.Receipt) { *rc, _ = jobspec.SignReceipt(worker.key, *rc) })
			say := func(words []string) {
				for _, w := range words {
					if w == "beat" {
						_, _ = bus.Request[wire.Beating](ctx, post, l.From, "beat", wire.Beat{Attempt: a.Attempt, Token: a.Token, ItemsDone: 1})
					} else {
						_, _ = bus.Request[wire.Reported](ctx, post, l.From, "report", wire.Report{Attempt: a.Attempt, Token: a.Token, Outcome: outcome})
					}
				}
			}
			at := slices.Index(words, "accept")
			say(words[:at])
			said.Go(func() {
				say(words[at+1:])
				reportUntilTaken(ctx, post, l.From, a, outcome)
			})
			close(done)
			return wire.Assigned{}, nil
		})
	})
	orders([]string{"accept", "beat", "report", "beat", "report"}, func(words []string) {
		mu.Lock()
		order, taken = words, map[string]chan struct{}{}
		mu.Unlock()
		s := perItem(root, files)
		s.Cache = jobspec.CacheOff
		j := owner.final(owner.submit(s))
		recorded, elsewhere := 0, 0
		for _, a := range j.Attempts {
			if a.State == jobspec.AttemptRecorded || a.State == jobspec.AttemptCleaned {
				recorded++
			}
			if a.Node == worker.key.ID().String() && a.Receipt != nil {
				elsewhere++
			}
		}
		if j.State != jobspec.JobSucceeded || j.Result.String() != root || j.ItemsDone != len(files) || recorded != 2 || elsewhere != 1 {
			t.Errorf("%s: job is %s with %s after %d items, %d attempts recorded, %d of the other member; want %s: %+v",
				words, j.State, j.Result, j.ItemsDone, recorded, elsewhere, root, j.Failure)
		}
	})
}

// order is an attempt that a puppet owner can assign: a program that goes on.
func (f *fleet) order(owner *bench, n int) wire.Assign {
	f.t.Helper()
	return f.orderOf(owner, spec("DUMMY_SLEEP=1h", fmt.Sprintf("N=%d", n)))
}

// orderOf is an attempt at a job without inputs that a puppet owner can assign.
func (f *fleet) orderOf(owner *bench, s jobspec.Spec) wire.Assign {
	f.t.Helper()
	s = s.WithDefaults()
	c, err := s.CID()
	if err != nil {
		f.t.Fatal(err)
	}
	p, err := jobspec.NewPlan(s, jobspec.Facts{SpecCID: c, Image: imageID, Arch: runtime.GOARCH, Slots: 1})
	if err != nil {
		f.t.Fatal(err)
	}
	return wire.Assign{
		Attempt: jobspec.NewJobID(time.Now()).String() + "-0-1", Token: strings.Repeat("a", 32),
		Lease: jobspec.Duration(time.Second), Work: owner.file(wire.Work{Spec: s, Plan: p}),
	}
}

// assignments are the jobs that a node does for others.
func (b *bench) assignments() []wire.Job {
	b.t.Helper()
	list, err := b.Jobs(b.t.Context(), "*", api.JobFilter{All: true})
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

// A stop may come before what it stops, between its copies or after: nothing is
// left running, and each attempt has ended once.
func TestQ10AnyOrderAtTheWorker(t *testing.T) {
	f := newFleet(t, 2)
	owner, worker := f.nodes[0], f.nodes[1]
	post := f.puppet(owner, func(_ context.Context, post *bus.Post) {
		bus.Answer(post, "beat", func(_ context.Context, _ bus.Letter, b wire.Beat) (wire.Beating, error) {
			return wire.Beating{}, jobspec.KindLeaseLost.Errorf("%s is not wanted", b.Attempt)
		})
		bus.Answer(post, "report", func(context.Context, bus.Letter, wire.Report) (wire.Reported, error) {
			return wire.Reported{}, jobspec.KindLeaseLost.Errorf("it is not wanted")
		})
	})
	n := 0
	orders([]string{"assign", "assign", "revoke"}, func(words []string) {
		n++
		a := f.order(owner, n)
		for _, w := range words {
			if w == "revoke" {
				if err := post.Send(t.Context(), worker.key.ID(), "revoke", wire.Revoke{Attempt: a.Attempt, Token: a.Token}); err != nil {
					t.Fatal(err)
				}
				continue
			}
			_, err := bus.Request[wire.Assigned](t.Context(), post, worker.key.ID(), "assign", a)
			if err != nil && !errors.Is(err, jobspec.KindLeaseLost.Error()) {
				t.Fatalf("%s: %v", words, err)
			}
		}
		list := worker.assignments()
		if len(list) != n {
			t.Fatalf("%s: the worker has %d jobs, want %d", words, len(list), n)
		}
		j, err := worker.ended(list[0])
		if err != nil || j.State != jobspec.JobStopped {
			t.Errorf("%s: the attempt is %s, %v; want stopped", words, j.State, err)
		}
		worker.idle()
	})
}

// ended follows a job of any tenant to its end.
func (b *bench) ended(j wire.Job) (wire.Job, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*time.Minute)
	defer cancel()
	if err := b.Events(ctx, j.Tenant, j.ID.String(), 0, true, func(jobspec.Event) error { return nil }); err != nil {
		return j, err
	}
	return b.Job(b.t.Context(), j.Tenant, j.ID.String())
}

// One assignment, however often it comes and whenever the worker restarts, is
// one job. The control is another token.
func TestQ09AssignedOnce(t *testing.T) {
	f := newFleet(t, 2)
	owner, worker := f.nodes[0], f.nodes[1]
	post := f.puppet(owner, func(_ context.Context, post *bus.Post) {
		bus.Answer(post, "beat", func(context.Context, bus.Letter, wire.Beat) (wire.Beating, error) { return wire.Beating{}, nil })
	})
	a := f.order(owner, 0)
	assign := func(a wire.Assign) {
		t.Helper()
		if _, err := bus.Request[wire.Assigned](t.Context(), post, worker.key.ID(), "assign", a); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		assign(a)
	}
	worker.restart()
	for range 50 {
		assign(a)
	}
	if list := worker.assignments(); len(list) != 1 {
		t.Errorf("100 copies are %d jobs, want 1", len(list))
	}
	a.Token = strings.Repeat("b", 32)
	assign(a)
	if list := worker.assignments(); len(list) != 2 {
		t.Errorf("control: with another token there are %d jobs, want 2", len(list))
	}
}

// Only who gave an attempt can take it back: not another member, though it
// knows attempt and token.
func TestZ08OnlyTheOwnerRevokes(t *testing.T) {
	f := newFleet(t, 3)
	owner, worker := f.nodes[0], f.nodes[1]
	beats := func(_ context.Context, post *bus.Post) {
		bus.Answer(post, "beat", func(context.Context, bus.Letter, wire.Beat) (wire.Beating, error) { return wire.Beating{}, nil })
		bus.Answer(post, "report", func(context.Context, bus.Letter, wire.Report) (wire.Reported, error) {
			return wire.Reported{Taken: true}, nil
		})
	}
	post, other := f.puppet(owner, beats), f.puppet(f.nodes[2], beats)
	a := f.order(owner, 0)
	if _, err := bus.Request[wire.Assigned](t.Context(), post, worker.key.ID(), "assign", a); err != nil {
		t.Fatal(err)
	}
	job := worker.assignments()[0]
	revoke := wire.Revoke{Attempt: a.Attempt, Token: a.Token}
	for range 10 {
		if err := other.Send(t.Context(), worker.key.ID(), "revoke", revoke); err != nil {
			t.Fatal(err)
		}
		// Asked after it, so that the revoke has been handled or is being handled.
		if _, err := bus.Request[wire.Beating](t.Context(), other, worker.key.ID(), "beat", wire.Beat{Attempt: a.Attempt}); err == nil {
			t.Error("a beat of nobody's attempt is taken")
		}
	}
	if j, err := worker.Job(t.Context(), job.Tenant, job.ID.String()); err != nil || j.State.Final() || j.Stopping {
		t.Errorf("after the revoke of another member the attempt is %s, stopping %v, %v", j.State, j.Stopping, err)
	}
	if err := post.Send(t.Context(), worker.key.ID(), "revoke", revoke); err != nil {
		t.Fatal(err)
	}
	if j, err := worker.ended(job); err != nil || j.State != jobspec.JobStopped {
		t.Errorf("control: after its owner's the attempt is %s, %v; want stopped", j.State, err)
	}
}
