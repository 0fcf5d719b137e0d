// Package taskrun is the inside of a container: it reads the task, runs its
// command once or for each item, and reports. How a command is run is the
// caller's: as processes (cmd/ipdc-guest) or as a WASI module (executor/wasm).
// Package wire/guest says what stands where.
//
//	code := taskrun.Run(taskrun.Config{Program: program})
//
// Invariants: it never waits for anything but the command itself; an item that
// failed leaves no trace in the outputs; what a command wrote is never
// overwritten.
package taskrun

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ipdc/ipdc/wire/guest"
)

// Exit is how a command, and in the end the task, ends.
type Exit struct {
	Code   int    // 0 to 255; 128+n after signal n
	Signal int    // 0 = none
	Detail string // how it ended in words; "" = as the code says
}

// Program runs the task's command. Calls are never concurrent.
type Program interface {
	// Run runs the command once, to its end. The error, a [StartError], says
	// that it could not be started.
	Run(c Call) (Exit, error)
	// Stopped reports whether a signal asked the task to end, and how it then
	// ends, whatever the command made of it.
	Stopped() (Exit, bool)
	// Usage returns what all calls used so far: processor time in nanoseconds
	// and the most memory in bytes.
	Usage() (cpu, memory int64)
}

// Call is one run of the command.
type Call struct {
	Command []string // argv
	Env     []string // the whole environment
	Stdin   *os.File // nil reads as empty
	Stdout  *os.File //
	CPU     int64    // thousandths of a processor that the task has; 0 = not told
	Stderr  *Tail    // is to see what goes to the guest's stderr; nil for nobody
}

// StartError says why a command could not be started.
type StartError struct {
	Code   int // 125, 126 or 127
	Detail string
}

// Error returns the detail.
func (e *StartError) Error() string { return e.Detail }

// Config says what Run needs.
type Config struct {
	Root    string   // directory that stands for /; "" = /
	Env     []string // of the command, to which the guest's own variables are added
	Program Program
	Pause   func(time.Duration) // default time.Sleep, in pieces that end with the task
}

// runner runs one task.
type runner struct {
	Config
	task   guest.Task
	report *report
	budget int64 // bytes of stderr that the report may still have
}

// Run does the whole work and returns the exit code.
func Run(cfg Config) int {
	r := &runner{Config: cfg}
	r.report = openReport(r.at(guest.ReportDir))
	defer r.report.close()
	r.budget = guest.StderrBudget(r.volume())
	if r.Pause == nil {
		r.Pause = time.Sleep
	}
	end := r.runTask()
	r.report.add(r.endLine(end))
	return end.Code
}

// at returns where a path of the container really is.
func (r *runner) at(path string) string { return filepath.Join(r.Root, path) }

func (r *runner) runTask() Exit {
	b, err := os.ReadFile(r.at(guest.TaskFile))
	if err == nil {
		err = json.Unmarshal(b, &r.task)
	}
	if err == nil {
		err = r.task.Validate()
	}
	if err != nil {
		return r.giveUp(&StartError{guest.ExitGuest, fmt.Sprintf("read task: %v", err)})
	}
	if r.task.Feed == guest.FeedStdin {
		return r.runItems()
	}
	c := r.call(nil, os.Stdout)
	if r.task.Feed == guest.FeedList {
		c.Env = append(c.Env,
			guest.EnvTask+"="+r.at(guest.TaskFile), guest.EnvReport+"="+r.at(guest.ReportFile))
	}
	end, err := r.Program.Run(c)
	if err != nil {
		return r.giveUp(err)
	}
	return end
}

// call prepares a run of the task's command.
func (r *runner) call(stdin, stdout *os.File) Call {
	env := append(r.Env[:len(r.Env):len(r.Env)],
		guest.EnvInputs+"="+r.inputs(), guest.EnvOutputs+"="+r.at(guest.Outputs))
	return Call{Command: r.task.Command, Env: env, Stdin: stdin, Stdout: stdout, CPU: r.task.CPU}
}

// inputs is where the program finds its input: one file, or a directory.
func (r *runner) inputs() string {
	if _, err := os.Stat(r.at(guest.InputsCAR)); err == nil {
		return r.at(guest.InputsCAR)
	}
	return r.at(guest.Inputs)
}

// giveUp reports why the command could not even be started.
func (r *runner) giveUp(err error) Exit {
	e := &StartError{guest.ExitGuest, err.Error()}
	errors.As(err, &e)
	fmt.Fprintln(os.Stderr, "ipdc: "+e.Detail)
	r.report.add(guest.Line{Type: guest.LineStartError, Detail: e.Detail, ExitCode: e.Code})
	return Exit{Code: e.Code}
}

func (r *runner) endLine(end Exit) guest.Line {
	l := guest.Line{Type: guest.LineEnd, ExitCode: end.Code, Signal: end.Signal}
	l.CPU, l.MaxRSS = r.Program.Usage()
	return l
}
