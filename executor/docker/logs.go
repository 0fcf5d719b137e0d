package docker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/ipdc/ipdc/executor"
)

// Logs copies the program's output to sink.
func (e *Executor) Logs(ctx context.Context, id executor.ID, sink executor.LogSink) error {
	opts := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: true}
	err := e.copyLogs(ctx, id, opts, sink.Stdout(), sink.Stderr())
	if err != nil {
		return fmt.Errorf("read logs of container %s: %w", id, err)
	}
	return nil
}

func (e *Executor) copyLogs(ctx context.Context, id executor.ID, opts client.ContainerLogsOptions, stdout, stderr io.Writer) error {
	stream, err := e.api.ContainerLogs(ctx, string(id), opts)
	if err != nil {
		return goneError(err)
	}
	defer stream.Close()
	_, err = stdcopy.StdCopy(stdout, stderr, stream)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// execFailure returns the text of the init program when it could not execute
// argv0, else "". Init is what the engine starts; it tells of a program that
// cannot be executed by one line on stderr and by its own exit code. A program
// that imitates it only denies itself a better verdict.
func (e *Executor) execFailure(ctx context.Context, id executor.ID, argv0 string, code int) string {
	if code != 1 && code != 126 && code != 127 {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	opts := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Tail: "2"}
	if err := e.copyLogs(ctx, id, opts, &stdout, &stderr); err != nil {
		e.log.Warn("exit code left unexplained", "container", id, "err", err)
		return ""
	}
	line := strings.TrimSpace(stderr.String())
	prefix, text, ok := strings.Cut(line, "] ")
	if ok && stdout.Len() == 0 && !strings.Contains(line, "\n") &&
		strings.HasPrefix(prefix, "[FATAL tini ") && strings.HasPrefix(text, "exec "+argv0+" failed: ") {
		return text
	}
	return ""
}
