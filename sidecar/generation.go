package sidecar

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// generation is one attempt of each task of a gang, all of them at once.
type generation struct {
	*gang
	number int
	gate   *gate
	runs   []*runner // by task

	// Only the goroutine of run uses these.
	live    map[*runner]context.CancelCauseFunc // the records of those are their own goroutines'
	given   map[*runner]given                   // to whom
	ended   chan *runner                        // each one of live, once; never closed
	failure *jobspec.Failure                    // the first one, which ends the others
	err     error                               // why the work was given up

	news chan struct{} // holds one: somebody has arrived
	mu   sync.Mutex
	here map[jobspec.AttemptID]bool // whose containers are made
}

// given is who makes an attempt.
type given struct {
	node  identity.ID
	token string
}

// generation returns one that has not begun, with a runner for each task.
func (g *gang) generation(number int) *generation {
	n := &generation{
		gang: g, number: number, live: map[*runner]context.CancelCauseFunc{}, given: map[*runner]given{}, ended: make(chan *runner),
		news: make(chan struct{}, 1), here: map[jobspec.AttemptID]bool{},
	}
	n.gate = newGate(n.arrives)
	for _, t := range g.plan.Tasks {
		c := &course{
			driver: g.driver, st: g.st, job: g.st.Job, plan: g.plan, task: t, gate: n.gate, since: g.now(),
			at: map[jobspec.AttemptID]stand{}, shunned: map[identity.ID]bool{}, archive: g.archive,
		}
		n.runs = append(n.runs, &runner{course: c, this: jobspec.AttemptID{Job: g.id, Task: t.Index, Try: number}})
	}
	return n
}

// arrives notes that an attempt waits for the others.
func (n *generation) arrives(id jobspec.AttemptID) {
	n.mu.Lock()
	n.here[id] = true
	n.mu.Unlock()
	select {
	case n.news <- struct{}{}:
	default:
	}
}

// run makes all attempts until each of them has ended. It returns the failure
// of the first one that failed, or an error when the work was given up.
func (n *generation) run(ctx context.Context) (*jobspec.Failure, error) {
	for _, r := range n.runs { // what an earlier process has ended decides first
		if n.over(r) {
			n.takeEnd(ctx, r)
		}
	}
	for _, r := range n.runs {
		if !n.over(r) {
			n.start(ctx, r)
		}
	}
	if n.gate.isOpen() {
		n.tell(false) // an earlier process may have written it and not said it
	}
	late := time.NewTimer(n.cfg.Arrive)
	defer late.Stop()
	for len(n.live) > 0 {
		select {
		case <-n.news:
			n.begin()
		case <-late.C:
			n.dropLate()
		case r := <-n.ended:
			delete(n.live, r)
			n.takeEnd(ctx, r)
		}
	}
	return n.failure, n.err
}

func (n *generation) over(r *runner) bool { return reported(r.att) || r.att.State.Final() }

// did says whether an attempt has succeeded.
func (n *generation) did(r *runner) bool { return n.live[r] == nil && succeeded(r.att) }

// start lets a runner do its work. Where the generation has failed already it
// only ends what is left.
func (n *generation) start(ctx context.Context, r *runner) {
	ctx, cancel := context.WithCancelCause(ctx)
	n.live[r], n.given[r] = cancel, given{identity.ID(r.att.Node), r.att.Token}
	if n.failure != nil || n.err != nil {
		cancel(errGangEnded)
	}
	n.work.Go(func() {
		defer cancel(nil)
		switch {
		case !r.elsewhere() && r.att.State == jobspec.AttemptLeased:
			r.err = r.joinHere(ctx)
		case r.resumed:
			r.err = r.resume(ctx)
		default:
			r.err = r.join(ctx)
		}
		n.ended <- r
	})
}

// begin starts the programs when all of them are there.
func (n *generation) begin() {
	if n.gate.isOpen() || n.failure != nil || n.err != nil {
		return
	}
	n.mu.Lock()
	all := true
	for _, r := range n.runs {
		all = all && (n.here[r.this] || n.did(r))
	}
	n.mu.Unlock()
	if !all {
		return
	}
	failpoint.Hit("gang-started.before-effect")
	if err := n.gang.begun(n.number); err != nil {
		n.giveUp(fmt.Errorf("begin generation %d of the gang: %w", n.number, err))
		return
	}
	failpoint.Hit("gang-started.after-effect")
	n.log.Info("gang begins", "job", n.id, "generation", n.number, "tasks", len(n.runs))
	n.gate.open()
	n.tell(false)
}

