package wasm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/internal/rmtree"
	"github.com/ipdc/ipdc/internal/wasi"
	"github.com/ipdc/ipdc/jobspec"
)

// startTimeout bounds how long a supervisor may take to be at work.
const startTimeout = time.Minute

// sep stands between a container's name and its random part; no name has it.
const sep = "~"

// Create makes the container's directory, or adopts the one of that name.
func (e *Executor) Create(ctx context.Context, t executor.Task) (executor.ID, error) {
	if err := errors.Join(t.Validate(), nested(t.Mounts)); err != nil {
		return "", fmt.Errorf("create container %s: %w", t.Name, err)
	}
	if t.Image != wasi.ID() {
		return "", jobspec.KindImageGone.Errorf("image %s is not the runtime of WASI modules of this version, %s", t.Image, wasi.ID())
	}
	if t.Strict {
		return "", jobspec.KindPolicy.Errorf("the task asks for a kernel of its own, which a WASI module has not")
	}
	unlock, err := lock(filepath.Join(e.cfg.Dir, lockFile))
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", t.Name, err)
	}
	defer unlock()
	list, err := e.List(ctx, t.Name+sep)
	if err != nil {
		return "", err
	}
	for _, c := range list {
		var had executor.Task
		if err := read(e.dir(c.ID), taskFile, &had); err == nil && reflect.DeepEqual(normal(had), normal(t)) {
			return c.ID, nil
		}
		e.log.Info("replace container", "name", t.Name, "id", c.ID)
		if err := e.Remove(ctx, c.ID); err != nil {
			return "", err
		}
	}
	id, err := e.create(t)
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", t.Name, err)
	}
	return id, nil
}

// create makes the directory under a name that nobody looks at, and renames it
// when it is whole.
func (e *Executor) create(t executor.Task) (executor.ID, error) {
	tmp, err := os.MkdirTemp(e.cfg.Dir, ".new-")
	if err != nil {
		return "", err
	}
	id := executor.ID(t.Name + sep + strings.ToLower(rand.Text()[:12]))
	err = errors.Join(os.Mkdir(filepath.Join(tmp, rootDir), 0o700), os.Mkdir(filepath.Join(tmp, logDir), 0o700), write(tmp, taskFile, t))
	if err == nil {
		err = os.Rename(tmp, e.dir(id))
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(tmp))
	}
	return id, durable.SyncDir(e.cfg.Dir)
}

// normal makes tasks comparable that went through JSON.
func normal(t executor.Task) executor.Task {
	if len(t.Env) == 0 {
		t.Env = nil
	}
	if len(t.Mounts) == 0 {
		t.Mounts = nil
	}
	return t
}

// nested refuses a mount inside another one: its mount point would have to be
// made in what a program wrote.
func nested(mounts []executor.Mount) error {
	for _, a := range mounts {
		for _, b := range mounts {
			if strings.HasPrefix(b.Target, a.Target+"/") {
				return fmt.Errorf("mount target %s lies in the mount %s", b.Target, a.Target)
			}
		}
	}
	return nil
}

func (e *Executor) dir(id executor.ID) string { return filepath.Join(e.cfg.Dir, string(id)) }

// find returns the directory of a container that exists.
func (e *Executor) find(id executor.ID) (string, error) {
	dir := e.dir(id)
	name, _, ok := strings.Cut(string(id), sep)
	if !ok || name == "" || filepath.Base(dir) != string(id) {
		return "", jobspec.KindLost.Errorf("there is no container %q", id)
	}
	if _, err := os.Stat(filepath.Join(dir, taskFile)); err != nil {
		return "", gone(id, err)
	}
	return dir, nil
}

// gone turns the absence of a container's files into the kind lost.
func gone(id executor.ID, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return jobspec.KindLost.Errorf("container %s is no more", id)
	}
	return fmt.Errorf("container %s: %w", id, err)
}

// Start starts the container's supervisor and returns when the runner is on
// its way.
func (e *Executor) Start(ctx context.Context, id executor.ID) error {
	dir, err := e.find(id)
	if err != nil {
		return err
	}
	unlock, err := lock(filepath.Join(dir, lockFile))
	if err != nil {
		return gone(id, err)
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(dir, processFile)); !errors.Is(err, fs.ErrNotExist) {
		return err // it was started before, or nobody can tell
	}
	if e.problem != nil {
		return fmt.Errorf("start container %s: %w", id, e.problem)
	}
	if err := e.supervise(ctx, dir); err != nil {
		return fmt.Errorf("start container %s: %w", id, err)
	}
	return nil
}

