package docker

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
)

// engineError drops the client's preamble, which says nothing to a user, and
// keeps what callers match on.
func engineError(err error) error {
	if err == nil {
		return nil
	}
	return &engineErr{text: engineText(err), err: err}
}

type engineErr struct {
	text string
	err  error
}

func (e *engineErr) Error() string { return e.text }
func (e *engineErr) Unwrap() error { return e.err }

// Is marks what is no answer as [executor.ErrAway].
func (e *engineErr) Is(target error) bool { return target == executor.ErrAway && away(e.err) }

// away reports whether err is no answer of the engine's, or that of one that is
// about to stop. A call that was given up is its caller's doing.
func away(err error) bool {
	var broken *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return false
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &broken):
		return true
	}
	return client.IsErrConnectionFailed(err) || errdefs.IsUnavailable(err)
}

func engineText(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return executor.ErrAway.Error() + " in time: " + err.Error()
	}
	return strings.TrimPrefix(err.Error(), "Error response from daemon: ")
}

// goneError is for a container that should exist.
func goneError(err error) error {
	if errdefs.IsNotFound(err) {
		return jobspec.KindLost.Errorf("the engine does not have the container any more")
	}
	return engineError(err)
}

// startError tells what the image or the command is to blame for from what the
// engine could not do. The engine answers "invalid" when the runtime could not
// execute the program or lay the mounts over the image.
func startError(err error) error {
	text := engineText(err)
	switch {
	case errdefs.IsNotFound(err):
		return goneError(err)
	case strings.Contains(text, "task ") && strings.HasSuffix(text, ": already exists"):
		// The engine was killed in the middle of a start, and cannot go on.
		return jobspec.KindLost.Errorf("the engine was killed while it started the program: %s", text)
	case errdefs.IsInvalidArgument(err), errdefs.IsPermissionDenied(err), isExecText(text):
		return jobspec.KindImageRun.Errorf("%s", text)
	}
	return engineError(err)
}

// isExecText knows the runtime's words for a program or an image that cannot
// be run, which some engine versions return as internal errors.
func isExecText(text string) bool {
	if !strings.Contains(text, "OCI runtime create failed") && !strings.Contains(text, "failed to create task") {
		return false
	}
	for _, s := range []string{
		"exec format error", "executable file not found", "chdir to cwd",
		"not a directory", "cannot be mounted because it is inside /proc",
	} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// pause waits between two tries: 50 ms at first, doubled up to 3 s, with
// jitter. It returns early with the context's cause.
func pause(ctx context.Context, try int) error {
	d := min(50*time.Millisecond<<min(try, 10), 3*time.Second)
	timer := time.NewTimer(d/2 + rand.N(d/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errors.Join(ctx.Err(), context.Cause(ctx))
	}
}
