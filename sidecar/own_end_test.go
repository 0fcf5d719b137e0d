package sidecar_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/wire"
)

// unheard is a record whose keepers take an end, and whose answer does not come.
type unheard struct {
	sidecar.Record
	cut   atomic.Bool
	taken chan wire.Ending // the first end
	hold  chan struct{}    // signs of life are given after it; nil = at once
}

func (u *unheard) End(ctx context.Context, x wire.Ending) error {
	err := u.Record.End(ctx, x)
	if err != nil || !u.cut.Load() {
		return err
	}
	select {
	case u.taken <- x:
	default:
	}
	return jobspec.KindNoQuorum.Errorf("no answer came")
}

func (u *unheard) Renew(ctx context.Context, claims []wire.Claim) (wire.Renewed, error) {
	if u.hold != nil {
		<-u.hold
	}
	return u.Record.Renew(ctx, claims)
}

// A job has one end, though its owner did not hear that the keepers have it and
// has come to another one since: it was stopped meanwhile, or its time was over
// when its owner was started again.
func TestOwnEndIsTheOnlyOne(t *testing.T) {
	const good, bad = "DUMMY_STDOUT=x", "DUMMY_EXIT=3"
	for name, test := range map[string]struct {
		script        string
		kill, stopped bool          // since
		later         time.Duration // the next start
		want          jobspec.JobState
	}{
		"succeeded, then stopped":         {good, false, true, 0, jobspec.JobSucceeded},
		"succeeded, then killed":          {good, true, false, 0, jobspec.JobSucceeded},
		"succeeded, then late":            {good, true, false, 24 * time.Hour, jobspec.JobSucceeded},
		"succeeded, killed, then stopped": {good, true, true, 0, jobspec.JobSucceeded},
		"failed, killed, then stopped":    {bad, true, true, 0, jobspec.JobFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			owner, u := f.nodes[0], &unheard{taken: make(chan wire.Ending, 1)}
			up := time.Hour
			owner.uptime = func() time.Duration { return up }
			owner.asks = func(r sidecar.Record) sidecar.Record {
				u.Record = r
				return u
			}
			f.keepRecord(shortLease)
			u.cut.Store(true)
			id := owner.submit(spec(test.script))
			told := <-u.taken
			if test.kill {
				owner.stop()
				up += test.later
				u.hold = make(chan struct{})
				u.cut.Store(false)
				owner.start()
			}
			if test.stopped {
				if _, err := owner.Stop(t.Context(), "t", id); err != nil {
					t.Error(err)
				}
			}
			if u.cut.Store(false); test.kill {
				close(u.hold)
			}
			j := owner.final(id)
			if j.State != test.want || j.Result != told.Result || j.Failure != nil && j.Failure.Kind == jobspec.KindLeaseLost {
				t.Errorf("at its owner the job is %s with %q: %+v; the keepers were told %s with %q", j.State, j.Result, j.Failure, told.State, told.Result)
			}
			if j.State == jobspec.JobSucceeded && (j.Replicas == nil || len(j.Replicas.Holders) != 2) {
				t.Errorf("its result has the holders %+v, want two", j.Replicas)
			}
			if e, err := f.nodes[1].Job(t.Context(), "t", id); err != nil || e.State != test.want || e.Result != j.Result {
				t.Errorf("another member says %s with %q, %v", e.State, e.Result, err)
			}
		})
	}
}
