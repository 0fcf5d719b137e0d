package sidecar

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/sidecar/joblog"
	"github.com/ipdc/ipdc/wire"
)

// LogEvents yields the logs of a job's attempts in the order in which they were
// leased, of one task or of all. That order only ever grows, so that a place in
// it can be come back to.
func (s *Sidecar) LogEvents(ctx context.Context, tenant, ref, task string, after api.LogPlace, follow bool, yield func(api.LogPiece) error) error {
	j, err := s.Job(ctx, tenant, ref)
	if err == nil && j.Recorded != nil {
		err = atOwner(j)
	}
	if err != nil {
		return err
	}
	unwant := func() {} // the log of the present attempt
	defer func() { unwant() }()
	for next, begun := 0, false; ; {
		var wake <-chan struct{}
		if follow {
			wake = s.hub.next(j.ID)
		}
		if j, err = s.Job(ctx, tenant, j.ID.String()); err != nil {
			return err
		}
		of, err := attemptsNamed(j, task)
		if err != nil {
			return err
		}
		list := slices.SortedStableFunc(slices.Values(of), func(a, b jobspec.Attempt) int { return a.Leased.Compare(b.Leased) })
		if after != (api.LogPlace{}) && next == 0 {
			if next = slices.IndexFunc(list, after.Of); next < 0 {
				return jobspec.KindNotFound.Errorf("the job has no log at %s", after)
			}
		}
		if !begun && (task == "" || len(j.Tasks) > 0) {
			begun = true
			if err := yield(api.LogPiece{End: after}); err != nil {
				return err
			}
		}
		for ; next < len(list); next++ {
			a := list[next]
			if unwant(); follow {
				unwant = s.want(a.ID)
			}
			if !s.logReady(a, follow) {
				if follow && !j.State.Final() && !a.State.Final() && !reported(a) {
					break // it will be
				}
				continue
			}
			if err := s.logPieces(ctx, a.ID, after, follow, yield); err != nil {
				return err
			}
		}
		if !follow {
			return nil
		}
		if j.State.Final() {
			s.hub.notify(j.ID) // nobody else will
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// attemptsNamed returns the attempts of the task of that name or number, or all
// when it is empty. Unless the job is planned none of its tasks has any.
func attemptsNamed(j wire.Job, task string) ([]jobspec.Attempt, error) {
	if task == "" {
		return j.Attempts, nil
	}
	i := slices.IndexFunc(j.Tasks, func(t wire.TaskState) bool { return t.Name == task || fmt.Sprint(t.Index) == task })
	if i < 0 && len(j.Tasks) == 0 {
		return nil, nil
	}
	if i < 0 {
		return nil, jobspec.Failure{
			Kind: jobspec.KindNotFound, Where: "job " + j.ID.String(), Detail: fmt.Sprintf("has no task %.80q", task),
			Hint: "ipdc job describe lists its tasks",
		}.Error()
	}
	return slices.DeleteFunc(slices.Clone(j.Attempts), func(a jobspec.Attempt) bool { return a.ID.Task != j.Tasks[i].Index }), nil
}

func (s *Sidecar) logPieces(ctx context.Context, id jobspec.AttemptID, after api.LogPlace, follow bool, yield func(api.LogPiece) error) error {
	from := int64(0)
	if after.Task == id.Task && after.Try == id.Try {
		from = after.Offset
	}
	return joblog.Read(ctx, s.logFile(id), from, follow, func(end int64, h jobspec.LogHeader, data []byte) error {
		return yield(api.LogPiece{End: api.LogPlace{Task: id.Task, Try: id.Try, Offset: end}, Stream: h.Stream, Data: slices.Clone(data)})
	})
}

// logReady says whether an attempt's log can be copied: it is being written, or
// it is complete. A log of before a restart is neither until the container is
// followed anew.
func (s *Sidecar) logReady(a jobspec.Attempt, follow bool) bool {
	file := s.logFile(a.ID)
	if joblog.Live(file) {
		return true
	}
	done := a.State.Final() || reported(a) || a.State == jobspec.AttemptExited || a.State == jobspec.AttemptPackaged
	if follow && !done {
		return false
	}
	_, err := os.Stat(file)
	return err == nil
}
