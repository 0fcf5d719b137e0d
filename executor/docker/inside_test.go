package docker_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"

	"github.com/ipdc/ipdc/executor"
)

// inside are the attacks that a program makes from within, each by the rows
// that it is of. They run in one container, and their outcomes are compared
// with testdata/inside.
var inside = [][2]string{
	{"R03", "fill:/tmp/x,16777216"}, {"R03", "fill:/dev/shm/x,16777216"}, {"R06", "inodes:/tmp,20000"}, {"R13", "zombies:40"},
	{"R18", "setuid:"}, {"R18", "suid:/suid"}, {"R18", "suid:/inputs/suid"}, {"R18", "suid:/outputs/suid"}, {"R18", "userns:"},
	{"R19", "mknod:/tmp/disk"}, {"R19", "mknod:/outputs/disk"}, {"R19", "open:/dev/mem"}, {"R19", "open:/dev/kmsg"},
	{"R20", "read:/proc/kcore"}, {"R20", "read:/proc/keys"}, {"R20", "read:/proc/interrupts"}, {"R20", "read:/proc/kallsyms"},
	{"R20", "read:/proc/timer_list"}, {"R20", "read:/proc/sched_debug"}, {"R20", "read:/sys/firmware"}, {"R20", "read:/sys/devices/virtual/powercap"},
	{"R20", "write:/proc/sysrq-trigger"}, {"R20", "write:/proc/sys/kernel/hostname"},
	{"R25", "write:/x"}, {"R25", "write:/inputs/a"}, {"R25", "remount:/inputs"}, {"R25", "remount:/"}, {"R25", "bind:/inputs"}, {"R25", "bind:/etc"},
	{"R26", "dial:/@ipdc"}, {"R27", "clock:"}, {"N02", "dial:127.0.0.1:5001"}, {"N03", "dial:127.0.0.1:2375"},
	{"N05", "resolve:host.docker.internal"}, {"N07", "resolve:example.com"}, {"N12", "raw:packet"}, {"N12", "raw:inet"},
}

// class says what became of an attack, in words that hold on every kernel.
func class(attack string, o outcome) string {
	kind, _, _ := strings.Cut(attack, ":")
	switch {
	case kind == "read" && o.N == 0:
		return "nothing"
	case o.Err != "":
		return "refused"
	case kind == "suid":
		return "user " + strings.ReplaceAll(o.Text, fmt.Sprint(uid), "of the job")
	case kind == "userns":
		return "user " + o.Text + " in a namespace"
	case kind == "zombies" && o.N == 0:
		return "nothing"
	}
	return "works"
}

// TestInside runs all attacks at both levels of isolation. The control, an open
// container, shows that they work.
func TestInside(t *testing.T) {
	var attacks []string
	for _, a := range inside {
		attacks = append(attacks, a[1])
	}
	isolations(t, func(t *testing.T, strict bool) {
		b := newBench(t)
		task, in, out := b.mounted(t, append([]string{"try"}, attacks...)...)
		task.Strict = strict
		job := parse[map[string]outcome](t, b.job(t, task))
		open := b.tryOpen(t, opened(in, out, privileged), attacks...)
		got, works := map[string]string{}, 0
		for _, a := range inside {
			got[a[0]+" "+a[1]] = class(a[1], job[a[1]])
			if c := class(a[1], open[a[1]]); c == "works" || strings.HasPrefix(c, "user 0") {
				works++
			}
		}
		if works < len(inside)/2 {
			t.Errorf("control: %d of %d attacks work in an open container, too few to show anything: %v", works, len(inside), open)
		}
		for name, want := range golden(t, "inside", strict, got) {
			t.Run(name, func(t *testing.T) {
				if got[name] != want {
					t.Errorf("%s: %q, want %q: %+v", name, got[name], want, job[strings.SplitN(name, " ", 2)[1]])
				}
			})
		}
		seen := parse[seen](t, b.job(t, func() executor.Task { s := b.task("status"); s.Strict = strict; return s }()))
		checkPlace(t, seen)
	})
}

