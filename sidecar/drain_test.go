package sidecar_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// drains drains a node until it is in a state, and returns how far it is then.
func (b *bench) drains(w wire.DrainWish, want func(wire.Drain) bool) wire.Drain {
	b.t.Helper()
	d, err := b.Drain(b.t.Context(), w)
	if err != nil {
		b.t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-tick.C {
		if d, err = b.Drained(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
		if want(d) {
			return d
		}
	}
	b.t.Fatalf("after 30 s the node is at %+v", d)
	return d
}

func drained(d wire.Drain) bool { return d.State == wire.Drained }

// A node that drains takes nothing new, neither from its users nor from
// members; undone, or started again, it does.
func TestDrainingTakesNothing(t *testing.T) {
	f := newFleet(t, 2)
	root, files := f.dataset(2)
	owner, other := f.nodes[0], f.nodes[1]
	other.drains(wire.DrainWish{}, drained)
	_, _, err := other.Submit(t.Context(), api.Submission{Tenant: "t", Spec: spec("A=1")})
	if !errors.Is(err, jobspec.KindConflict.Error()) {
		t.Errorf("Submit at a node that drains = %v, want %s", err, jobspec.KindConflict)
	}
	_, err = owner.Ask(t.Context(), other.key.ID(), wire.Hold{Name: "job/x/result", Root: mustParse(t, root)})
	if !errors.Is(err, jobspec.KindConflict.Error()) {
		t.Errorf("a copy at a node that drains: %v, want %s", err, jobspec.KindConflict)
	}
	j := owner.final(owner.submit(perItem(root, files)))
	if j.State != jobspec.JobSucceeded || j.Result.String() != root {
		t.Fatalf("job is %s with %s: %+v", j.State, j.Result, j.Failure)
	}
	for _, a := range j.Attempts {
		if a.Node == other.key.ID().String() {
			t.Errorf("attempt %s is of the node that drains", a.ID)
		}
	}
	if d, err := other.Drain(t.Context(), wire.DrainWish{Undo: true}); err != nil || d.State != wire.DrainNo {
		t.Errorf("undone: %+v, %v", d, err)
	}
	other.final(other.submit(spec("A=2")))
	other.drains(wire.DrainWish{}, drained)
	other.restart()
	other.final(other.submit(spec("A=3")))
}

// Tasks of others' jobs come to their end when there is time, else they are
// given back and tried elsewhere. Either way the job gives the same.
func TestDrainEndsTasks(t *testing.T) {
	for name, test := range map[string]struct {
		timeout time.Duration
		ended   bool // there
	}{"in time": {time.Hour, true}, "at once": {0, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			root, files := f.dataset(2)
			owner, other := f.nodes[0], f.nodes[1]
			other.slow(endless)
			other.restart()
			id := owner.submit(perItem(root, files))
			f.await("its tasks run", func() bool { return other.atWork() > 0 })
			d := other.drains(wire.DrainWish{Timeout: jobspec.Duration(test.timeout)}, func(d wire.Drain) bool {
				if test.ended {
					other.state.Release()
				}
				return drained(d)
			})
			if d.Tasks != 0 || len(d.Jobs) != 0 {
				t.Errorf("drained with %+v", d)
			}
			j := owner.final(id)
			if j.State != jobspec.JobSucceeded || j.Result.String() != root {
				t.Fatalf("job is %s with %s: %+v", j.State, j.Result, j.Failure)
			}
			ended, lost := 0, 0
			for _, a := range j.Attempts {
				switch {
				case a.Node != other.key.ID().String():
				case a.Failure == nil:
					ended++
				case a.Failure.Kind == jobspec.KindLost:
					lost++
				}
			}
			if test.ended != (ended > 0) || test.ended != (lost == 0) {
				t.Errorf("there %d tasks ended and %d were lost, want ended %v: %+v", ended, lost, test.ended, j.Attempts)
			}
		})
	}
}

// The node's own jobs are named while they run, and do not hold up what is
// handed over.
func TestDrainNamesOwnJobs(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	owner := f.nodes[0]
	owner.input("a")
	id := owner.submit(spec("DUMMY_SLEEP=1h"))
	d := owner.drains(wire.DrainWish{}, func(d wire.Drain) bool { return len(d.Jobs) == 1 && d.Handed == 1 })
	if d.State != wire.Draining || d.Jobs[0].String() != id {
		t.Errorf("with a job that runs: %+v", d)
	}
	if _, err := owner.Stop(t.Context(), "t", id); err != nil {
		t.Fatal(err)
	}
	owner.drains(wire.DrainWish{}, drained)
}

// What only this node has is held by another one when it has drained; when it
// leaves for good, that one makes it its own.
func TestDrainHandsOver(t *testing.T) {
	for name, leave := range map[string]bool{"for a while": false, "for good": true} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 3)
			owner := f.nodes[0]
			input := mustParse(t, owner.input("a", "b/c"))
			s := spec("DUMMY_WRITE_X=/outputs/x:hello")
			s.Replicate = 1
			result := owner.final(owner.submit(s)).Result
			if f.nodes[1].has(input) || f.nodes[2].has(input) {
				t.Fatal("others have it already")
			}
			d := owner.drains(wire.DrainWish{Leave: leave}, drained)
			if d.Handed != 2 || d.Pins != 0 {
				t.Errorf("drained with %+v, want 2 pins handed over", d)
			}
			f.leave(owner)
			for _, root := range []jobspec.CID{input, result} {
				if err := f.nodes[1].whole(root); err != nil {
					t.Errorf("%s is not whole: %v", root, err)
				}
			}
			own := 0
			for _, b := range f.nodes[1:] {
				pins, err := b.ipfs.Pins(t.Context(), "user/")
				if err != nil {
					t.Fatal(err)
				}
				own += len(pins)
			}
			if leave != (own == 2) {
				t.Errorf("%d pins are the others' own", own)
			}
		})
	}
}

