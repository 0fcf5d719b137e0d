package docker_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/wire/guest"
)

// guestBinary is ipdc-guest as it is shipped.
var guestBinary = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "guest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "guest")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, "../../cmd/ipdc-guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build ipdc-guest: %w: %s", err, text)
	}
	return os.ReadFile(out)
})

// guided returns a task that runs the probe as jobs run their programs: below
// ipdc-guest.
func (b *bench) guided(t *testing.T, args ...string) executor.Task {
	t.Helper()
	program, err := guestBinary()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(guest.Task{Command: append([]string{"/probe"}, args...)})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(at("guest"), program, 0o755), os.WriteFile(at("task"), text, 0o644), os.Mkdir(at("report"), 0o777), os.Chmod(at("report"), 0o777),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	task := b.task()
	task.Command, task.First = []string{guest.Binary}, true
	task.Mounts = []executor.Mount{
		{Source: at("guest"), Target: guest.Binary, ReadOnly: true}, {Source: at("task"), Target: guest.TaskFile, ReadOnly: true},
		{Source: at("report"), Target: guest.ReportDir},
	}
	return task
}

// TestProcessOne holds what the guest does as process 1: nothing that a program
// orphans stays, and its streams, which are the engine's, are its own: who
// could write there would get around its pace. In the control the engine's init
// is process 1, where the program has its streams in any case.
func TestProcessOne(t *testing.T) {
	attacks := []string{"write:/proc/1/fd/1", "write:/proc/1/fd/2", "write:/proc/1/task/1/fd/1", "attach:1"}
	isolations(t, func(t *testing.T, strict bool) {
		b := newBench(t)
		task := b.guided(t, append([]string{"try", "zombies:40"}, attacks...)...)
		task.Strict = strict
		job := parse[map[string]outcome](t, b.job(t, task))
		control := b.task(append([]string{"try"}, attacks...)...)
		control.Strict = strict
		open := parse[map[string]outcome](t, b.job(t, control))
		t.Run("R13 zombies", func(t *testing.T) {
			worked(t, "zombies", job["zombies:40"])
			if n := job["zombies:40"].N; n != 0 {
				t.Errorf("%d zombies are left, want none", n)
			}
		})
		for _, a := range attacks {
			t.Run("R07 "+a, func(t *testing.T) {
				failed(t, a, job[a])
				if !strict || a != "attach:1" { // gVisor lets nobody trace what is no child
					worked(t, a, open[a])
				}
			})
		}
	})
}

// TestR07EngineOfAFlood compares what a flood costs the engine behind the guest
// and, as the control, straight from the program.
func TestR07EngineOfAFlood(t *testing.T) {
	testenv.Root(t)
	eng := testenv.NewOwnEngine(t, nil)
	b := newBenchAt(t, eng.Host, "")
	const during = 8 * time.Second
	cost := func(task executor.Task) time.Duration {
		id := b.start(t, task)
		before := eng.CPU()
		<-time.After(during)
		used := eng.CPU() - before
		if err := b.ex.Stop(bounded(t), id, 0); err != nil {
			t.Fatal(err)
		}
		return used
	}
	paced, direct := cost(b.guided(t, "flood", "1000000000000")), cost(b.task("flood", "1000000000000"))
	t.Logf("in %v the engine used %v, and %v straight from the program", during, paced, direct)
	if direct < during/10 {
		t.Fatalf("control: a flood costs the engine %v in %v: this machine is too busy to tell", direct, during)
	}
	if paced > direct/3 {
		t.Errorf("a flood costs the engine %v in %v, and %v straight from the program: more than a third", paced, during, direct)
	}
}
