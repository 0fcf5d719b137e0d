package sidecar

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// away is an attempt that another node makes, as its owner waits for it.
type away struct {
	id    jobspec.AttemptID
	node  identity.ID
	gate  *gate // of its gang; nil without
	token string
	beats chan wire.Beat   // holds one
	ends  chan jobspec.CID // holds one; the outcome's file
	tail  tail             // of its log

	checkpoint atomic.Bool // one of it is being fetched

	began time.Time // its program, as the member says; zero = it has not. Guarded by Sidecar.mu
	items int       // that are done; likewise
}

// assignFor bounds how long a member may take to accept an attempt.
const assignFor = 30 * time.Second

// attempt makes one try of the task: at the member that holds its input, at
// another one when that does not take it, or here.
func (r *runner) attempt(ctx context.Context) error {
	r.watch.start(r.now(), jobspec.Phases{})
	for {
		node, err := r.target(ctx)
		if err != nil {
			return err
		}
		if node == r.Sidecar.id {
			return r.here(ctx)
		}
		if taken, err := r.send(ctx, node); taken || err != nil {
			return err
		}
	}
}

// here makes the attempt on this node.
func (r *runner) here(ctx context.Context) error {
	if o := r.job.Origin; o != nil { // gathered before the task was begun
		r.watch.spent.Brought = max(0, jobspec.Duration(r.since.Sub(r.job.Submitted)))
	}
	if err := r.bringShard(ctx); err != nil {
		return causeOr(ctx, at("inputs[0]", err))
	}
	r.watch.lap(r.now(), brought)
	if err := r.lease(ctx); err != nil {
		return err
	}
	return r.run(ctx)
}

// elsewhere says whether the present attempt is another node's.
func (r *runner) elsewhere() bool { return r.att.Node != r.Sidecar.id.String() }

// send gives the attempt to a member and waits for its end. It reports false
// when the member did not take it, or cannot be given the image; then nobody
// runs it. A member that lacks the image is asked again, with an archive of it
// and under a new token.
func (r *runner) send(ctx context.Context, node identity.ID) (taken bool, err error) {
	for {
		r.watch.lap(r.now(), waited)
		if err := r.grant(ctx, node); err != nil {
			return false, err
		}
		taken, err = r.hand(ctx, node)
		if !errors.Is(err, errLacksImage) {
			return taken, err
		}
		if taken, err = r.bringArchive(ctx, node); !taken || err != nil {
			return false, err
		}
	}
}

// hand asks the member to take the attempt that was granted to it, and waits
// for its end.
func (r *runner) hand(ctx context.Context, node identity.ID) (taken bool, err error) {
	a := r.expect(node)
	defer r.forgetAway()
	if err := r.assign(ctx, node); err != nil {
		if ctx.Err() != nil {
			return true, r.giveUp(ctx)
		}
		r.revoke(node)
		r.shun(node)
		r.log.Info("member does not take the task", "attempt", r.att.ID, "member", node.Short(), "err", err)
		r.waits(ctx, fmt.Sprintf("task %d goes elsewhere: %s does not take it: %s", r.task.Index, node.Short(), jobspec.AsFailure(err).Detail))
		return false, nil
	}
	r.shy.took(node)
	r.setActive(1)
	defer r.setActive(-1)
	return true, r.follow(ctx, a)
}

// rejoin waits again for an attempt that a member makes, after a restart of
// this node. The member is asked once more, in case that it was not before:
// one that knows the attempt changes nothing.
func (r *runner) rejoin(ctx context.Context) error {
	node := identity.ID(r.att.Node)
	a := r.expect(node)
	defer r.forgetAway()
	err := r.assign(ctx, node)
	var fe *jobspec.FailureError
	if isLeaseLost(err) || r.gate != nil && ctx.Err() == nil && errors.As(err, &fe) {
		return r.lose(a, fmt.Sprintf("%s has given it up", node.Short()))
	}
	if err != nil && ctx.Err() == nil {
		r.log.Info("member does not say that it has the task", "attempt", r.att.ID, "member", node.Short(), "err", err)
	}
	r.setActive(1)
	defer r.setActive(-1)
	if err = r.follow(ctx, a); !errors.Is(err, errLacksImage) {
		return err
	}
	taken, err := r.bringArchive(ctx, node)
	if taken && err == nil {
		taken, err = r.send(ctx, node)
	}
	if !taken && err == nil {
		err = r.abandonAway(jobspec.KindLost.Errorf("%s could not be given the image", node.Short()))
	}
	return err
}

