package docker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/pace"
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
				if a != "attach:1" || !strict && !yama() { // gVisor lets nobody trace what is no child, either
					worked(t, a, open[a])
				}
			})
		}
	})
}

// yama says that this machine's kernel lets nobody trace what is no child.
func yama() bool {
	b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	return err == nil && strings.TrimSpace(string(b)) != "0"
}

// TestR07EngineOfAFlood compares what a flood, whose log is followed, costs the
// engine behind the guest and, as the control, straight from the program. Behind
// the guest that is an eighth of a processor once the burst is spent. As the
// machine may be busy with others, one of three comparisons is enough.
func TestR07EngineOfAFlood(t *testing.T) {
	testenv.Root(t)
	eng := testenv.NewOwnEngine(t, nil)
	b := newBenchAt(t, eng.Host, "")
	const during = 5 * time.Second
	var paced, direct time.Duration
	for range 3 {
		direct = b.costOfAFlood(t, eng, during, b.task("flood", "1000000000000"))
		paced = b.costOfAFlood(t, eng, during, b.guided(t, "flood", "1000000000000"))
		t.Logf("in %v the engine used %v, and %v straight from the program", during, paced, direct)
		if direct >= during/2 && paced <= direct/3 {
			return
		}
	}
	if direct < during/2 {
		t.Fatalf("control: a flood costs the engine %v in %v: this machine is too busy to tell", direct, during)
	}
	t.Errorf("a flood costs the engine %v in %v, and %v straight from the program: more than a third", paced, during, direct)
}

// costOfAFlood returns how long the engine works in a time that begins when the
// task has said more than a burst.
func (b *bench) costOfAFlood(t *testing.T, eng *testenv.OwnEngine, during time.Duration, task executor.Task) time.Duration {
	t.Helper()
	id := b.start(t, task)
	ctx, cancel := context.WithCancel(bounded(t))
	said := &numbers{until: pace.Burst / pace.Piece * 3 / 2, reached: make(chan struct{})}
	var follower sync.WaitGroup
	follower.Go(func() { _ = b.ex.Logs(ctx, id, said) }) // until it is cancelled
	defer follower.Wait()
	defer cancel()
	select {
	case <-said.reached:
	case <-ctx.Done():
		t.Fatal("the flood does not get beyond its burst")
	}
	before := eng.CPU()
	<-time.After(during)
	used := eng.CPU() - before
	if err := b.ex.Stop(bounded(t), id, 0); err != nil {
		t.Fatal(err)
	}
	return used
}

// numbers takes the probe's flood until a line has some number. Lines may be
// missing.
type numbers struct {
	until   int
	reached chan struct{} // closed by Write; then it takes whatever comes
	rest    []byte
}

func (n *numbers) Stdout() io.Writer { return n }
func (n *numbers) Stderr() io.Writer { return io.Discard }

func (n *numbers) Write(b []byte) (int, error) {
	if n.until == 0 {
		return len(b), nil
	}
	n.rest = append(n.rest, b...)
	end := bytes.LastIndexByte(n.rest, '\n')
	if end < 0 {
		return len(b), nil
	}
	line := n.rest[bytes.LastIndexByte(n.rest[:end], '\n')+1 : end]
	if number, err := strconv.Atoi(string(line)); err == nil && number >= n.until {
		n.until = 0
		close(n.reached)
	}
	n.rest = append(n.rest[:0], n.rest[end+1:]...)
	return len(b), nil
}