// dropLate gives up the attempts that have not come to their start in all the
// time they had, so that the gang is formed anew, rather without those members.
func (n *generation) dropLate() {
	if n.gate.isOpen() || n.failure != nil || n.err != nil {
		return
	}
	n.mu.Lock()
	here := maps.Clone(n.here)
	n.mu.Unlock()
	why := jobspec.KindLost.Errorf("it did not come to its start within %s (setting gang-arrive), its image and input included; %d of the gang's %d tasks did", n.cfg.Arrive, len(here), len(n.runs))
	for r, cancel := range n.live {
		if here[r.this] {
			continue
		}
		if r.elsewhere() {
			r.shun(identity.ID(r.att.Node))
		}
		cancel(why)
	}
}

// takeEnd draws the consequences of an attempt's end.
func (n *generation) takeEnd(ctx context.Context, r *runner) {
	if a := r.sentImage(); a.Defined() {
		n.archive = a
	}
	switch {
	case n.shuttingDown():
		n.err = errShutdown // the others end by themselves
	case ctx.Err() != nil:
		n.err = context.Cause(ctx) // likewise
	case n.failure != nil || n.err != nil || n.gate.isOver(): // it was ended by the others
	case succeeded(r.att):
		n.looks()
	case r.att.Failure != nil:
		f := n.describe(r)
		n.failure = &f
		n.halt()
	default:
		n.giveUp(errors.Join(r.err, fmt.Errorf("attempt %s came to no end", r.this)))
	}
}

func (n *generation) giveUp(err error) {
	n.err = err
	n.halt()
}

// halt ends all attempts that are still made.
func (n *generation) halt() {
	for _, cancel := range n.live {
		cancel(errGangEnded)
	}
}

// looks whether all tasks that decide have succeeded. Those that are left are
// stopped then.
func (n *generation) looks() {
	roles := n.spec.Tasks()
	for i, r := range n.runs {
		if n.spec.Decides(roles[i].Role) && !n.did(r) {
			return
		}
	}
	n.gate.end()
	n.tell(true)
}

// tell says at the other members how the gate stands. Who does not hear it
// learns it when it beats.
func (n *generation) tell(over bool) {
	for r := range n.live {
		to, m := n.given[r].node, wire.Gate{Attempt: r.this.String(), Token: n.given[r].token, Open: true, Over: over}
		if to == n.Sidecar.id {
			continue
		}
		n.work.Go(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(n.keep()), 5*time.Second)
			defer cancel()
			if err := n.cfg.Post.Send(ctx, to, typeGate, m); err != nil {
				n.log.Debug("gate of a gang", "attempt", m.Attempt, "member", to.Short(), "err", err)
			}
		})
	}
}

// joinHere makes an attempt that was granted to this node, which holds room
// for it.
func (r *runner) joinHere(ctx context.Context) error {
	r.watch.start(r.now(), r.att.Phases)
	if r.resumed {
		_, r.holds = r.claim(r.att.ID)
	} else {
		r.holds = r.takeSeat(seatKey(r.Sidecar.id, r.att.Peers.Gang), r.job.Spec.Resources)
	}
	if !r.holds {
		return r.abandon(errNoSeat())
	}
	r.setActive(1)
	if err := r.bringShard(ctx); err != nil {
		defer r.cleanup()
		return r.abandon(causeOr(ctx, at("inputs[0]", err)))
	}
	r.watch.lap(r.now(), brought)
	return r.run(ctx)
}

// join gives an attempt to the member that it was granted to, and waits for its
// end. One that is not taken, or lacks the image, is lost: the gang is formed
// anew.
func (r *runner) join(ctx context.Context) error {
	r.watch.start(r.now(), r.att.Phases)
	node := identity.ID(r.att.Node)
	taken, err := r.hand(ctx, node)
	switch {
	case errors.Is(err, errLacksImage):
		if _, err := r.bringArchive(ctx, node); err != nil {
			return err
		}
		return r.abandonAway(jobspec.KindLost.Errorf("%s lacked the image", node.Short()))
	case err == nil && !taken:
		return r.abandonAway(jobspec.KindLost.Errorf("%s did not take it", node.Short()))
	}
	return err
}
