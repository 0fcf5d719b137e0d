package sidecar_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/wire"
)

// A gang whose member goes begins again at the checkpoint that the owner has,
// also when the owner was killed in between.
func TestGangResumes(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.lease(lossLease)
	f.change(0, func(b *bench) { b.cap.CPU = 100 }) // too little for a task: its checkpoints come from members
	owner := f.nodes[0]
	f.stage(2, func(name string, try int) []string {
		if try == 1 {
			return []string{"DUMMY_WRITE=/outputs/checkpoints/step-1/weights:of " + name, "DUMMY_WRITE2=/outputs/checkpoints/.half/weights:no", "DUMMY_SLEEP=1h"}
		}
		return []string{"DUMMY_COPY=/checkpoint:/outputs/resumed"}
	})
	id := owner.submit(gangOf(jobspec.Gang{Roles: map[string]int{"worker": 2}, Restart: jobspec.GangRestartAll}))
	var cp *jobspec.Checkpoint
	f.wait("the owner has a checkpoint", func() bool {
		j, err := owner.Job(t.Context(), "t", id)
		cp = j.Checkpoint
		return err == nil && cp != nil
	})
	if cp.Name != "step-1" || cp.Generation != 1 || !strings.HasPrefix(cp.Task, "worker-") || cp.Bytes == 0 {
		t.Errorf("checkpoint %+v, want step-1 of a worker", cp)
	}
	owner.restart()
	pins, err := owner.ipfs.Pins(t.Context(), "job/"+id+"/checkpoint/")
	if err != nil || len(pins) != 1 || pins[0].Root != cp.CID {
		t.Errorf("the owner pins %v, %v, want %s", pins, err, cp.CID)
	}
	j, err := owner.Job(t.Context(), "t", id)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range f.nodes {
		if i > 0 && b.key.ID().String() == j.Attempts[0].Node {
			b.stop()
			f.unheard(i)
		}
	}
	j = owner.final(id)
	if j.State != jobspec.JobSucceeded || j.Gang.Starts != 2 {
		t.Fatalf("job is %s with %+v: %+v", j.State, j.Gang, j.Failure)
	}
	got := owner.outputs(j.Result)
	for _, name := range []string{"worker-0", "worker-1"} {
		if w := got[name+"/resumed/weights"]; w != "of "+j.Checkpoint.Task {
			t.Errorf("%s resumed with %q of %v, want that of %s", name, w, got, j.Checkpoint.Task)
		}
	}
}

// A checkpoint is a finished directory in the program's own outputs, and
// nothing that a link of the program leads to.
func TestCheckpointsAreFoundInOutputsOnly(t *testing.T) {
	outside := t.TempDir()
	for _, dir := range []string{"secret", "checkpoints/secret"} {
		if err := os.MkdirAll(filepath.Join(outside, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, make := range map[string]func(outputs string) error{
		"nothing":                func(string) error { return nil },
		"checkpoints is a link":  func(o string) error { return os.Symlink(filepath.Join(outside, "checkpoints"), o+"/checkpoints") },
		"a file":                 func(o string) error { return os.WriteFile(o+"/checkpoints", nil, 0o644) },
		"a checkpoint is a link": func(o string) error { return linkIn(o, filepath.Join(outside, "secret")) },
		"one that is not ready":  func(o string) error { return os.MkdirAll(o+"/checkpoints/.tmp", 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			outputs := t.TempDir()
			if err := make(outputs); err != nil {
				t.Fatal(err)
			}
			if got := sidecar.NewestCheckpoint(outputs); got != "" {
				t.Errorf("found %q, want none", got)
			}
		})
	}
	outputs := t.TempDir()
	for i, name := range []string{"b", "c", "a"} {
		dir := filepath.Join(outputs, "checkpoints", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(int64(1000+i), 0)
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if got := sidecar.NewestCheckpoint(outputs); got != "a" {
		t.Errorf("found %q, want a, which was made last", got)
	}
}

func linkIn(outputs, to string) error {
	if err := os.Mkdir(outputs+"/checkpoints", 0o755); err != nil {
		return err
	}
	return os.Symlink(to, outputs+"/checkpoints/secret")
}

// The owner dies while it brings a checkpoint to itself: its record and its pins
// hold none or all of it, and the next generation sees a whole one.
func TestOwnerDiesKeepingACheckpoint(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.lease(5 * time.Second)
	owner := f.nodes[0]
	keeping, dead := make(chan struct{}, 1), make(chan struct{})
	f.change(0, func(b *bench) {
		b.cap.CPU = 100                               // too little for a task: its checkpoints come from members
		b.room = func(context.Context, int64) error { // asked before the checkpoint is fetched
			select {
			case keeping <- struct{}{}:
			default:
			}
			<-dead
			return errors.New("dead")
		}
	})
	f.stage(1, func(name string, try int) []string {
		if try == 1 {
			return []string{"DUMMY_WRITE=/outputs/checkpoints/step-1/weights:of " + name, "DUMMY_SLEEP=1h"}
		}
		return []string{"DUMMY_COPY=/checkpoint:/outputs/resumed"}
	})
	id := owner.submit(gangOf(jobspec.Gang{Roles: map[string]int{"worker": 1}, Restart: jobspec.GangRestartAll}))
	select {
	case <-keeping:
	case <-time.After(2 * time.Minute):
		t.Fatal("no checkpoint is kept")
	}
	close(dead)
	f.dies(0)
	pins, err := owner.ipfs.Pins(t.Context(), "job/"+id+"/checkpoint/")
	if err != nil || len(pins) > 0 {
		t.Errorf("what was not fetched is pinned: %v, %v", pins, err)
	}
	owner.room = nil
	owner.start()
	var j wire.Job
	f.wait("the owner has it after all", func() bool {
		j, err = owner.Job(t.Context(), "t", id)
		return err == nil && j.Checkpoint != nil
	})
	for i, b := range f.nodes {
		if b.key.ID().String() == j.Attempts[0].Node {
			b.stop()
			f.unheard(i)
		}
	}
	j = owner.final(id)
	if j.State != jobspec.JobSucceeded || j.Gang.Starts != 2 {
		t.Fatalf("job is %s with %+v: %+v", j.State, j.Gang, j.Failure)
	}
	if got := owner.outputs(j.Result)["worker-0/resumed/weights"]; got != "of worker-0" {
		t.Errorf("resumed with %q, want all of the checkpoint", got)
	}
}