// errLacksImage says that a member needs the image's archive.
var errLacksImage = errors.New("the member lacks the image")

// bringArchive makes the archive for a member that lacks the image. It reports
// false when that fails: then the member is not asked again.
func (r *runner) bringArchive(ctx context.Context, node identity.ID) (bool, error) {
	r.waits(ctx, fmt.Sprintf("task %d waits for its image, which %s lacks and is sent", r.task.Index, node.Short()))
	archive, err := r.archiveImage(ctx)
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.archive = archive
		return true, nil
	}
	if ctx.Err() != nil {
		return false, r.giveUp(ctx)
	}
	r.shun(node)
	r.log.Warn("archive image for a member", "attempt", r.att.ID, "member", node.Short(), "err", err)
	return false, nil
}

// sentImage is the archive of the image, once a member has asked for it.
func (c *course) sentImage() jobspec.CID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.archive
}

func (r *runner) expect(node identity.ID) *away {
	a := &away{id: r.att.ID, node: node, gate: r.gate, token: r.att.Token, beats: make(chan wire.Beat, 1), ends: make(chan jobspec.CID, 1)}
	r.Sidecar.mu.Lock()
	defer r.Sidecar.mu.Unlock()
	r.Sidecar.away[r.att.ID] = a
	return a
}

func (r *runner) forgetAway() {
	r.Sidecar.mu.Lock()
	defer r.Sidecar.mu.Unlock()
	delete(r.Sidecar.away, r.att.ID)
}

// assign asks the member to take the attempt.
func (r *runner) assign(ctx context.Context, node identity.ID) error {
	work, err := r.publishJSON(ctx, pinName(r.id, fmt.Sprintf("work/%d", r.task.Index)), r.order())
	if err != nil {
		return fmt.Errorf("store work: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, min(assignFor, r.cfg.Lease))
	defer cancel()
	failpoint.Hit("assigned.before-effect")
	_, err = bus.Request[wire.Assigned](ctx, r.cfg.Post, node, typeAssign, wire.Assign{
		Attempt: r.att.ID.String(), Token: r.att.Token, Lease: jobspec.Duration(r.cfg.Lease), Work: work,
	})
	failpoint.Hit("assigned.after-effect")
	return err
}

func (r *runner) order() wire.Work {
	plan := r.plan
	plan.Tasks, plan.Kept = []jobspec.Task{r.task}, nil
	return wire.Work{Spec: r.job.Spec, Plan: plan, Archive: r.sentImage(), Peers: r.att.Peers}
}

// revoke tells the member that the attempt is not wanted. One that does not
// hear it learns it from the answer to its next beat.
func (r *runner) revoke(node identity.ID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.keep()), 5*time.Second)
	defer cancel()
	if err := r.cfg.Post.Send(ctx, node, typeRevoke, wire.Revoke{Attempt: r.att.ID.String(), Token: r.att.Token}); err != nil {
		r.log.Debug("revoke", "attempt", r.att.ID, "member", node.Short(), "err", err)
	}
}

// giveUp ends an attempt of another node, as the work on it was cancelled. It
// returns why; a node that stops leaves it for its next process.
func (r *runner) giveUp(ctx context.Context) error {
	if r.shuttingDown() {
		return errShutdown
	}
	r.revoke(identity.ID(r.att.Node))
	return errors.Join(context.Cause(ctx), r.abandonAway(context.Cause(ctx)))
}

// abandonAway gives up an attempt of another node.
func (r *runner) abandonAway(cause error) error {
	f := jobspec.AsFailure(cause)
	if f.Where == "" {
		f.Where = fmt.Sprintf("task %d", r.task.Index)
	}
	r.att.Failure = &f
	return r.save(jobspec.AttemptAbandoned)
}
