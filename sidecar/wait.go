package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/joblog"
	"github.com/ipdc/ipdc/sidecar/volume"
)

// volume makes the attempt's outputs volume, or finds the one it has.
func (r *runner) volume(ctx context.Context) (volume.Volume, error) {
	if r.vol.Outputs != "" {
		return r.vol, nil
	}
	return r.cfg.Volumes.Create(ctx, r.att.ID.String(), r.job.Spec.Resources.Disk, r.cfg.Limits.files(r.job), containerUID(r.id))
}

// wait follows the container to its end: log, progress, deadline, stop. It
// sets how the attempt ended.
func (r *runner) wait(ctx context.Context) (err error) {
	if r.vol, err = r.volume(ctx); err != nil {
		return err
	}
	if err := r.stage(r.keep()); err != nil { // keeps the mounted inputs from being evicted
		return err
	}
	if err := r.network(); err != nil {
		return err
	}
	r.runs(r.this, r.att.Started)
	keep, id := r.keep(), executor.ID(r.att.Container)
	follow, unfollow := context.WithCancelCause(keep)
	defer unfollow(nil)
	logs := r.followLog(follow, id)
	watched := r.followReport(follow)
	checkpoints := r.followCheckpoints(follow)

	exit, why, err := r.await(ctx, id, r.job.Spec.Timeouts.Run.Std()-r.elapsed(r.att.Started, r.att.Uptime))
	if err != nil {
		unfollow(nil)
		<-logs
		<-watched
		r.att.Checkpoint = <-checkpoints
		return err
	}
	r.closeNetwork()
	select {
	case <-logs:
	case <-time.After(10 * time.Second):
		unfollow(errLogStuck)
	}
	<-logs
	unfollow(nil)
	<-watched
	r.att.Checkpoint = <-checkpoints
	r.att.Exited, r.att.ExitCode = r.now(), exit.Code
	if !exit.Finished.IsZero() && !exit.Started.IsZero() {
		r.att.Started, r.att.Exited = exit.Started.UTC(), exit.Finished.UTC()
	}
	if r.att.Exited.Before(r.att.Started) {
		r.att.Exited = r.att.Started // engines note a start after it; a short program has ended by then
	}
	if ran := r.elapsed(r.att.Started, r.att.Uptime); r.att.Exited.Sub(r.att.Started) > ran+time.Minute {
		r.att.Exited = r.att.Started.Add(ran) // the clock was set meanwhile
	}
	return r.conclude(keep, exit, why)
}

// await waits for the container. When the job is cancelled, the time is up or
// an outputs volume without a bound of its own is too full, it stops the container and returns why.
func (r *runner) await(ctx context.Context, id executor.ID, left time.Duration) (executor.Exit, *jobspec.Failure, error) {
	limit := r.job.Spec.Timeouts.Run
	timed, cancel := context.WithTimeoutCause(ctx, max(left, 0), jobspec.Failure{
		Kind:   jobspec.KindTimeout,
		Detail: fmt.Sprintf("ran longer than its limit of %s", limit),
		Hint:   "raise it with --timeout (timeouts.run)",
	}.Error())
	defer cancel()
	bounded, overflow := context.WithCancelCause(timed)
	watched, told := make(chan struct{}), make(chan struct{})
	defer func() { overflow(nil); <-watched; <-told }()
	r.work.Go(func() {
		defer close(told)
		if r.gate != nil {
			select {
			case <-r.gate.over:
				overflow(errEnough)
			case <-bounded.Done():
			}
		}
	})
	r.work.Go(func() {
		defer close(watched)
		if err := r.cfg.Volumes.Watch(bounded, r.att.ID.String()); err != nil {
			overflow(err)
		}
	})
	exit, err := r.cfg.Executor.Wait(bounded, id)
	if err == nil {
		return exit, nil, nil
	}
	if bounded.Err() == nil || r.shuttingDown() {
		return exit, nil, err
	}
	if cause := context.Cause(bounded); errors.Is(cause, errOutrun) {
		return exit, nil, cause // nobody wants what it wrote
	}
	why := jobspec.AsFailure(context.Cause(bounded))
	r.log.Info("stop container", "attempt", r.att.ID, "why", why.Kind)
	keep := r.keep()
	if err := r.cfg.Executor.Stop(keep, id, r.cfg.StopGrace); err != nil {
		return exit, nil, fmt.Errorf("stop container: %w", err)
	}
	exit, err = r.cfg.Executor.Wait(keep, id)
	if errors.Is(context.Cause(bounded), errEnough) {
		return exit, nil, err // it ends as it ends
	}
	return exit, &why, err
}

// errLogStuck ends the copying of a log whose end does not come.
var errLogStuck = errors.New("the engine does not end it")

// logNote is what a reader sees where the engine did not give the rest.
const logNote = "\n... the log is truncated: the container engine does not give the rest ...\n"

// followLog copies the program's output into the job's log until its end. The
// channel is closed when it is done. What becomes of the log changes nothing of
// the result.
func (r *runner) followLog(ctx context.Context, id executor.ID) <-chan struct{} {
	done := make(chan struct{})
	r.work.Go(func() {
		defer close(done)
		w, err := r.openLog()
		if err != nil {
			r.log.Warn("open log", "attempt", r.att.ID, "err", err)
			return
		}
		r.hub.notify(r.id)
		err = r.cfg.Executor.Logs(ctx, id, w)
		cut := err != nil && (ctx.Err() == nil || errors.Is(context.Cause(ctx), errLogStuck))
		if cut {
			_, _ = io.WriteString(w.Stderr(), logNote) // of a log that cannot be written Close tells
		}
		kept, dropped, cerr := w.Close()
		if cut || cerr != nil {
			r.log.Warn("copy log", "attempt", r.att.ID, "err", errors.Join(err, cerr))
		}
		r.att.LogBytes, r.att.LogDropped, r.att.LogTruncated = kept, dropped, cut || cerr != nil
	})
	return done
}

func (r *runner) openLog() (*joblog.Writer, error) {
	if err := os.MkdirAll(r.logDir(r.id), 0o700); err != nil {
		return nil, err
	}
	return joblog.Create(r.logFile(r.att.ID), uint32(r.task.Index), int64(r.cfg.Limits.Log))
}

// reportEvery is how often the guest's report is looked at while it runs.
const reportEvery = 150 * time.Millisecond

// followReport counts the items that the guest reports until ctx ends.
func (r *runner) followReport(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	r.work.Go(func() {
		defer close(done)
		if len(r.task.Items) == 0 {
			return
		}
		tail := newReport(r.vol.Report, r.task)
		tail.out.brief = true
		tick := time.NewTicker(reportEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				tail.read()
				r.progress(ctx, r.job, r.task.Index, tail.out.done, false)
			}
		}
	})
	return done
}
