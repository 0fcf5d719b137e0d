package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
)

// Wait blocks until the container has ended. The engine's stream only says
// when to look: it may be cut at any time, and what counts is the state that
// the engine shows afterwards.
//
// Process 1 of a container is the engine's init program or the task's own one,
// and the kernel ends all others of its pid namespace before it lets process 1
// go. So no process is left when the engine shows the end.
func (e *Executor) Wait(ctx context.Context, id executor.ID) (executor.Exit, error) {
	for failures, rounds := 0, 0; ; rounds++ {
		exit, ended, err := e.look(ctx, id)
		switch {
		case err != nil && ctx.Err() != nil:
			return executor.Exit{}, fmt.Errorf("wait for container %s: %w", id, context.Cause(ctx))
		case err != nil && (ended || failures == e.cfg.limits.tries):
			return exit, fmt.Errorf("wait for container %s: %w", id, err)
		case ended:
			return exit, nil
		case err != nil:
			failures++
			_ = pause(ctx, failures)
			continue
		}
		failures = 0
		if err := e.await(ctx, id); err != nil {
			e.log.Debug("wait again", "container", id, "err", err)
			_ = pause(ctx, min(rounds, 5))
		}
	}
}

// look says whether the container has ended, and how.
func (e *Executor) look(ctx context.Context, id executor.ID) (exit executor.Exit, ended bool, err error) {
	c, err := e.inspect(ctx, string(id))
	switch {
	case err != nil:
		return exit, errdefs.IsNotFound(err), goneError(err)
	case c.State.Status == container.StateCreated:
		return exit, true, errors.New("it was never started")
	case running(c.State.Status):
		return exit, false, nil
	}
	exit, err = e.ended(ctx, id, c)
	return exit, !errors.Is(err, executor.ErrAway), err
}

// await blocks until the engine says that the container has ended, or cannot,
// or it is time to look again, as the stream may be dead.
func (e *Executor) await(ctx context.Context, id executor.ID) error {
	round, cancel := context.WithTimeout(ctx, e.cfg.limits.round)
	defer cancel()
	w := e.api.ContainerWait(round, string(id), client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	// No case for the context: its end cuts the stream, which ends one of these
	// two. Leaving earlier would leak the client's goroutine.
	select {
	case <-w.Result:
		return nil
	case err := <-w.Error:
		if round.Err() != nil && ctx.Err() == nil {
			return nil
		}
		return err
	}
}

func (e *Executor) ended(ctx context.Context, id executor.ID, c container.InspectResponse) (executor.Exit, error) {
	exit := executor.Exit{
		Code:     c.State.ExitCode,
		Started:  engineTime(c.State.StartedAt),
		Finished: engineTime(c.State.FinishedAt),
	}
	if exit.Finished.Before(exit.Started) {
		exit.Started = exit.Finished // the engine noted the start of a very short run late
	}
	if exit.Finished.IsZero() { // then the code is a zero that nobody saw
		return exit, jobspec.KindLost.Errorf("the engine does not know how the program ended")
	}
	// The engine also sets its flag when the kernel killed a child that the
	// program could do without.
	exit.OOM = exit.Code != 0 && c.State.OOMKilled
	if !exit.OOM && (exit.Code == killed || exit.Code == asked) {
		if err := e.explain(ctx, id, &exit); err != nil {
			return exit, err
		}
	}
	return exit, nil
}

// engineTime reads the engine's times. The zero value stands for one that the
// engine does not know.
func engineTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}