// checkPlace is what holds of a program's place on every kernel.
func checkPlace(t *testing.T, job seen) {
	for name, c := range map[string]struct{ got, want any }{
		"M09 user":           {[]int{job.UID, job.GID}, []int{uid, uid}},
		"M10 environment":    {fmt.Sprint(sorted(job.Env)), "[GOMAXPROCS=1 HOME=/tmp PATH=/bin]"},
		"R15 core limit":     {job.Core, uint64(0)},
		"R18 capabilities":   {job.Proc["CapEff"] + job.Proc["CapBnd"], strings.Repeat("0", 32)},
		"R18 new privileges": {job.Proc["NoNewPrivs"], "1"},
		"R26 sockets":        {fmt.Sprint(job.Sockets), "[]"},
		"R26 root":           {strings.Join(job.Root, " "), ".dockerenv dev etc probe proc sbin suid sys tmp"},
		"R31 stdin":          {job.Stdin, "EOF"},
		"N04 interfaces":     {fmt.Sprint(job.Interfaces), "[lo]"},
		"N07 resolver":       {job.Resolver, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.got); diff != "" {
				t.Errorf("a job sees (-want +got):\n%s", diff)
			}
		})
	}
}

// golden returns what testdata has for a level of isolation; -update writes got
// there.
func golden(t *testing.T, dir string, strict bool, got map[string]string) map[string]string {
	t.Helper()
	file := filepath.Join("testdata", dir, "standard.json")
	if strict {
		file = filepath.Join("testdata", dir, "strict.json")
	}
	if *update {
		b, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := parse[map[string]string](t, string(b))
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Fatalf("%s and what was looked at differ (-want +got):\n%s", file, diff)
	}
	return want
}

// TestR23OtherJobs looks for another job's environment, inputs and outputs, by
// paths of the host that nobody would tell it.
func TestR23OtherJobs(t *testing.T) {
	isolations(t, func(t *testing.T, strict bool) {
		b := newBench(t)
		victim, in, out := b.mounted(t, "script")
		victim.Strict, victim.UID, victim.GID = strict, uid+1, uid+1
		victim.Env = append(victim.Env, "DUMMY_STDOUT=ready\n", "DUMMY_SLEEP=1h", "SECRET=canary")
		id := b.start(t, victim)
		b.await(t, id, "ready")
		pid := b.inspect(t, string(id)).State.Pid
		attacks := []string{
			fmt.Sprintf("read:/proc/%d/environ", pid), fmt.Sprintf("read:/proc/%d/root", pid), fmt.Sprintf("read:/proc/%d/mountinfo", pid),
			"read:" + in + "/a", "read:" + out,
		}
		task := b.task(append([]string{"try"}, attacks...)...)
		task.Strict = strict
		job := parse[map[string]outcome](t, b.job(t, task))
		open := b.tryOpen(t, func(c *container.Config, h *container.HostConfig) {
			privileged(c, h)
			h.PidMode, h.Binds = "host", []string{filepath.Dir(in) + ":" + filepath.Dir(in), filepath.Dir(out) + ":" + filepath.Dir(out)}
		}, attacks...)
		for _, a := range attacks {
			if job[a].N != 0 {
				t.Errorf("%s of another job: %+v", a, job[a])
			}
			worked(t, a, open[a])
		}
	})
}

// TestN11ContainersApart lets a job look for a container that listens on the
// engine's bridge.
func TestN11ContainersApart(t *testing.T) {
	b := newBench(t)
	id := b.unguarded(t, func(*container.Config) {}, "listen", "7")
	addr := b.inspect(t, string(id)).NetworkSettings.Networks["bridge"].IPAddress
	attack := fmt.Sprintf("dial:%s:7", addr)
	isolations(t, func(t *testing.T, strict bool) {
		task := b.task("try", attack)
		task.Strict = strict
		failed(t, attack, parse[map[string]outcome](t, b.job(t, task))[attack])
		worked(t, attack, b.tryOpen(t, func(*container.Config, *container.HostConfig) {}, attack)[attack])
	})
}
