package sidecar

import (
	"context"
	"io"
	"os"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/joblog"
)

// Logs writes the logs of a job's attempts, in the order of tasks and tries.
// With follow it stays with each of them, and waits for further ones, until
// the job is final.
func (s *Sidecar) Logs(ctx context.Context, tenant, ref string, follow bool, w io.Writer) error {
	j, err := s.Job(ctx, tenant, ref)
	if err != nil {
		return err
	}
	shown := map[jobspec.AttemptID]bool{}
	for {
		wake := s.hub.next(j.ID)
		if j, err = s.Job(ctx, tenant, j.ID.String()); err != nil {
			return err
		}
		for _, a := range j.Attempts {
			if shown[a.ID] || !s.logReady(a, follow) {
				continue
			}
			shown[a.ID] = true
			if err := joblog.Copy(ctx, w, follow, s.logFile(a.ID)); err != nil {
				return err
			}
		}
		if !follow || j.State.Final() {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
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
