package sidecar_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// place.min_workers spreads a gang wider than it has to be, and is refused with
// the numbers where there are not so many members.
func TestGangSpreads(t *testing.T) {
	f := newFleet(t, 3)
	f.change(0, func(b *bench) { b.cap.CPU = 4000 }) // room for all of it
	f.stage(4, func(name string, _ int) []string { return []string{writing(name)} })
	owner := f.nodes[0]
	s := gangOf(jobspec.Gang{Roles: map[string]int{"w": 4}})
	s.Place.MinWorkers = 3
	j := owner.final(owner.submit(s))
	if nodes := nodesOf(j, 1); j.State != jobspec.JobSucceeded || len(nodes) != 3 {
		t.Errorf("job is %s on %v, want it on three nodes: %+v", j.State, nodes, j.Failure)
	}
	s.Place.MinWorkers = 4
	_, _, err := owner.Submit(t.Context(), api.Submission{Tenant: "t", Spec: s})
	if fail := jobspec.AsFailure(err); err == nil || fail.Where != "place.min_workers" || !strings.Contains(fail.Detail, "4 members that can run it, 3 of 3") || fail.Hint == "" {
		t.Errorf("Submit = %v, want it refused with the numbers", err)
	}
}

// dies ends a node as kill -9 does: nobody hears of it, and what was held for it
// elsewhere is not given back.
func (f *fleet) dies(i int) {
	f.net.Partition(f.ids(i))
	f.nodes[i].stop()
	f.net.Heal()
}

// isBack starts the first node again when nobody holds anything for it any more.
// From now on nothing is to be lost: not by a stall of the machine either.
func (f *fleet) isBack() {
	for _, b := range f.nodes {
		b.lease = 20 * time.Second
	}
	f.nodes[1].restart()
	f.nodes[2].restart()
	f.nodes[0].start()
}

// isFree says whether a node holds room for nobody.
func (b *bench) isFree() bool {
	n := b.status()
	return n.Free == n.Capacity
}

// pairOfMembers is a fleet whose first node, which owns the gang, is too small
// for a task: each of the others has room for one.
func pairOfMembers(t *testing.T, act func(name string, try int) []string) (*fleet, *troupe, jobspec.Spec) {
	f := newFleet(t, 3)
	f.lease(2 * time.Second)
	f.change(0, func(b *bench) { b.cap.CPU = 100 })
	f.change(1, func(b *bench) { b.labels = map[string]string{"here": "1"} })
	tr := f.stage(2, act)
	s := gangOf(jobspec.Gang{Roles: map[string]int{"w": 2}})
	s.Stages[0].Resources.CPU = 2000
	return f, tr, s
}

// startedOnce looks that the gang came to its end, and each program began once.
func (f *fleet) startedOnce(tr *troupe, id string) wire.Job {
	f.t.Helper()
	j := f.nodes[0].final(id)
	if j.State != jobspec.JobSucceeded || j.Gang == nil || j.Gang.Starts != 1 {
		f.t.Fatalf("job is %s with %+v, want it started once: %+v", j.State, j.Gang, j.Failure)
	}
	for _, p := range j.Attempts[0].Peers.Tasks {
		if n := tr.starts(p.Name); n != 1 {
			f.t.Errorf("the program of %s began %d times", p.Name, n)
		}
	}
	for _, b := range f.nodes {
		f.wait("a node is free again", b.isFree)
		b.idle()
	}
	return j
}

// The owner dies while a member holds room and another one has none: the room
// is given back without it, and the gang starts when it is there again.
func TestGangOwnerDiesHoldingRoom(t *testing.T) {
	t.Parallel()
	f, tr, s := pairOfMembers(t, func(name string, _ int) []string { return []string{writing(name)} })
	owner, busy, holds := f.nodes[0], f.nodes[1], f.nodes[2]
	long := spec("DUMMY_SLEEP=1h")
	long.Resources.CPU, long.Place.Require = 2000, map[string]string{"label.here": "1"}
	other := busy.submit(long)
	busy.until(other, jobspec.AttemptRunning)
	id := owner.submit(s)
	f.wait("a member holds room", func() bool { return holds.status().Free.CPU == 0 })
	f.dies(0)
	f.wait("room is given back", holds.isFree)
	if _, err := busy.Stop(t.Context(), "t", other); err != nil {
		t.Fatal(err)
	}
	busy.final(other)
	f.wait("the other one holds none either", busy.isFree)
	f.isBack()
	f.startedOnce(tr, id)
}

// The owner dies when one of two containers is made. Back at once it goes on
// with them; back late it finds that nobody waited, and forms the gang anew.
func TestGangOwnerDiesAfterAssigning(t *testing.T) {
	for name, late := range map[string]bool{"and is back": false, "and is back late": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open := make(chan struct{})
			f, tr, s := pairOfMembers(t, func(name string, try int) []string {
				if name == "w-1" && try == 1 {
					<-open
				}
				return []string{writing(name)}
			})
			if !late {
				f.lease(15 * time.Second)
			}
			id := f.nodes[0].submit(s)
			f.wait("both containers are on their way", func() bool {
				tr.mu.Lock()
				defer tr.mu.Unlock()
				return tr.made["w-0"] == 1 && tr.made["w-1"] == 1
			})
			f.dies(0)
			if late {
				tr.mu.Lock()
				tr.expect = 0 // what is made of this generation is of no use
				tr.mu.Unlock()
				f.wait("a member gives its task up", func() bool { return f.nodes[1].isFree() || f.nodes[2].isFree() })
			}
			close(open)
			if late {
				f.wait("so does the other one", func() bool { return f.nodes[1].isFree() && f.nodes[2].isFree() })
				f.isBack()
			} else {
				f.nodes[0].start()
			}
			j := f.startedOnce(tr, id)
			if want := map[bool]int{false: 2, true: 4}[late]; len(j.Attempts) != want {
				t.Errorf("%d attempts, want %d", len(j.Attempts), want)
			}
		})
	}
}

// The owner dies when it has written that the gang begins and nobody has heard
// of it: what was begun goes on, and does not begin again.
func TestGangOwnerDiesAtTheGate(t *testing.T) {
	t.Parallel()
	f, open := newFleet(t, 3), make(chan struct{})
	var dumb atomic.Pointer[identity.ID] // who is heard by nobody
	f.net = memory.New(memory.Config{Faults: func(m memory.Message) []time.Duration {
		if from := dumb.Load(); from != nil && m.From == *from && m.To != *from {
			return nil
		}
		return make([]time.Duration, 1)
	}})
	f.lease(time.Minute)
	tr := f.stage(3, func(name string, _ int) []string {
		if name == "ps-0" {
			<-open
		}
		return []string{writing(name)}
	})
	owner, self := f.nodes[0], f.nodes[0].key.ID()
	s := gangOf(threes)
	s.Stages[0].Resources.CPU = 2000
	id := owner.submit(s)
	f.wait("all containers are on their way", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return len(tr.made) == 3
	})
	dumb.Store(&self)
	close(open)
	f.wait("it is written that the gang begins", func() bool {
		j, err := owner.Job(t.Context(), "t", id)
		return err == nil && j.Gang != nil && j.Gang.Begun == 1
	})
	f.dies(0)
	began := 0
	for _, name := range []string{"ps-0", "worker-0", "worker-1"} {
		began += tr.starts(name)
	}
	if began > 1 {
		t.Errorf("%d programs began without a word of their owner", began)
	}
	dumb.Store(nil)
	owner.start()
	if j := f.startedOnce(tr, id); len(j.Attempts) != 3 {
		t.Errorf("%d attempts, want 3", len(j.Attempts))
	}
}
