package sidecar

import (
	"context"
	"errors"
	"io"
	"io/fs"
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
			if shown[a.ID] || !s.logBegun(a) {
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

// logBegun says whether an attempt's log is there to be followed.
func (s *Sidecar) logBegun(a jobspec.Attempt) bool {
	_, err := os.Stat(s.logFile(a.ID))
	return !errors.Is(err, fs.ErrNotExist)
}
