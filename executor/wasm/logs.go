package wasm

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/ipdc/ipdc/executor"
)

// logEvery is how often a running program's log is looked at. Its end is
// noticed at once.
const logEvery = 100 * time.Millisecond

// Logs copies the log from what is left of its beginning.
func (e *Executor) Logs(ctx context.Context, id executor.ID, sink executor.LogSink) error {
	dir, err := e.find(id)
	if err != nil {
		return err
	}
	r := &logReader{dir: dir}
	defer r.close()
	write := func(stream byte, text []byte) error {
		w := sink.Stdout()
		if stream == stderr {
			w = sink.Stderr()
		}
		_, err := w.Write(text)
		return err
	}
	for {
		end, err := e.pause(ctx, dir)
		if err != nil {
			return err
		}
		if err := r.drain(write); err != nil {
			if _, lost := e.find(id); lost != nil {
				return lost
			}
			return err
		}
		if end {
			return nil
		}
	}
}

// pause waits a moment, or until the container has ended: what is read after
// that is all.
func (e *Executor) pause(ctx context.Context, dir string) (end bool, err error) {
	var p process
	if err := read(dir, processFile, &p); err != nil {
		return errors.Is(err, fs.ErrNotExist), ignoreMissing(err)
	}
	f, err := p.open()
	if err != nil {
		return errors.Is(err, fs.ErrNotExist), ignoreMissing(err)
	}
	defer f.Close()
	moment, cancel := context.WithTimeout(ctx, logEvery)
	defer cancel()
	if err := await(moment, f); err == nil {
		return true, nil
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return false, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
