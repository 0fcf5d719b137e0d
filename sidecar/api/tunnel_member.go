package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/peering"
	"github.com/ipdc/ipdc/wire"
)

// taskProtocol is how members reach tasks of jobs that they have handed over: a
// line of JSON says which task, another one answers, then both speak frames.
const taskProtocol bus.Protocol = "task-stream/1"

// Bounds of such streams.
const (
	maxMemberStreams = 128     // of one member at once
	maxTaskLine      = 8 << 10 // bytes of either line
)

// taskAsk is the first line.
type taskAsk struct {
	Job  jobspec.JobID `json:"job"` // whole, at the member that has it
	Task string        `json:"task"`
}

// taskAnswer is the second one.
type taskAnswer struct {
	Problem *wire.Problem `json:"problem,omitempty"` // nil = frames follow
}

// dialTask opens a stream to a task of a job that is here, or that a member has.
func (a *API) dialTask(ctx context.Context, ref, task string) (*peering.Stream, error) {
	tenant := tenantOf(ctx)
	if a.cfg.Errands != nil && checkRef(ref) == nil {
		if h, ok, err := a.cfg.Errands.Handed(ctx, tenant, ref); err != nil || ok {
			if err != nil {
				return nil, err
			}
			return a.dialMember(ctx, h, task)
		}
	}
	return a.cfg.Service.DialTask(ctx, tenant, ref, task)
}

// dialMember asks the member that has the job for the stream.
func (a *API) dialMember(ctx context.Context, h Handed, task string) (*peering.Stream, error) {
	s, err := a.reach(ctx, h, taskProtocol)
	if err != nil {
		return nil, err
	}
	cut := context.AfterFunc(ctx, func() { _ = s.Reset() })
	var ans taskAnswer
	err = errors.Join(s.SetDeadline(time.Now().Add(memberDial)), writeLine(s, taskAsk{h.Job, task}))
	if err == nil {
		err = readLine(s, &ans)
	}
	switch {
	case err != nil:
		err = unreachable(h, err)
	case ans.Problem != nil:
		err = refusedBy(h, Status(ans.Problem.Kind), *ans.Problem)
	case !cut():
		err = context.Cause(ctx)
	default:
		if err = s.SetDeadline(time.Time{}); err == nil {
			return peering.NewStream(s), nil
		}
	}
	cut()
	_ = s.Reset()
	return nil, err
}

// serveTask joins a member's stream with a task of a job that it has handed over.
func (a *API) serveTask(ctx context.Context, s bus.Stream) {
	if !a.active.enter() {
		_ = s.Reset()
		return
	}
	defer a.active.leave()
	if !a.tunnels.enter(s.Peer(), maxMemberStreams) {
		_ = s.Reset()
		return
	}
	defer a.tunnels.leave(s.Peer())
	_ = s.SetDeadline(time.Now().Add(memberAskTime))
	var q taskAsk
	if err := readLine(s, &q); err != nil {
		a.log.Debug("member asks what cannot be read", "node", s.Peer().Short(), "err", err)
		_ = s.Reset()
		return
	}
	ctx, cancel := a.untilStop(ctx)
	defer cancel()
	task, err := a.taskOf(ctx, MemberTenant(s.Peer()), q)
	if err != nil {
		p := a.problem(ctx, err)
		_ = writeLine(s, taskAnswer{&p}) // who is gone needs no reason
		return
	}
	defer task.Abort() // nothing when it has ended
	defer context.AfterFunc(ctx, task.Abort)()
	if err = writeLine(s, taskAnswer{}); err == nil {
		if err = s.SetDeadline(time.Time{}); err == nil {
			err = task.Relay(s)
		}
	}
	if err != nil {
		a.log.Debug("stream of a member to a task was cut", "node", s.Peer().Short(), "job", q.Job, "task", q.Task, "err", err)
		_ = s.Reset()
	}
}

// taskOf opens the stream at the task.
func (a *API) taskOf(ctx context.Context, tenant string, q taskAsk) (*peering.Stream, error) {
	if _, err := jobspec.ParseJobID(q.Job.String()); err != nil {
		return nil, jobspec.KindNotFound.Errorf("no job has this id")
	}
	if err := a.sessions.take(tenant, a.cfg.Rate, time.Now()); err != nil {
		return nil, err
	}
	return a.cfg.Service.DialTask(ctx, tenant, q.Job.String(), q.Task)
}

func writeLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = w.Write(append(b, '\n'))
	}
	return err
}

// readLine reads a line of JSON and nothing behind it: frames may follow.
func readLine(r io.Reader, v any) error {
	var line bytes.Buffer
	for line.Len() < maxTaskLine {
		if _, err := io.CopyN(&line, r, 1); err != nil {
			return err
		}
		if b := line.Bytes(); b[len(b)-1] == '\n' {
			return json.Unmarshal(b, v)
		}
	}
	return jobspec.KindLimit.Errorf("a line of more than %d bytes", maxTaskLine)
}
