package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/ipdc/ipdc/wire/guest"
)

// exit is how a command, and in the end the guest, ends.
type exit struct {
	code   int // 0 to 255; 128+n after signal n
	signal int // 0 = none
}

// runner runs one task.
type runner struct {
	root     string
	task     guest.Task
	report   *report
	children *children
}

// run does the whole work and returns the exit code.
func run(root string) int {
	r := &runner{root: root}
	r.report = openReport(r.at(guest.ReportDir))
	defer r.report.close()
	r.children = watchSignals()
	defer r.children.close()
	end := r.runTask()
	r.report.add(endLine(end))
	return end.code
}

// at returns where a path of the container really is.
func (r *runner) at(path string) string { return filepath.Join(r.root, path) }

func (r *runner) runTask() exit {
	b, err := os.ReadFile(r.at(guest.TaskFile))
	if err == nil {
		err = json.Unmarshal(b, &r.task)
	}
	if err == nil {
		err = r.task.Validate()
	}
	if err != nil {
		return r.giveUp(guest.ExitGuest, fmt.Sprintf("read task: %v", err))
	}
	if r.task.Feed == guest.FeedStdin {
		return r.runItems()
	}
	cmd := r.command(nil)
	if r.task.Feed == guest.FeedList {
		cmd.Env = append(cmd.Env,
			guest.EnvTask+"="+r.at(guest.TaskFile), guest.EnvReport+"="+r.at(guest.ReportFile))
	}
	cmd.Stdout = os.Stdout
	return r.start(cmd)
}

// command prepares the task's command. A nil stdin reads as empty.
func (r *runner) command(stdin *os.File) *exec.Cmd {
	cmd := exec.Command(r.task.Command[0], r.task.Command[1:]...)
	cmd.Env = append(os.Environ(),
		guest.EnvInputs+"="+r.at(guest.Inputs), guest.EnvOutputs+"="+r.at(guest.Outputs))
	cmd.Stderr = os.Stderr
	if stdin != nil {
		// A typed nil in the interface would not read as /dev/null.
		cmd.Stdin = stdin
	}
	return cmd
}

// start runs cmd to its end. Its files are real ones, so that neither a
// command that stops reading nor a process it leaves behind can hold us.
func (r *runner) start(cmd *exec.Cmd) exit {
	end, err := r.children.run(cmd)
	if err != nil {
		return r.giveUp(startFailure(r.task.Command[0], err))
	}
	return end
}

// giveUp reports why the command could not even be started.
func (r *runner) giveUp(code int, detail string) exit {
	fmt.Fprintln(os.Stderr, "ipdc: "+detail)
	r.report.add(guest.Line{Type: guest.LineStartError, Detail: detail, ExitCode: code})
	return exit{code: code}
}

// endLine counts what all processes used that were waited for.
func endLine(end exit) guest.Line {
	l := guest.Line{Type: guest.LineEnd, ExitCode: end.code, Signal: end.signal}
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_CHILDREN, &ru) == nil {
		l.CPU = ru.Utime.Nano() + ru.Stime.Nano()
		l.MaxRSS = ru.Maxrss << 10 // Linux counts in KiB
	}
	return l
}
