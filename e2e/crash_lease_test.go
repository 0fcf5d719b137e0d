package e2e

import (
	"context"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// held is a job that two members make one after the other, since the first one
// has lost its lease. Each attempt waits to be let go.
type held struct {
	owner, worker *crasher
	job           wire.Job
	input, first  string // first: the worker's container
}

// hold submits the job, and waits for the worker's attempt.
func hold(t *testing.T) *held {
	t.Helper()
	all := newCrew(t, 2)
	h := &held{owner: all[0], worker: all[1]}
	h.worker.wants(quick(t))
	h.owner.wants(quick(t))
	h.worker.calms()
	h.worker.calm = append(h.worker.calm, `pins of a job that is not recorded: ["partial"]`, // a task that was stopped
		`pins of a job that is not recorded: ["result"]`, // one that has ended
		"pins of a user") // the input
	h.owner.calm = append(h.owner.calm, "pins of a user", `pins of a job that is not recorded: ["result"]`) // it may work for the member, too
	h.input = h.worker.ok("add", "-q", logsDir(t))                                                          // what is at the member alone draws the job there
	j, err := h.owner.client().Submit(t.Context(), crashSpec(t, h.input, "task",
		untilLetGo+copying), "held")
	if err != nil {
		t.Fatal(err)
	}
	h.job = j
	t.Cleanup(func() {
		if t.Failed() { // else it has ended
			_, _ = h.owner.client().Stop(context.Background(), j.ID.String())
			h.owner.noContainer("a job that goes on")
		}
	})
	h.first = h.worker.running()
	h.owner.ok("pin", "add", h.input) // for its own attempt, as nobody gives it when the member is away
	return h
}

// runs says whether a container's program runs.
func runs(container string) bool {
	out, err := exec.Command("docker", "inspect", "-f", "{{.State.Running}}", strings.Fields(container)[0]).Output()
	return err == nil && strings.TrimSpace(string(out)) == "true"
}

// isOwners waits for the owner's own attempt.
func (h *held) isOwners() {
	h.owner.t.Helper()
	h.owner.await("another attempt, at the owner", time.Minute, func() bool { return len(h.owner.containers()) == 1 })
}

// ends lets the owner's attempt end, which was at work when the other was
// refused, and holds that the job has its result alone.
func (h *held) ends(t *testing.T) {
	t.Helper()
	c := h.owner.client()
	if j, err := c.Job(t.Context(), h.job.ID.String()); err != nil || j.State.Final() || j.Result.Defined() {
		t.Errorf("before the owner's attempt has ended the job is %s with %s, %v", j.State, j.Result, err)
	}
	now := h.owner.containers()
	if len(now) != 1 {
		t.Fatalf("the owner has the containers %q, want one", now)
	}
	want := h.worker.wants(crashSpec(t, h.input, "task", copying))
	h.owner.release(now[0])
	j := h.owner.ends(c, h.job.ID.String(), want)
	states := map[string]jobspec.AttemptState{}
	for _, a := range j.Attempts {
		states[a.Node] = a.State
	}
	if len(j.Attempts) != 2 || states[h.worker.peerID()] != jobspec.AttemptAbandoned || states[h.owner.peerID()] == jobspec.AttemptAbandoned {
		t.Errorf("attempts = %+v, want the member's abandoned and the owner's not", j.Attempts)
	}
	h.worker.settles()
}

// F06: a member sleeps for longer than its lease, then wakes up: its attempt is
// given to another one, its container is ended, what it made is refused, and the
// job has one result.
func TestF06StoppedPastItsLease(t *testing.T) {
	for name, ended := range map[string]bool{"its program runs on": false, "its program ends meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			h := hold(t)
			if err := h.worker.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			h.isOwners()
			if now := h.worker.containers(); len(now) != 1 || now[0] != h.first {
				t.Errorf("control: the member that sleeps has %q, want %q", now, h.first)
			}
			if ended {
				h.worker.release(h.first)
				h.worker.await("its program to end", time.Minute, func() bool { return !runs(h.first) })
			} else if !runs(h.first) {
				t.Error("control: the program of the member that sleeps has ended")
			}
			if err := h.worker.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			h.worker.noContainer("the attempt that was lost")
			h.ends(t)
		})
	}
	t.Run("its report is late", func(t *testing.T) {
		h := hold(t)
		h.worker.arm("reported.before-effect")
		h.worker.release(h.first)
		if !h.worker.dies(patience) {
			t.Fatal("the member did not come to its report")
		}
		h.isOwners()
		h.worker.start()
		h.worker.await("its report to be refused", time.Minute, func() bool {
			for line := range strings.Lines(h.worker.log.String()) {
				if strings.Contains(line, "the report is refused") && strings.Contains(line, string(jobspec.KindLeaseLost)) {
					return true
				}
			}
			return false
		})
		h.ends(t)
	})
}
