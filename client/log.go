package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/ipdc/ipdc/wire"
)

// LogOption sets how [Client.Logs] writes.
type LogOption func(*logWriter)

// WithTaskPrefix says whether each line begins with its task: "task 3 | ", in a
// gang "worker-0 | ". Lines of different tasks are then never mixed; one of more
// than 64 KiB is cut. The default is that those of a gang do which is followed.
func WithTaskPrefix(yes bool) LogOption {
	return func(w *logWriter) { w.prefix, w.asked = yes, true }
}

// WithTask leaves the log of one task, by its number or its name.
func WithTask(task string) LogOption { return func(w *logWriter) { w.task = task } }

// Logs copies a job's log to stdout and stderr, either of which may be nil.
// With follow it goes on until the job is final or ctx ends. A stream that was
// cut is resumed as [Client.Events] does; when that does not work it is an
// error, so that half a log is never taken for the whole.
func (c *Client) Logs(ctx context.Context, ref string, follow bool, stdout, stderr io.Writer, opts ...LogOption) error {
	w := &logWriter{out: map[string]io.Writer{wire.LogStdout: stdout, wire.LogStderr: stderr}, lines: map[lineKey][]byte{}}
	for _, o := range opts {
		o(w)
	}
	j, err := c.Job(ctx, ref)
	if err != nil {
		return err
	}
	w.names = gangNames(j)
	if !w.asked {
		w.prefix = len(sideBySide(j, follow, w.task)) > 0
	}
	err = c.logLines(ctx, j, follow, w.write, w.task)
	return errors.Join(err, w.flush())
}

// LogLines is Logs for who wants to know which task said what. An error of
// yield ends it and is returned. Calls of yield come one at a time.
func (c *Client) LogLines(ctx context.Context, ref string, follow bool, yield func(wire.LogLine) error, opts ...LogOption) error {
	var of logWriter
	for _, o := range opts {
		o(&of)
	}
	j, err := c.Job(ctx, ref) // by id from here on: @last may name another job later
	if err != nil {
		return err
	}
	return c.logLines(ctx, j, follow, yield, of.task)
}

// maxBeside is how many logs are followed at once: half of what a member that
// has the job answers at a time. The tasks of a larger gang come in turn.
const maxBeside = 16

// sideBySide are the tasks each of which is followed by a stream of its own: those
// of a gang, which run at the same time. None: one log comes after the other.
func sideBySide(j wire.Job, follow bool, task string) []string {
	names := gangNames(j)
	if !follow || task != "" || len(names) < 2 || len(names) > maxBeside {
		return nil
	}
	return names
}

// logLines reads the log of a job.
func (c *Client) logLines(ctx context.Context, j wire.Job, follow bool, yield func(wire.LogLine) error, task string) error {
	names := sideBySide(j, follow, task)
	if len(names) == 0 {
		return c.taskLog(ctx, j, follow, yield, task)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, name := range names {
		all.Go(func() {
			err := c.taskLog(ctx, j, true, func(l wire.LogLine) error {
				mu.Lock()
				defer mu.Unlock()
				return yield(l)
			}, name)
			if err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx) // the first of them
}

// gangNames are the names of the tasks of a job that is one gang, by their
// numbers.
func gangNames(j wire.Job) (names []string) {
	g := j.Spec.Gang
	if len(j.Spec.Stages) == 1 {
		g = j.Spec.Stages[0].Gang
	}
	if g == nil || len(j.Spec.Stages) > 1 {
		return nil
	}
	for _, t := range g.Tasks() {
		names = append(names, t.Name)
	}
	return names
}

// taskLog reads the log of one task, or of all one after the other.
func (c *Client) taskLog(ctx context.Context, j wire.Job, follow bool, yield func(wire.LogLine) error, task string) error {
	s := &eventStream{c: c, ref: j.ID.String(), what: "logs", query: url.Values{"format": {"events"}}, follow: follow}
	if task != "" {
		s.query.Set("task", task)
	}
	s.take = func(m message) error {
		var l wire.LogLine
		if err := json.Unmarshal(m.data, &l); err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		s.after = m.id
		return yield(l)
	}
	return s.read(ctx)
}

// logWriter writes pieces of a log to where their streams go.
type logWriter struct {
	out    map[string]io.Writer // by stream
	prefix bool
	asked  bool               // prefix is what the caller wants
	task   string             // "" = all
	names  []string           // of a gang's tasks
	lines  map[lineKey][]byte // begun lines, with prefix only
}

type lineKey struct {
	task   int
	stream string
}

// maxLine is where a line with a prefix is cut, in bytes.
const maxLine = 64 << 10

func (w *logWriter) write(l wire.LogLine) error {
	out, b := w.out[l.Stream], append([]byte(l.Text), l.Bytes...)
	if out == nil {
		return nil
	}
	if !w.prefix {
		_, err := out.Write(b)
		return err
	}
	k := lineKey{l.Task, l.Stream}
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		w.lines[k] = append(w.lines[k], line...)
		b = rest
		if !whole && len(w.lines[k]) < maxLine {
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
	who := fmt.Sprintf("task %d", k.task)
	if k.task >= 0 && k.task < len(w.names) {
		who = w.names[k.task]
	}
	b := fmt.Appendf(nil, "%s | %s\n", who, w.lines[k])
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
		return cmp.Or(a.task-b.task, -strings.Compare(a.stream, b.stream)) // stdout first
	})
	for _, k := range keys {
		if err := w.line(k); err != nil {
			return err
		}
	}
	return nil
}
