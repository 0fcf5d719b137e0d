package wasm

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
)

// Wait waits for the supervisor's end, as its record is complete then.
func (e *Executor) Wait(ctx context.Context, id executor.ID) (executor.Exit, error) {
	dir, err := e.find(id)
	if err != nil {
		return executor.Exit{}, err
	}
	var p process
	if err := read(dir, processFile, &p); err != nil {
		if _, ferr := e.find(id); ferr == nil && errors.Is(err, fs.ErrNotExist) {
			return executor.Exit{}, errors.New("container " + string(id) + " was never started")
		}
		return executor.Exit{}, gone(id, err)
	}
	f, err := p.open()
	switch {
	case err == nil:
		defer f.Close()
		if err := await(ctx, f); err != nil {
			return executor.Exit{}, err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return executor.Exit{}, err
	}
	e.reap()
	var end ending
	if err := read(dir, exitFile, &end); errors.Is(err, fs.ErrNotExist) {
		return executor.Exit{}, jobspec.KindLost.Errorf("container %s ended without a record: its supervisor was killed, or the machine was restarted", id)
	} else if err != nil {
		return executor.Exit{}, err
	}
	return end.exit()
}

// await blocks until the process behind a pidfd has ended. It takes no thread:
// the runtime's poller waits.
func await(ctx context.Context, pidfd *os.File) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = pidfd.SetReadDeadline(time.Now()) })
	defer stop()
	err = raw.Read(func(fd uintptr) bool { return ended(fd, 0) })
	if ctx.Err() != nil && err != nil {
		return context.Cause(ctx)
	}
	return err
}
