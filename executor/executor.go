// Package executor is the contract of what runs a task's program behind a
// wall. Adapters: docker, wasm,
// and dummy for tests; lazy and route are made of others. executor/executortest is the
// suite that each of them passes.
//
//	id, err := ex.Create(ctx, task)
//	err = ex.Start(ctx, id)
//	go ex.Logs(ctx, id, sink)
//	exit, err := ex.Wait(ctx, id)
//	err = ex.Remove(ctx, id)
//
// Call order: Create, Start, then Wait, Logs and Stop in any order and from
// several goroutines, then Remove. Different containers may be handled at the
// same time without limit.
//
// Idempotency: every call may be repeated, also by another process after a
// crash. Create with a name that exists adopts that container when it was made
// from an equal Task, and replaces it when not. Start of a started or ended
// container, Stop of an ended one and Remove of a missing one do nothing.
//
// Durability: containers outlive the process that made them; List finds them.
//
// Errors: those a user can mend carry a jobspec kind: E_IMAGE_REF or
// E_IMAGE_GONE when the image is missing, E_IMAGE_RUN when the program cannot
// be started (with the engine's text; from Start, or from Wait where the engine
// finds out only then), lost when a container that should exist does not, or was
// ended by somebody else than a Stop of this process: its engine as it stopped,
// or a person. Any other error means that the engine could not do its work, and
// [ErrAway] that nobody knows whether it did; the caller retries. Each call
// honours its context; adapters add deadlines of their own to calls that should
// be short.
package executor

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// ErrNoEngine marks a refusal that holds until the container engine answers,
// as after a boot: who has time may try again.
var ErrNoEngine = errors.New("this node has no container engine")

// ErrAway marks the error of a call that the engine did not answer: it is
// stopped, restarted, hung, or the answer was lost. It may have done the work.
var ErrAway = errors.New("the container engine does not answer")

// Executor runs containers.
type Executor interface {
	// Info says what the executor is and whether it can be used now. It
	// returns an error only when it cannot; the Name is there also then.
	Info(ctx context.Context) (Info, error)
	// Create makes a container from t, not started, and returns the engine's
	// id of it once it exists.
	Create(ctx context.Context, t Task) (ID, error)
	// Start starts it.
	Start(ctx context.Context, id ID) error
	// Wait blocks until no process of the container is left and returns how
	// it ended. It may be called before or after the end and by several.
	Wait(ctx context.Context, id ID) (Exit, error)
	// Logs copies the program's output from its beginning to sink until the
	// container has ended and all is copied, or ctx ends. Chunks are cut
	// anywhere. The engine may have dropped old output; Logs then starts at
	// what is left.
	Logs(ctx context.Context, id ID, sink LogSink) error
	// Stop asks the program to end with SIGTERM and kills it after grace.
	Stop(ctx context.Context, id ID, grace time.Duration) error
	// Remove removes the container and all that the engine made for it.
	Remove(ctx context.Context, id ID) error
	// List returns all containers whose name begins with prefix, in any state.
	List(ctx context.Context, prefix string) ([]Container, error)
	// Close releases connections; containers go on.
	Close() error
}

// Group is an executor that is made of others.
type Group interface {
	Executor
	// Members returns them, in a fixed order.
	Members() []Executor
}

// ID is the engine's id of a container.
type ID string

// Info describes an executor.
type Info struct {
	Name         string // "docker"
	Version      string // of the engine
	Arch         string // in Go's words: "amd64"
	CgroupDriver string // "cgroupfs", "systemd" or ""
	CgroupV2     bool
	Strict       string // what gives a strict Task a kernel of its own: "runsc"; "" = nothing
}

// Task is all that one container is made from. Adapters take nothing from
// anywhere else: not from the image's config, not from their environment.
type Task struct {
	Name    string          // unique on the engine; begins with the node's prefix
	Image   jobspec.ImageID // by identity, never by tag
	Command []string        // argv; the image's own entrypoint is never used
	// First says that Command is process 1 and fit for that: SIGTERM ends it, and
	// it waits for processes without a parent; else it is a child of one that is, and
	// only the exit code tells of a Command that cannot be started.
	// A SIGTERM before it is set up for that may be lost: the stop's grace then
	// ends in SIGKILL.
	First   bool     `json:",omitempty"`
	Env     []string // NAME=value, the whole environment
	WorkDir string   // absolute, in the container
	UID     int      // never 0
	GID     int      // never 0
	Mounts  []Mount  // the only host paths in the container

	CPU     jobspec.CPU   // hard limit
	Memory  jobspec.Bytes // hard limit; swap included
	Pids    int64         // processes and threads
	NoFile  int64         // open files of one process
	GPU     int           `json:",omitempty"` // graphics processors; where the adapter has fewer, Create is E_POLICY
	Tmp     jobspec.Bytes // tmpfs at /tmp
	Shm     jobspec.Bytes // tmpfs at /dev/shm
	LogSize jobspec.Bytes // output the engine keeps

	CgroupParent string // the node's ceiling; "" = the engine's default
	Strict       bool   `json:",omitempty"` // a kernel of its own; where the adapter has none, Create is E_POLICY
}

// Mount shows a host path in the container. nosuid and nodev always hold.
type Mount struct {
	Source   string // absolute host path
	Target   string // absolute path in the container
	ReadOnly bool
}

// Exit is how a container ended.
type Exit struct {
	Code     int // 128+n after signal n
	OOM      bool
	Started  time.Time
	Finished time.Time
}

// Container is an entry of List.
type Container struct {
	ID      ID
	Name    string
	Running bool
}

// LogSink takes a program's output. Calls are never concurrent.
type LogSink interface {
	Stdout() io.Writer
	Stderr() io.Writer
}
