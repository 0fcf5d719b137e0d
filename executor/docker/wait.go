package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
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
		Code:     c.State.ExitCode,
		Started:  engineTime(c.State.StartedAt),
		Finished: engineTime(c.State.FinishedAt),
	}
	if exit.Finished.Before(exit.Started) {
		exit.Started = exit.Finished // the engine noted the start of a very short run late
	}
	// The engine also sets its flag when the kernel killed a child that the
	// program could do without.
	exit.OOM = exit.Code != 0 && c.State.OOMKilled || exit.Code == killed && e.oomEvent(ctx, id, exit)
	if len(c.Config.Entrypoint) == 0 {
		return exit, nil
	}
	if text := e.execFailure(ctx, id, c.Config.Entrypoint[0], exit.Code); text != "" {
		return exit, fmt.Errorf("run container %s: %w", id, jobspec.KindImageRun.Errorf("%s", text))
	}
	return exit, nil
}

// killed is the exit code after SIGKILL.
const killed = 128 + 9

// oomDelay is how long after the end of a program the engine may still learn
// that it was killed for memory.
const oomDelay = 500 * time.Millisecond

// oomEvent reports whether the engine told of a kill for memory. It learns of
// that and of the program's end by two messages; when the end comes first, the
// container's state lacks the reason for good, and only the event has it. Of a
// kill in the first moments of a program it may not learn at all; then the
// exit code alone is left.
func (e *Executor) oomEvent(ctx context.Context, id executor.ID, exit executor.Exit) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	until := time.Now()
	if late := exit.Finished.Add(oomDelay); late.After(until) {
		until = late
	}
	stream := e.api.Events(ctx, client.EventsListOptions{
		Since:   exit.Started.Add(-time.Minute).Format(time.RFC3339Nano),
		Until:   until.Format(time.RFC3339Nano),
		Filters: make(client.Filters).Add("container", string(id)).Add("event", string(events.ActionOOM)),
	})
	select {
	case <-stream.Messages:
		return true
	case err := <-stream.Err:
		if err != nil && !errors.Is(err, io.EOF) {
			e.log.Warn("ask why a program was killed", "container", id, "err", err)
		}
		return false
	}
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
