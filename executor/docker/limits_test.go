package docker_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/ipdc/ipdc/jobspec"
)

func TestForkBomb(t *testing.T) {
	b := newBench(t)
	task := b.task("try", "fork:300")
	task.Pids = 48
	job := parse[map[string]outcome](t, b.job(t, task))["fork:300"]
	open := b.tryOpen(t, nil, "fork:300")["fork:300"]
	t.Run("R01 fork bomb", func(t *testing.T) {
		failed(t, "fork", job, "resource temporarily unavailable")
		if job.N < 8 || job.N >= task.Pids {
			t.Errorf("a job made %d processes, want some and less than %d", job.N, task.Pids)
		}
		worked(t, "fork", open)
	})
}

func TestMemoryFileSystems(t *testing.T) {
	b := newBench(t)
	const big = 16 << 20
	attacks := []string{
		fmt.Sprintf("fill:/tmp/x,%d", big), fmt.Sprintf("fill:/dev/shm/x,%d", big),
		"inodes:/tmp,20000", "inodes:/dev/shm,20000",
	}
	job := b.try(t, attacks...)
	open := b.tryOpen(t, func(c *container.Config, h *container.HostConfig) { h.Tmpfs = map[string]string{"/tmp": ""} }, attacks...)
	limits := []int64{int64(4 * jobspec.MiB), int64(2 * jobspec.MiB), 1024 + 1024, 512 + 1024}
	for i, a := range attacks {
		id := "R03 "
		if strings.HasPrefix(a, "inodes") {
			id = "R06 "
		}
		t.Run(id+a, func(t *testing.T) {
			failed(t, a, job[a], "no space left on device")
			if n := job[a].N; n == 0 || n > limits[i] {
				t.Errorf("%s went on to %d, want at most %d", a, n, limits[i])
			}
			worked(t, a, open[a])
		})
	}
}

// TestMemoryOfTmp shows that what lies in /tmp counts as the job's memory.
func TestMemoryOfTmp(t *testing.T) {
	b := newBench(t)
	for memory, want := range map[jobspec.Bytes]int{32 * jobspec.MiB: 137, 256 * jobspec.MiB: 0} {
		task := b.task("try", "sleep:500ms", "fill:/tmp/x,67108864") // the engine begins to watch
		task.Memory, task.Tmp = memory, 128*jobspec.MiB
		exit, err := b.ex.Wait(bounded(t), b.start(t, task))
		if err != nil || exit.Code != want || exit.OOM != (want != 0) {
			t.Errorf("R03: 64 MiB in /tmp below a limit of %d MiB = %+v, %v, want code %d", memory/jobspec.MiB, exit, err, want)
		}
	}
}

func TestProcessTable(t *testing.T) {
	b := newBench(t)
	const a = "zombies:40"
	job, open := b.try(t, a)[a], b.tryOpen(t, nil, a)[a]
	t.Run("R13 zombies", func(t *testing.T) {
		worked(t, a, job)
		if job.N != 0 {
			t.Errorf("%d zombies are left in a job, want none", job.N)
		}
		if open.N != 40 {
			t.Errorf("control: %d zombies are left without init, want 40", open.N)
		}
	})
}

func TestCoreDump(t *testing.T) {
	if pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern"); err != nil || strings.HasPrefix(string(pattern), "|") || strings.HasPrefix(string(pattern), "/") {
		t.Skipf("needs a kernel that dumps into the working directory; core_pattern is %q, %v", pattern, err)
	}
	b := newBench(t)
	const a = "core:/tmp"
	job := b.try(t, a)[a]
	open := b.tryOpen(t, func(c *container.Config, h *container.HostConfig) {
		h.Tmpfs = map[string]string{"/tmp": ""}
		h.Ulimits = []*container.Ulimit{{Name: "core", Soft: 64 << 20, Hard: 64 << 20}}
	}, a)[a]
	t.Run("R15 core dump", func(t *testing.T) {
		if job.N != 0 || !strings.Contains(job.Text, "aborted") {
			t.Errorf("a job's child = %+v, want an abort without a dump", job)
		}
		if open.N != 1 {
			t.Errorf("control: %+v, want a dump", open)
		}
	})
}

// TestR10Sigterm is R10 seen by the clock: Stop takes the grace and little more.
func TestR10Sigterm(t *testing.T) {
	b := newBench(t)
	task := b.task("script")
	task.Env = append(task.Env, "DUMMY_SLEEP=1h", "DUMMY_IGNORE_TERM=1", "DUMMY_STDOUT=ready\n")
	id := b.start(t, task)
	b.await(t, id, "ready")
	begin := time.Now()
	if err := b.ex.Stop(bounded(t), id, time.Second); err != nil {
		t.Fatalf("R10: Stop: %v", err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("R10: Stop took %v with a grace of 1 s", took)
	}
	if left := usersProcesses(t, uid); len(left) != 0 {
		t.Errorf("R10: processes %v are left", left)
	}
}

// TestR11Stopped ends a program that is stopped, so that it takes no
// signal but the last one.
func TestR11Stopped(t *testing.T) {
	isolations(t, func(t *testing.T, strict bool) {
		b := newBench(t)
		task := b.task("halt")
		task.Strict = strict
		id := b.start(t, task)
		b.await(t, id, "ready")
		if err := b.ex.Stop(bounded(t), id, time.Second); err != nil {
			t.Fatalf("Stop: %v", err)
		}
		if exit, err := b.ex.Wait(bounded(t), id); err != nil || exit.Code != 137 {
			t.Errorf("Wait = %+v, %v, want a kill", exit, err)
		}
	})
}
