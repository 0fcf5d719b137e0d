package wasm

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/taskrun"
	"github.com/ipdc/ipdc/wire/guest"
)

// run is the runner: it walls itself in and runs the task's command.
func run(dir string) int {
	words := os.NewFile(3, "words")
	syscall.CloseOnExec(3)
	say := func(w word) {
		b, _ := json.Marshal(w) // of strings and a bool
		_, _ = words.Write(append(b, '\n'))
	}
	var t executor.Task
	err := read(dir, taskFile, &t)
	if err == nil {
		err = enter(t, dir)
	}
	if err != nil {
		say(word{Internal: err.Error()})
		return guest.ExitGuest
	}
	m := &module{task: t, over: func() {
		say(word{OOM: true})
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until it arrives
	}}
	if t.Command[0] == guest.Binary {
		return taskrun.Run(taskrun.Config{Env: t.Env, Program: m})
	}
	end, err := m.Run(taskrun.Call{Command: t.Command, Env: t.Env, Stdout: os.Stdout})
	var start *taskrun.StartError
	switch {
	case errors.As(err, &start):
		say(word{Start: start.Detail})
		return start.Code
	case err != nil:
		say(word{Internal: err.Error()})
		return guest.ExitGuest
	}
	return end.Code
}

// enter joins the task's control groups, which the supervisor made, and leaves
// everything else.
func enter(t executor.Task, dir string) error {
	if err := joinGroups(t); err != nil {
		if !unprivileged(err) {
			return err
		}
		if err := limitWithoutGroup(t); err != nil {
			return fmt.Errorf("set limits: %w", err)
		}
	}
	// The kernel takes a module first when the machine itself has no memory.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0)
	return confine(t, dir)
}
