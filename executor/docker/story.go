package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
)

// Exit codes after SIGKILL and SIGTERM: a program's own end, or that of an
// engine that stops, is started anew without live-restore, or lost its shim.
const (
	killed = 128 + 9
	asked  = 128 + 15
)

// oomDelay is how long after the end of a program the engine may still learn
// that it was killed for memory.
const oomDelay = 500 * time.Millisecond

// noteDelay is how long after the end of a program the engine may still note it.
const noteDelay = 100 * time.Millisecond

// eventsKept is how many events an engine remembers, and only while it runs.
const eventsKept = 256

// explain finds out who ended a program that was killed. The error is of kind
// lost when it was neither the program, nor the kernel for memory, nor Stop.
//
// An engine that is stopped or started anew ends its containers unless it has
// live-restore, and shows no trace of that in their state. But it remembers
// events: that it was asked to end a container, or did so itself as it came up;
// and one that came up later does not know of an end that it did not see.
func (e *Executor) explain(ctx context.Context, id executor.ID, exit *executor.Exit) error {
	s, err := e.story(ctx, id, *exit)
	if err != nil && !errors.Is(err, executor.ErrAway) {
		e.log.Warn("exit code left unexplained", "container", id, "err", err)
		return nil
	}
	if err != nil {
		return err
	}
	exit.OOM = exit.Code == killed && s.oom
	if _, ours := e.ending.Load(id); ours || exit.OOM {
		return nil
	}
	switch {
	case s.killed:
		return jobspec.KindLost.Errorf("the container was ended from outside (%d): its engine was restarted, or somebody stopped it", exit.Code)
	case s.died && s.code != strconv.Itoa(exit.Code):
		return jobspec.KindLost.Errorf("the engine lost hold of the program (%d, then %s): its shim was killed", exit.Code, s.code)
	case s.died:
		return nil
	}
	restarted, err := e.restarted(ctx, *exit)
	if err == nil && restarted {
		err = jobspec.KindLost.Errorf("the engine was restarted and took the program with it (%d)", exit.Code)
	}
	return err
}

// story is what an engine remembers of a container.
type story struct {
	oom    bool
	killed bool   // the engine was asked, or decided, to end it
	died   bool   // it saw the end
	code   string // as it was first told
}

// story asks for it. The engine learns of a kill for memory and of the program's
// end by two messages; when the end comes first, the container's state lacks the
// reason for good, and only the event has it. Of a kill in the first moments of
// a program it may not learn at all; then the exit code alone is left.
func (e *Executor) story(ctx context.Context, id executor.ID, exit executor.Exit) (s story, err error) {
	err = e.events(ctx, told(exit), make(client.Filters).Add("container", string(id)), func(m events.Message) {
		switch m.Action {
		case events.ActionOOM:
			s.oom = true
		case events.ActionKill:
			s.killed = true
		case events.ActionDie:
			s.died, s.code = true, m.Actor.Attributes["exitCode"]
		}
	})
	return s, err
}

// told is when the engine has noted all that there is of an end. The clock may
// have been set back since.
func told(exit executor.Exit) time.Time {
	delay := noteDelay
	if exit.Code == killed {
		delay = oomDelay
	}
	if late := exit.Finished.Add(delay); late.After(time.Now()) {
		return late
	}
	return time.Now()
}

// restarted reports whether the engine came up after a container's end that it
// does not remember. One that has forgotten, as much has happened since, or
// whose restarts end no container, is believed.
func (e *Executor) restarted(ctx context.Context, exit executor.Exit) (bool, error) {
	si, err := e.system(ctx)
	if err != nil || si.LiveRestoreEnabled {
		return false, err
	}
	n := 0
	err = e.events(ctx, told(exit), nil, func(events.Message) { n++ })
	return n < eventsKept, err
}

// events calls yield for each event up to a time that the engine remembers. What
// it remembers comes at once; then it waits for that time, which may be far ahead
// of a clock that was set back, and is not waited for.
func (e *Executor) events(ctx context.Context, until time.Time, f client.Filters, yield func(events.Message)) error {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.limits.ask)
	defer cancel()
	var silent <-chan time.Time
	if time.Until(until) > oomDelay {
		silent = time.After(e.cfg.limits.ask / 6)
	}
	stream := e.api.Events(ctx, client.EventsListOptions{Since: "1", Until: until.Format(time.RFC3339Nano), Filters: f})
	for {
		select {
		case m := <-stream.Messages:
			yield(m)
		case <-silent:
			return nil
		case err := <-stream.Err:
			if err == nil || errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("ask what happened: %w", engineError(err))
		}
	}
}
