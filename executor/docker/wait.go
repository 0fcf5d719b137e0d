package docker

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
)

// waitFailures is how many times in a row Wait lets the engine not answer
// before it gives up: about half a minute, enough for an engine's restart.
const waitFailures = 14

// Wait blocks until the container has ended. The engine's stream only says
// when to look: it may be cut at any time, and what counts is the state that
// the engine shows afterwards.
//
// Process 1 of a container is the engine's init program, and the kernel ends
// all others of its pid namespace before it lets process 1 go. So no process
// is left when the engine shows the end.
func (e *Executor) Wait(ctx context.Context, id executor.ID) (executor.Exit, error) {
	for failures, rounds := 0, 0; ; rounds++ {
		c, err := e.inspect(ctx, string(id))
		switch {
		case ctx.Err() != nil:
			return executor.Exit{}, fmt.Errorf("wait for container %s: %w", id, context.Cause(ctx))
		case errdefs.IsNotFound(err) || err != nil && failures == waitFailures:
			return executor.Exit{}, fmt.Errorf("wait for container %s: %w", id, goneError(err))
		case err != nil:
			failures++
			_ = pause(ctx, failures)
			continue
		case c.State.Status == container.StateCreated:
			return executor.Exit{}, fmt.Errorf("wait for container %s: it was never started", id)
		case !running(c.State.Status):
			return e.ended(ctx, id, c)
		}
		failures = 0
		if err := e.await(ctx, id); err != nil {
			e.log.Debug("wait again", "container", id, "err", err)
			_ = pause(ctx, min(rounds, 5))
		}
	}
}

// await blocks until the engine says that the container has ended, or cannot.
func (e *Executor) await(ctx context.Context, id executor.ID) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := e.api.ContainerWait(ctx, string(id), client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	// No case for ctx: its end cuts the stream, which ends one of these two.
	// Leaving earlier would leak the client's goroutine.
	select {
	case <-w.Result:
		return nil
	case err := <-w.Error:
		return err
	}
}

func (e *Executor) ended(ctx context.Context, id executor.ID, c container.InspectResponse) (executor.Exit, error) {
	exit := executor.Exit{
		Code: c.State.ExitCode,
		// The engine also sets the flag when the kernel killed a child that
		// the program could do without.
		OOM:      c.State.OOMKilled && c.State.ExitCode != 0,
		Started:  engineTime(c.State.StartedAt),
		Finished: engineTime(c.State.FinishedAt),
	}
	if len(c.Config.Entrypoint) == 0 {
		return exit, nil
	}
	if text := e.execFailure(ctx, id, c.Config.Entrypoint[0], exit.Code); text != "" {
		return exit, fmt.Errorf("run container %s: %w", id, jobspec.KindImageRun.Errorf("%s", text))
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