func (b *bench) has(root jobspec.CID) bool {
	b.t.Helper()
	ok, err := b.ipfs.Has(b.t.Context(), root)
	if err != nil {
		b.t.Fatal(err)
	}
	return ok
}

// Alone there is nobody to hand anything to: the node says so, and is done.
func TestDrainAlone(t *testing.T) {
	f := newFleet(t, 1)
	f.nodes[0].input("a")
	d := f.nodes[0].drains(wire.DrainWish{}, drained)
	if d.Pins != 1 || !strings.Contains(d.Problem, "no other member") {
		t.Errorf("drained with %+v, want one pin and why it stays", d)
	}
}

// A dataset is held by as many nodes as its user asks for, until it is
// unpinned.
func TestReplicateAPin(t *testing.T) {
	f := newFleet(t, 3)
	owner := f.nodes[0]
	root := mustParse(t, owner.input("a"))
	for _, n := range []int{0, -1, 17} {
		if _, err := owner.Replicate(t.Context(), "user/input", root, n); !errors.Is(err, jobspec.KindSpec.Error()) {
			t.Errorf("on %d nodes: %v, want %s", n, err, jobspec.KindSpec)
		}
	}
	held := func(want int) {
		t.Helper()
		got := 0
		for _, b := range f.nodes {
			got += len(b.held())
		}
		if got != want {
			t.Errorf("%d copies, want %d", got, want)
		}
	}
	repairs := func() { // what is made after its words stays: of one millisecond nobody knows
		t.Helper()
		owner.later.Add(int64(time.Second))
		owner.repair()
	}
	r, err := owner.Replicate(t.Context(), "user/input", root, 3)
	if err != nil || len(r.Holders) != 3 || r.Holders[0] != owner.key.ID() {
		t.Errorf("on 3 nodes: %+v, %v", r, err)
	}
	held(2)
	if r, err = owner.Replicate(t.Context(), "user/input", root, 5); err != nil || len(r.Holders) != 3 || r.Problem == "" {
		t.Errorf("on 5 nodes of 3: %+v, %v; want 3 and why", r, err)
	}
	if by, err := owner.Replicas(t.Context()); err != nil || by["user/input"].Want != 5 {
		t.Errorf("Replicas = %+v, %v", by, err)
	}
	if _, err = owner.Replicate(t.Context(), "user/input", root, 1); err != nil {
		t.Errorf("on this node alone: %v", err)
	}
	repairs()
	held(0)
	if _, err = owner.Replicate(t.Context(), "user/input", root, 2); err != nil {
		t.Errorf("again on 2 nodes: %v", err)
	}
	held(1)
	if err := owner.ipfs.Unpin(t.Context(), "user/input"); err != nil {
		t.Fatal(err)
	}
	repairs()
	held(0)
	if rows := owner.holdings(); len(rows) > 0 {
		t.Errorf("rows are left: %+v", rows)
	}
}

func mustParse(t *testing.T, s string) jobspec.CID {
	t.Helper()
	c, err := jobspec.ParseCID(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
