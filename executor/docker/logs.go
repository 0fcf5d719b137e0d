package docker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
)

// Logs copies the program's output to sink. The engine passes a line on once
// it is complete, or 16 KiB long, or the program has ended.
//
// An engine may end a followed stream early, without an error, when the
// program ends soon after its output. So every entry comes with its time, and
// after the end of the program each stream is read once more from the last
// entry that was seen.
func (e *Executor) Logs(ctx context.Context, id executor.ID, sink executor.LogSink) error {
	c := &logCopy{stdout: stream{w: sink.Stdout()}, stderr: stream{w: sink.Stderr()}}
	if err := e.followLogs(ctx, id, c); err != nil {
		return fmt.Errorf("read logs of container %s: %w", id, err)
	}
	return nil
}

func (e *Executor) followLogs(ctx context.Context, id executor.ID, c *logCopy) error {
	ended := false
	for failures := 0; ; failures++ {
		// What the program's state is now decides what the end of the stream
		// means afterwards.
		began := time.Now()
		box, err := e.inspect(ctx, string(id))
		switch {
		case err != nil:
		case box.State != nil && !running(box.State.Status):
			if err = e.restOfLogs(ctx, id, c); err == nil {
				return nil
			}
		default:
			err = e.follow(ctx, id, c)
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case c.sinkErr != nil:
			return c.sinkErr
		case errors.Is(goneError(err), jobspec.KindLost.Error()) || err != nil && failures >= e.cfg.limits.tries:
			return goneError(err)
		case err != nil:
			e.log.Debug("follow logs again", "container", id, "err", err)
		}
		if c.progress() || err == nil && time.Since(began) > e.cfg.limits.round/2 {
			failures = 0
		}
		// The end of a stream is the end of the program, most likely: look at
		// once, and only then take time.
		if err != nil || ended {
			_ = pause(ctx, failures)
		}
		ended = err == nil
	}
}

// follow copies what comes, for a while: a stream that is silent may be dead.
func (e *Executor) follow(ctx context.Context, id executor.ID, c *logCopy) error {
	round, cancel := context.WithTimeout(ctx, e.cfg.limits.round)
	defer cancel()
	err := e.copyLogs(round, id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: true, Since: c.since()}, c)
	if round.Err() != nil && ctx.Err() == nil && c.sinkErr == nil {
		return nil
	}
	return err
}

// restOfLogs copies what is left of an ended program's output.
func (e *Executor) restOfLogs(ctx context.Context, id executor.ID, c *logCopy) error {
	if c.entries == 0 { // the common case of a short program
		err := e.copyLogs(ctx, id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true}, c)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return goneError(err)
	}
	err := e.copyLogs(ctx, id, client.ContainerLogsOptions{ShowStdout: true, Since: c.stdout.since()}, c)
	if err == nil {
		err = e.copyLogs(ctx, id, client.ContainerLogsOptions{ShowStderr: true, Since: c.stderr.since()}, c)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return goneError(err)
}

func (e *Executor) copyLogs(ctx context.Context, id executor.ID, opts client.ContainerLogsOptions, c *logCopy) error {
	opts.Timestamps = true
	body, err := e.api.ContainerLogs(ctx, string(id), opts)
	if err != nil {
		return err
	}
	defer body.Close()
	return c.copy(body)
}

// logCopy tells the engine's two streams apart and keeps each one's place.
type logCopy struct {
	stdout, stderr stream
	entries, seen  int   // copied in all, and when progress was asked last
	sinkErr        error // of the sink, which no retry mends
}

// stream is one stream of a program. Its lines come in the order of their
// times. A long line comes in several entries of one time. Some engines send
// the last entry again when they rotate their files.
type stream struct {
	w    io.Writer
	last time.Time // of the last entry that was copied
	same int       // entries of that time that were copied
	done bool      // they make a whole line
}

// maxFrame bounds an entry; engines cut lines at 16 KiB.
const maxFrame = 8 << 20

// copy reads frames, a header of 8 bytes with the stream and the size before
// each, until the body ends.
func (c *logCopy) copy(body io.Reader) error {
	r := bufio.NewReaderSize(body, 64<<10)
	passed := map[*stream]int{} // entries of the last time that came by again
	var header [8]byte
	var frame []byte
	for {
		if _, err := io.ReadFull(r, header[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		size := binary.BigEndian.Uint32(header[4:])
		if size > maxFrame {
			return fmt.Errorf("log entry of %d bytes", size)
		}
		frame = append(frame[:0], make([]byte, size)...)
		if _, err := io.ReadFull(r, frame); err != nil {
			return err
		}
		s, err := c.stream(header[0], frame)
		if err != nil {
			return err
		}
		if err := c.entry(s, frame, passed); err != nil {
			return err
		}
	}
}

func (c *logCopy) stream(kind byte, frame []byte) (*stream, error) {
	switch stdcopy.StdType(kind) {
	case stdcopy.Stdout:
		return &c.stdout, nil
	case stdcopy.Stderr:
		return &c.stderr, nil
	}
	return nil, fmt.Errorf("the engine cannot read the log: %s", bytes.TrimSpace(frame))
}

// entry writes one entry unless it was written before.
func (c *logCopy) entry(s *stream, frame []byte, passed map[*stream]int) error {
	stamp, text, ok := bytes.Cut(frame, []byte{' '})
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if !ok || err != nil {
		return fmt.Errorf("log entry without a time: %.40q", frame)
	}
	switch {
	case at.Before(s.last), at.Equal(s.last) && s.done:
		return nil
	case at.Equal(s.last):
		if passed[s]++; passed[s] <= s.same {
			return nil
		}
		s.same++
	default:
		s.last, s.same, passed[s] = at, 1, 1
	}
	s.done = bytes.HasSuffix(text, []byte{'\n'})
	c.entries++
	_, c.sinkErr = s.w.Write(text)
	return c.sinkErr
}

// progress reports whether anything was copied since it was asked last.
func (c *logCopy) progress() bool {
	more := c.entries > c.seen
	c.seen = c.entries
	return more
}

// overlap is how far the entries of two streams may be out of order.
const overlap = time.Second

// since is from where both streams are followed.
func (c *logCopy) since() string {
	last := c.stdout.last
	if c.stderr.last.After(last) {
		last = c.stderr.last
	}
	if last.IsZero() {
		return ""
	}
	return last.Add(-overlap).Format(time.RFC3339Nano)
}

func (s *stream) since() string {
	if s.last.IsZero() {
		return ""
	}
	return s.last.Format(time.RFC3339Nano)
}
