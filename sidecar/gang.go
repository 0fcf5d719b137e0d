package sidecar

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/joblog"
	"github.com/ipdc/ipdc/store"
)

// Why a task of a gang is ended by the others.
var (
	errGangEnded = jobspec.Failure{Kind: jobspec.KindStopped, Where: "task", Detail: "ended because another task of its gang failed"}.Error()
	errEnough    = errors.New("the gang has done its work")
)

// gangTries is how often a gang is tried whose tasks had room and did not come
// to their start all the same.
const gangTries = 6

// gang is the way of a gang through its generations: attempts of all its tasks
// at once, one behind the other.
type gang struct {
	*driver
	st    stage
	plan  jobspec.Plan // of the stage
	spec  jobspec.Gang
	state jobspec.GangState

	last    int                  // number of the last generation, which all of its attempts have
	nodes   map[identity.ID]bool // other members that had tasks of it
	rounds  int                  // of forming, since programs were started last
	failed  int                  // generations that were formed and did not begin, likewise
	avoid   map[identity.ID]bool // who had no room in the last round
	archive jobspec.CID          // of the image, once a member has asked for it
}

// runGang brings a gang to its end: until a generation of it succeeds, or its
// failure is not followed by another one. before are the attempts of earlier
// processes.
func (d *driver) runGang(ctx context.Context, st stage, plan jobspec.Plan, before map[int][]jobspec.Attempt) error {
	g := &gang{driver: d, st: st, plan: plan, spec: *st.Spec.Gang, nodes: map[identity.ID]bool{}, avoid: map[identity.ID]bool{}}
	job, err := d.load(d.keep())
	if err != nil {
		return err
	}
	if g.state = (jobspec.GangState{Stage: st.index}); job.Gang != nil && job.Gang.Stage == st.index {
		g.state = *job.Gang
	}
	n := g.takeUp(before)
	for {
		if n == nil {
			if n, err = g.form(ctx); err != nil {
				return err
			}
		}
		end, err := n.run(ctx)
		if err != nil || end == nil {
			return err
		}
		if err := g.again(ctx, n, *end); err != nil {
			return err
		}
		n = nil
	}
}

// takeUp returns the last generation of an earlier process, or nil.
func (g *gang) takeUp(before map[int][]jobspec.Attempt) *generation {
	for _, list := range before {
		for _, a := range list {
			g.last = max(g.last, a.ID.Try)
		}
	}
	if g.last == 0 {
		return nil
	}
	n := g.generation(g.last)
	for i, t := range g.plan.Tasks {
		r := n.runs[i]
		for _, a := range before[t.Index] {
			if a.ID.Try == g.last {
				r.att = a
			}
		}
		r.this, r.resumed = r.att.ID, true
		g.sends(identity.ID(r.att.Node))
		r.goes(r.this, identity.ID(r.att.Node))
	}
	if g.state.Begun == g.last {
		n.gate.open()
	}
	return n
}

// sends notes who has a task of the last generation.
func (g *gang) sends(node identity.ID) {
	if node != g.Sidecar.id {
		g.nodes[node] = true
	}
}

// again says whether another generation follows one that failed; the error is
// why not.
func (g *gang) again(ctx context.Context, n *generation, f jobspec.Failure) error {
	if !n.gate.isOpen() {
		if g.failed++; f.Kind != jobspec.KindLost || g.failed >= gangTries {
			return f.Error()
		}
		g.waits(ctx, "the gang did not come together: "+f.Detail)
		return nil
	}
	g.rounds, g.failed = 0, 0
	if g.spec.Restart != jobspec.GangRestartAll {
		return f.Error()
	}
	if g.state.Starts > g.spec.Restarts {
		f.Detail = fmt.Sprintf("%s (the gang was started %d times, restarts: %d)", f.Detail, g.state.Starts, g.spec.Restarts)
		return f.Error()
	}
	g.log.Info("gang starts again", "job", g.id, "generation", n.number, "why", f.Detail)
	g.note(ctx, jobspec.Event{Job: g.id, Type: jobspec.EventWait, Task: g.plan.Tasks[0].Index, Detail: fmt.Sprintf(
		"the gang starts again, time %d of %d: %s", g.state.Starts, g.spec.Restarts, f.Detail)})
	return nil
}

// begun makes it durable that the programs of a generation are started, before
// they are.
func (g *gang) begun(number int) error {
	next := g.state
	if next.Begun != number {
		next.Begun, next.Starts = number, next.Starts+1
	}
	err := g.persist(g.keep(), func(tx *store.Tx) error {
		job, err := tx.Job(g.id)
		if err != nil {
			return err
		}
		job.Gang = &next
		return tx.PutJob(job)
	})
	if err == nil {
		g.state = next
	}
	return err
}

// tailLines and tailBytes bound how much of a log stands in a failure.
const (
	tailLines = 8
	tailBytes = 1 << 10
)

// describe is the failure of a gang by that of one of its tasks: which one it
// was, where it ran, and what it said last.
func (g *gang) describe(r *runner) jobspec.Failure {
	f := *r.att.Failure
	f.Where = "task " + r.task.Name
	f.Detail = fmt.Sprintf("%s at %s: %s", r.task.Name, identity.ID(r.att.Node).Short(), f.Detail)
	if last := g.lastLines(r.att.ID); last != "" {
		f.Detail += "; it said last: " + last
	}
	return f
}

// lastLines returns the end of what an attempt's program has written.
func (g *gang) lastLines(id jobspec.AttemptID) string {
	var end []byte
	err := joblog.Read(g.keep(), g.logFile(id), 0, false, func(_ int64, _ jobspec.LogHeader, data []byte) error {
		end = append(end, data...)
		end = end[max(0, len(end)-tailBytes):]
		return nil
	})
	if err != nil {
		g.log.Debug("read the end of a log", "attempt", id, "err", err)
	}
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(end), "\uFFFD")), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
