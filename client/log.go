package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// LogOption sets how [Client.Logs] writes.
type LogOption func(*logWriter)

// WithTaskPrefix begins each line with its task: "task 3 | ". Lines of
// different tasks are then never mixed; one of more than 64 KiB is cut.
func WithTaskPrefix() LogOption { return func(w *logWriter) { w.prefix = true } }

// Logs copies a job's log to stdout and stderr, either of which may be nil.
// With follow it goes on until the job is final or ctx ends. A stream that was
// cut is an error, so that half a log is never taken for the whole.
func (c *Client) Logs(ctx context.Context, ref string, follow bool, stdout, stderr io.Writer, opts ...LogOption) error {
	w := &logWriter{out: map[jobspec.LogStream]io.Writer{jobspec.LogStdout: stdout, jobspec.LogStderr: stderr}}
	for _, o := range opts {
		o(w)
	}
	r := request{
		method: http.MethodGet, path: []string{"v1", "jobs", ref, "logs"},
		query:  url.Values{"format": {"frames"}},
		header: http.Header{"Accept": {wire.TypeFrames}},
	}
	if follow {
		r.query.Set("follow", "true")
	}
	resp, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	err = w.copy(resp.Body)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// logWriter writes frames to where their streams go.
type logWriter struct {
	out    map[jobspec.LogStream]io.Writer
	prefix bool
	lines  map[lineKey][]byte // begun lines, with prefix only
}

type lineKey struct {
	task   uint32
	stream jobspec.LogStream
}

func (w *logWriter) copy(r io.Reader) error {
	w.lines = map[lineKey][]byte{}
	buf := make([]byte, jobspec.MaxLogChunk)
	for {
		h, err := jobspec.ReadLogHeader(r)
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return w.flush()
		}
		if err == nil {
			_, err = io.ReadFull(r, buf[:h.Len])
		}
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return errors.Join(w.flush(), fmt.Errorf("read log: %w", err))
		}
		if err := w.write(h, buf[:h.Len]); err != nil {
			return fmt.Errorf("write log: %w", err)
		}
	}
}

func (w *logWriter) write(h jobspec.LogHeader, b []byte) error {
	out := w.out[h.Stream]
	if out == nil {
		return nil
	}
	if !w.prefix {
		_, err := out.Write(b)
		return err
	}
	k := lineKey{h.Task, h.Stream}
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		w.lines[k] = append(w.lines[k], line...)
		b = rest
		if !whole && len(w.lines[k]) < jobspec.MaxLogChunk {
			return nil
		}
		if err := w.line(k); err != nil {
			return err
		}
	}
	return nil
}

// line writes the line begun for k.
func (w *logWriter) line(k lineKey) error {
	b := fmt.Appendf(nil, "task %d | %s\n", k.task, w.lines[k])
	w.lines[k] = w.lines[k][:0]
	_, err := w.out[k.stream].Write(b)
	return err
}

// flush writes the lines that ended without a newline, by task and stream.
func (w *logWriter) flush() error {
	var keys []lineKey
	for k, l := range w.lines {
		if len(l) > 0 {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b lineKey) int {
		return (int(a.task)-int(b.task))*4 + int(a.stream) - int(b.stream)
	})
	for _, k := range keys {
		if err := w.line(k); err != nil {
			return err
		}
	}
	return nil
}
