package e2e

import (
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// newCrew starts members of one domain, whose leases are short, and waits until
// each of them has heard of each other.
// The last one has the label place=last.
func newCrew(t *testing.T, size int) []*crasher {
	t.Helper()
	all := make([]*crasher, size)
	for i := range all {
		args := []string{"--p2p-listen", loopback, "--door-listen", loopback}
		if i == size-1 {
			args = append(args, "--label", "place=last")
		}
		all[i] = newCrasher(t, []string{"IPDC_LEASE=3s"}, args...)
		if i > 0 {
			all[i].joins(all[0].node)
		}
	}
	meet(all)
	return all
}

// meet waits until each has heard of each other.
func meet(all []*crasher) {
	for _, n := range all {
		for _, other := range all {
			if n != other {
				n.hears(other.node)
			}
		}
	}
}

func ready(t *testing.T, all []*crasher) {
	for _, n := range all {
		n.ready(t)
	}
}

// A task is another member's. Either of the two is killed while it is given,
// taken, reported and taken in.
func crashHanded(t *testing.T, places []string) {
	all := newCrew(t, 2)
	owner, worker := all[0], all[1]
	input := worker.ok("add", "-q", logsDir(t))
	spec := crashSpec(t, input, "task", copying)
	spec.Place.Require = map[string]string{"label.place": "last"}
	want := owner.wants(spec)
	if j := owner.job("@last"); j.Attempts[0].Node != worker.peerID() {
		t.Fatalf("control: the task ran at %s, its input is at %s", j.Attempts[0].Node, worker.peerID())
	}
	worker.calms()
	for _, place := range places {
		t.Run(place, func(t *testing.T) {
			ready(t, all)
			meet(all)
			dies := map[bool]*crasher{true: worker, false: owner}[step(place) == "taken-on" || step(place) == "reported"]
			c := owner.client()
			var first wire.Job
			dies.crash(place, func() { first, _ = c.Submit(t.Context(), spec, place) })
			owner.ends(c, owner.again(c, place, spec, first), want)
			worker.settles()
		})
	}
	ready(t, all)
}

// Jobs that the domain's keepers know of: the owner is killed while it enters
// one and ends it, and the heir while it takes one over.
func crashKept(t *testing.T, places []string) {
	all := newCrew(t, 3)
	for _, n := range all {
		n.await("keepers", time.Minute, func() bool { k := n.keepers(); return k.Active() && k.Leader != "" })
	}
	input := all[0].ok("add", "-q", logsDir(t))
	for _, n := range all[1:] {
		n.ok("pin", "add", input)
	}
	spec := crashSpec(t, input, "task", copying)
	var want jobspec.CID
	for _, n := range all {
		want = n.wants(spec)
	}
	for _, n := range all { // of which each has worked for each
		n.calms()
		n.calm = append(n.calm, "pins of a held", // copies of each other's results
			`pins of a job that is not recorded: ["partial"]`, `pins of a job that is not recorded: ["result"]`) // tasks of an owner that was killed
	}
	for i, place := range places {
		t.Run(place, func(t *testing.T) {
			ready(t, all)
			meet(all)
			if step(place) == "taken-over" {
				long := crashSpec(t, input, "task", untilLetGo+copying)
				crashHeir(t, place, all[i%3], []*crasher{all[(i+1)%3], all[(i+2)%3]}, long, want)
				return
			}
			c, id := all[0].submits(place, spec)
			all[0].ends(c, id, want)
			all[1].settles()
			all[2].settles()
		})
	}
	ready(t, all)
}

// crashHeir kills the owner of a job for good, and whoever takes it over at a
// place. The owner, which comes back, publishes nothing.
func crashHeir(t *testing.T, place string, owner *crasher, others []*crasher, spec jobspec.Spec, want jobspec.CID) {
	t.Helper()
	id := owner.begun(owner.client(), place, spec)
	for _, n := range others {
		n.arm(place)
	}
	owner.kill()
	var dead *crasher
	for end := time.Now().Add(patience); dead == nil; {
		for _, n := range others {
			if n.dies(50 * time.Millisecond) {
				dead = n
				break
			}
		}
		if dead == nil && time.Now().After(end) {
			t.Fatalf("nobody came to %s", place)
		}
	}
	for _, n := range others {
		n.disarm()
	}
	dead.recovers(place)
	var heir *crasher
	others[0].await("an heir to end the job", time.Minute, func() bool {
		for _, n := range others {
			n.releaseAll()
			j, err := n.client().Job(t.Context(), id)
			if err == nil && j.State == jobspec.JobSucceeded && j.Result == want && j.Recorded == nil {
				heir = n
			}
		}
		return heir != nil
	})
	heir.ends(heir.client(), id, want)
	for _, n := range others {
		n.settles()
	}
	owner.start()
	owner.await("the old owner to give it up", time.Minute, func() bool {
		j, err := owner.client().Job(t.Context(), id)
		return err == nil && j.State.Final()
	})
	if j, err := owner.client().Job(t.Context(), id); err != nil || j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindLeaseLost || j.Result.Defined() {
		t.Errorf("the old owner has the job %s with %q, %v: %+v", j.State, j.Result, err, j.Failure)
	}
	owner.checkHistory(id, 0)
	owner.settles()
}

// noContainer waits until no container is left of a node.
func (n *crasher) noContainer(of string) {
	n.t.Helper()
	n.await("the containers of "+of+" to go", recoverFor, func() bool { return len(n.containers()) == 0 })
}