// supervise starts a supervisor, in a session of its own, and waits for its
// word on the pipe. It is never waited for: it outlives this process.
func (e *Executor) supervise(ctx context.Context, dir string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := e.command(context.WithoutCancel(ctx), "supervise", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.children[cmd.Process.Pid] = true
	e.mu.Unlock()
	_ = cmd.Process.Release()
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Now()) })
	defer stop()
	_ = r.SetReadDeadline(time.Now().Add(startTimeout))
	b, err := io.ReadAll(io.LimitReader(r, 4<<10))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil && string(b) != ready {
		err = fmt.Errorf("supervisor: %q", b)
	}
	return err
}

// command is this program as one of the parts that Main plays.
func (e *Executor) command(ctx context.Context, part string, args ...string) *exec.Cmd {
	argv := append(append(e.cfg.Program[1:len(e.cfg.Program):len(e.cfg.Program)], part), args...)
	cmd := exec.CommandContext(ctx, e.cfg.Program[0], argv...)
	cmd.Dir, cmd.Env = "/", []string{"GOMAXPROCS=1"}
	return cmd
}

// Stop hands the wish to the supervisor, so that the kill comes even when this
// process dies meanwhile, and waits for the end.
func (e *Executor) Stop(ctx context.Context, id executor.ID, grace time.Duration) error {
	dir, err := e.find(id)
	if err != nil {
		return err
	}
	var p process
	if err := read(dir, processFile, &p); errors.Is(err, fs.ErrNotExist) {
		return nil // never started
	} else if err != nil {
		return err
	}
	f, err := p.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := write(dir, stopFile, max(grace, 0)); err != nil {
		return gone(id, err)
	}
	if err := unix.PidfdSendSignal(int(f.Fd()), unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop container %s: %w", id, err)
	}
	return await(ctx, f)
}

// removeGrace is how long a supervisor may take to end a runner that is killed.
const removeGrace = 10 * time.Second

// Remove kills the container and removes its directory. A supervisor that does
// not do it is killed, and its runner dies with it.
func (e *Executor) Remove(ctx context.Context, id executor.ID) error {
	dir, err := e.find(id)
	if errors.Is(err, jobspec.KindLost.Error()) {
		return nil
	}
	if err != nil {
		return err
	}
	unlock, err := lock(filepath.Join(dir, lockFile)) // not while it is being started
	if err != nil {
		return nil
	}
	defer unlock()
	patient, cancel := context.WithTimeout(ctx, removeGrace)
	defer cancel()
	if err := e.Stop(patient, id, 0); err != nil {
		e.kill(ctx, dir)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e.reap()
	var t executor.Task
	if err := read(dir, taskFile, &t); err == nil {
		removeGroups(t)
	}
	if err := rmtree.Remove(dir); err != nil {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	return nil
}

func (e *Executor) kill(ctx context.Context, dir string) {
	var p process
	if read(dir, processFile, &p) != nil {
		return
	}
	if f, err := p.open(); err == nil {
		defer f.Close()
		_ = unix.PidfdSendSignal(int(f.Fd()), unix.SIGKILL, nil, 0)
		_ = await(ctx, f)
	}
}

// List returns the containers whose name begins with prefix.
func (e *Executor) List(_ context.Context, prefix string) ([]executor.Container, error) {
	e.reap()
	entries, err := os.ReadDir(e.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var list []executor.Container
	for _, entry := range entries {
		name, _, ok := strings.Cut(entry.Name(), sep)
		if !ok || !strings.HasPrefix(entry.Name(), prefix) || strings.HasPrefix(name, ".") {
			continue
		}
		var p process
		dir := filepath.Join(e.cfg.Dir, entry.Name())
		running := read(dir, processFile, &p) == nil && p.alive()
		list = append(list, executor.Container{ID: executor.ID(entry.Name()), Name: name, Running: running})
	}
	return list, nil
}

// lock takes a file until unlock is called or the process ends.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
