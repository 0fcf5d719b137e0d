package wasm

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/executor"
)

// ready is the supervisor's word that the runner is on its way.
const ready = "ready"

// word is a line that the runner sends on its descriptor 3. The module cannot
// reach that.
type word struct {
	OOM      bool   `json:"oom,omitempty"`      // the module asked for more memory than its limit
	Start    string `json:"start,omitempty"`    // the command cannot be started
	Internal string `json:"internal,omitempty"` // the sandbox cannot be built
}

// Main is what the processes of this package do; args are what follows
// Config.Program. It returns the exit code.
func Main(args []string) int {
	if len(args) != 2 {
		fmt.Fprintln(os.Stderr, "this command is for ipdc's own use")
		return 2
	}
	// Limits and walls that threads inherit are set on this one, and the
	// runner dies with the thread that made it.
	runtime.LockOSThread()
	// The module's user has to read what is made for it; a node has umask 077.
	syscall.Umask(0o022)
	switch part, dir := args[0], args[1]; part {
	case "supervise":
		return supervise(dir)
	case "run":
		return run(dir)
	case "probe":
		if err := confine(executor.Task{UID: os.Getuid(), GID: os.Getgid(), Tmp: 4096, Shm: 4096, NoFile: 64, WorkDir: "/"}, dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	return 2
}

// supervise runs a container to its end.
func supervise(dir string) int {
	said := os.NewFile(3, "ready")
	s := &supervisor{dir: dir, stops: make(chan os.Signal, 4)}
	signal.Notify(s.stops, syscall.SIGTERM)
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT)
	if err := s.begin(); err != nil {
		fmt.Fprint(said, err)
		return 1
	}
	fmt.Fprint(said, ready)
	said.Close()
	if err := write(dir, exitFile, s.attend()); err != nil {
		return 1 // nobody is left to tell; Wait says lost
	}
	removeGroups(s.task)
	return 0
}

// supervisor is the state of one container's supervisor.
type supervisor struct {
	dir     string
	task    executor.Task
	grouped bool
	stops   chan os.Signal
	cmd     *exec.Cmd
	log     *logWriter
	started time.Time

	out, err, words *os.File // read ends of the runner's pipes
}

// begin starts the runner. process.json comes first: a container that may have
// run is never started again.
func (s *supervisor) begin() (err error) {
	if err := read(s.dir, taskFile, &s.task); err != nil {
		return err
	}
	me, err := self()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(s.dir, processFile)); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("was started before (%v)", err)
	}
	if err := write(s.dir, processFile, me); err != nil {
		return err
	}
	if s.grouped, err = makeGroups(s.task); err == nil {
		err = s.spawn()
	}
	if err != nil {
		removeGroups(s.task)
		_ = os.Remove(filepath.Join(s.dir, processFile)) // it may be tried again
	}
	return err
}

func (s *supervisor) spawn() error {
	// The runner inherits it: nothing that it executes gains a right.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no-new-privileges: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	argv := append(os.Args[1:len(os.Args)-2:len(os.Args)-2], "run", s.dir)
	s.cmd = exec.Command(self, argv...)
	s.cmd.Dir, s.cmd.Env = "/", []string{"GOMAXPROCS=1"}
	s.cmd.SysProcAttr = namespaces()
	s.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	var theirs [3]*os.File
	for i, ours := range []**os.File{&s.out, &s.err, &s.words} {
		if *ours, theirs[i], err = os.Pipe(); err != nil {
			return err
		}
	}
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.ExtraFiles = theirs[0], theirs[1], theirs[2:]
	s.started = time.Now()
	err = s.cmd.Start()
	for _, f := range theirs {
		f.Close()
	}
	return err
}

// attend keeps the log and waits for the runner's end.
func (s *supervisor) attend() ending {
	s.log = newLogWriter(s.dir, s.task.LogSize, s.task.CPU)
	var said word
	var copies sync.WaitGroup
	done := make(chan struct{})
	copies.Go(func() { s.log.copy(stdout, s.out, done) })
	copies.Go(func() { s.log.copy(stderr, s.err, done) })
	copies.Go(func() { said = listen(s.words) })
	go func() { s.stopWhenAsked(done) }() // ends with done, which is closed below
	_ = s.cmd.Wait()                      // the state tells it all
	close(done)
	copies.Wait() // the runner was the only writer
	e := ending{Started: s.started.UTC(), Finished: time.Now().UTC(), Start: said.Start, Internal: said.Internal}
	ws := s.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if e.Code = ws.ExitStatus(); ws.Signaled() {
		e.Code = 128 + int(ws.Signal())
	}
	e.OOM = ws.Signaled() && ws.Signal() == syscall.SIGKILL && (said.OOM || s.grouped && killedForMemory(s.task))
	if err := s.log.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return e
}

// listen returns what the runner said, all of it together.
func listen(r io.Reader) (all word) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		_ = json.Unmarshal(lines.Bytes(), &all) // the runner is ours; what it did not finish is nothing
	}
	return all
}

// stopWhenAsked sends SIGTERM on ours, and SIGKILL when the grace is over. A
// later wish may shorten the grace.
func (s *supervisor) stopWhenAsked(done <-chan struct{}) {
	var late <-chan time.Time
	for {
		select {
		case <-s.stops:
			var grace time.Duration
			_ = read(s.dir, stopFile, &grace) // a SIGTERM from elsewhere has no grace
			_ = s.cmd.Process.Signal(syscall.SIGTERM)
			late = time.After(grace)
		case <-late:
			_ = s.cmd.Process.Kill()
		case <-done:
			return
		}
	}
}
