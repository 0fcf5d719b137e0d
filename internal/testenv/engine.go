package testenv

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Engine starts a second Docker engine, which has no image, no network and no
// registry, and returns its address. It lies in a network namespace of its own:
// beside another one on the same network it would take that one's bridge away.
// It needs the parts "docker" and "netns", and ends with the test.
func Engine(t testing.TB) string {
	t.Helper()
	return NewOwnEngine(t, nil).Host
}

// OwnEngine is an engine that a test may kill and start anew.
type OwnEngine struct {
	Host string // "unix://..."
	Root string // where it keeps images and containers

	t     testing.TB
	dir   string
	enter []string // into its network namespace
	said  *Log
	cmd   *exec.Cmd // nil while it does not run
}

var engines atomic.Int32

// NewOwnEngine starts an engine as [Engine] does. settings are for its
// daemon.json, such as {"live-restore": true}; its "data-root" may lie elsewhere.
// Its containers and what is left of it go with the test.
func NewOwnEngine(t testing.TB, settings map[string]any) *OwnEngine {
	t.Helper()
	Docker(t)
	_, err := exec.LookPath("dockerd")
	Need(t, "docker", err)
	network := NetNS(t)
	name := "engine" + strconv.Itoa(int(engines.Add(1)))
	network.Add(name)
	dir, err := os.MkdirTemp("", "engine-") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	e := &OwnEngine{t: t, dir: dir, Root: filepath.Join(dir, "data"), enter: network.Enter(name), said: &Log{}}
	e.Host = "unix://" + filepath.Join(dir, "docker.sock")
	all := map[string]any{"data-root": e.Root}
	for k, v := range settings {
		all[k] = v
	}
	e.Root = all["data-root"].(string)
	config, err := json.Marshal(all) // not that of the machine's engine
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "daemon.json"), config, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.close)
	e.Start()
	return e
}

// Start starts it again and waits until it answers.
func (e *OwnEngine) Start() {
	e.t.Helper()
	// Not by ip netns exec, which hides mounts that are made later.
	args := append(e.enter, "dockerd",
		"--config-file", filepath.Join(e.dir, "daemon.json"), "--exec-root", filepath.Join(e.dir, "exec"),
		"--pidfile", filepath.Join(e.dir, "pid"), "--host", e.Host, "--bridge", "none", "--iptables=false", "--ip-forward=false", "--ip-masq=false")
	cmd := exec.CommandContext(context.WithoutCancel(e.t.Context()), args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = e.said, e.said
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.cmd = cmd
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); ping(e.Host) != nil; {
		select {
		case <-tick.C:
		case <-late:
			e.t.Fatalf("the engine does not answer:\n%s", e.said)
		}
	}
}

// Kill sends it a signal and waits for its end. Without a signal to end it
// orderly, its containers go on.
func (e *OwnEngine) Kill(sig syscall.Signal) {
	if e.cmd == nil {
		return
	}
	_ = e.cmd.Process.Signal(sig)
	late := time.AfterFunc(time.Minute, func() { _ = e.cmd.Process.Kill() })
	defer late.Stop()
	_ = e.cmd.Wait() // it ends by a signal
	e.cmd = nil
	// Its containerd ends with it, a little later. The next engine would take
	// one that is not quite gone for one that it can use.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); findProcess("containerd\x00", e.dir) != 0; {
		select {
		case <-tick.C:
		case <-end:
			e.t.Error("the engine's containerd does not end")
			return
		}
	}
	_ = os.Remove(filepath.Join(e.dir, "exec", "containerd", "containerd.pid"))
}

// CPU returns the processor time that the engine itself used since it started.
func (e *OwnEngine) CPU() time.Duration {
	e.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", e.cmd.Process.Pid))
	if err != nil {
		e.t.Fatal(err)
	}
	_, behindName, _ := strings.Cut(string(stat), ") ")
	var ticks int
	for _, field := range strings.Fields(behindName)[11:13] { // utime, stime
		n, err := strconv.Atoi(field)
		if err != nil {
			e.t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// Shim returns the process that holds a container for the engine; 0 = there is
// none.
func (e *OwnEngine) Shim(container string) int {
	return findProcess(e.dir, "containerd-shim", container)
}

// close ends the engine, its containers first: an engine that was killed leaves
// them running.
func (e *OwnEngine) close() {
	if e.cmd == nil {
		e.Start()
	}
	ids, err := exec.Command("docker", "-H", e.Host, "ps", "-aq").Output()
	if list := strings.Fields(string(ids)); err == nil && len(list) > 0 {
		err = run("docker", append([]string{"-H", e.Host, "rm", "-f"}, list...)...)
	}
	if err != nil {
		e.t.Errorf("remove the engine's containers: %v", err)
	}
	e.Kill(syscall.SIGTERM)
	if e.t.Failed() {
		said := e.said.String()
		e.t.Logf("end of the engine's log:\n%s", said[max(0, len(said)-4096):])
	}
	// Of an engine that was killed in the middle of a start.
	for pid := findProcess("containerd-shim", e.dir); pid != 0 && err == nil; pid = findProcess("containerd-shim", e.dir) {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	lines := strings.Split(string(mounts), "\n")
	for _, line := range slices.Backward(lines) { // of one that was killed
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], e.dir+"/") {
			_ = syscall.Unmount(f[1], syscall.MNT_DETACH)
		}
	}
	if err := os.RemoveAll(e.dir); err != nil {
		e.t.Errorf("remove engine: %v", err)
	}
}

// findProcess returns a process whose command line has all the words in it.
func findProcess(words ...string) int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		b, _ := os.ReadFile(file)
		all := len(b) > 0
		for _, w := range words {
			all = all && strings.Contains(string(b), w)
		}
		if all {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			return pid
		}
	}
	return 0
}
