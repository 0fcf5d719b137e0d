// Package command tells a local program of things: it is started with the
// message on its standard input.
//
//	r := command.New(command.Config{Argv: []string{"/usr/local/bin/tell", "--to", "ops"}})
//	err := r.Tell(ctx, delivery.Message{ID: "msg_1", Time: now, Body: body})
//
// What it is started with was written by the node's administrator; nothing of
// it comes from a job but the message.
package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/ipdc/ipdc/delivery"
)

// maxSaid is how much of a failed program's output is told.
const maxSaid = 300

// Config is what a Receiver is made of.
type Config struct {
	Argv    []string      // the program, by an absolute path, and its arguments
	Timeout time.Duration // after which it is killed with all that it started; default 30 s
}

// Receiver is a program.
type Receiver struct{ cfg Config }

var _ delivery.Receiver = (*Receiver)(nil)

// New returns a receiver; it does no I/O.
func New(cfg Config) *Receiver {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	return &Receiver{cfg}
}

// Tell implements [delivery.Receiver]: exit code 0 takes the message. The
// program's environment is PATH, IPDC_MESSAGE_ID and IPDC_MESSAGE_TIME (RFC
// 3339), its directory /.
func (r *Receiver) Tell(ctx context.Context, m delivery.Message) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.cfg.Argv[0], r.cfg.Argv[1:]...)
	said := &tail{}
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = "/", bytes.NewReader(m.Body), said, said
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "IPDC_MESSAGE_ID=" + m.ID, "IPDC_MESSAGE_TIME=" + m.Time.UTC().Format(time.RFC3339)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for what holds its output open
	err := cmd.Run()
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success():
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("run %s: it did not end within %s", r.cfg.Argv[0], r.cfg.Timeout)
	}
	return fmt.Errorf("run %s: %w: %s", r.cfg.Argv[0], err, strings.TrimSpace(said.String()))
}

// tail keeps the end of what is written.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-maxSaid):]
	return len(p), nil
}

func (t *tail) String() string { return strings.ToValidUTF8(string(t.b), "?") }
