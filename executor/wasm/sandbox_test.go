package wasm_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/executor/executortest"
	"github.com/ipdc/ipdc/executor/wasm"
)

// first is a sink that tells of the first output.
type first struct {
	executortest.Sink
	found context.CancelFunc
}

func (s *first) Stdout() io.Writer { return s }
func (s *first) Write(b []byte) (int, error) {
	s.Out.Write(b)
	s.found()
	return len(b), nil
}

// outcomes reads what the probe's tries came to.
func outcomes(t *testing.T, text string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		var try, outcome string
		if _, err := fmt.Sscanf(line, "%q %q", &try, &outcome); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all[try] = outcome
	}
	return all
}

// What a module tries against the sandbox fails; the same program, as a
// process of the host, shows that each try would work there.
func TestS25Sandbox(t *testing.T) {
	b := newBench(t)
	in, out := b.dir(map[string]string{"a": "input"}), b.dir(nil)
	secret := filepath.Join(b.dir(map[string]string{"s": "secret"}), "s")
	tries := []string{
		"read:" + secret, "read:/code/../../../" + secret,
		"write:/inputs/x", "write:/x", "write:/code/x", "fill:/tmp/big",
	}
	if err := os.Symlink(secret, filepath.Join(out, "l")); err != nil {
		t.Fatal(err)
	}
	tk := task(append([]string{"try", "write:/tmp/x", "read:/outputs/l", "link:/outputs/up=" + strings.Repeat("../", 20) + secret[1:], "read:/outputs/up"}, tries...)...)
	tk.Mounts = append(tk.Mounts, executor.Mount{Source: in, Target: "/inputs", ReadOnly: true}, executor.Mount{Source: out, Target: "/outputs"})
	tk.Command = append(tk.Command, "read:/inputs/a", "write:/outputs/x", "list:/", "list:/outputs")
	exit, sink := b.run(tk)
	got := outcomes(t, sink.Out.String())
	if exit.Code != 0 {
		t.Fatalf("exit %+v: %s%s", exit, &sink.Out, &sink.Err)
	}
	for _, try := range append(tries, "read:/outputs/l", "read:/outputs/up") {
		if !strings.HasPrefix(got[try], "error: ") {
			t.Errorf("%s = %q, want an error", try, got[try])
		}
	}
	for try, want := range map[string]string{
		"read:/inputs/a": "input", "write:/outputs/x": "", "write:/tmp/x": "",
		"list:/": "code dev inputs outputs tmp", "list:/outputs": "l up x",
	} {
		if got[try] != want {
			t.Errorf("%s = %q, want %q", try, got[try], want)
		}
	}

	host := filepath.Join(t.TempDir(), "probe")
	if out, err := exec.Command("go", "build", "-o", host, "./testdata/probe").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	control := []string{"read:" + secret, "write:" + in + "/x", "fill:" + out + "/big", "read:" + out + "/l", "read:" + out + "/up"}
	text, err := exec.Command(host, append([]string{"try"}, control...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	got = outcomes(t, string(text))
	for _, try := range control {
		if strings.HasPrefix(got[try], "error: ") {
			t.Errorf("control: %s = %q, want that it works", try, got[try])
		}
	}
}

func TestEnvironmentIsTheTasks(t *testing.T) {
	t.Setenv("SECRET_OF_THE_HOST", "1")
	b := newBench(t)
	_, sink := b.run(task("env"))
	if got, want := sink.Out.String(), `["A=b" "PWD=/"]`+"\n"; got != want {
		t.Errorf("environment = %s, want %s", got, want)
	}
}

// The wall behind wazero: who would get out of it has nothing.
func TestRunnerHasNoRights(t *testing.T) {
	b := newBench(t)
	id, pid := b.spinning()
	status := func(pid string) map[string]string {
		m := map[string]string{}
		text, err := os.ReadFile("/proc/" + pid + "/status")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			k, v, _ := strings.Cut(line, ":")
			m[k] = strings.Join(strings.Fields(v), " ")
		}
		return m
	}
	got, ours := status(fmt.Sprint(pid)), status("self")
	want := map[string]string{"NoNewPrivs": "1", "CapEff": "0000000000000000", "CapPrm": "0000000000000000", "Groups": ""}
	if os.Geteuid() == 0 {
		want["Uid"] = fmt.Sprintf("%[1]d %[1]d %[1]d %[1]d", uid)
		want["Gid"] = want["Uid"]
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s = %q, want %q", k, got[k], v)
		}
		if os.Geteuid() == 0 && ours[k] == v && k != "Groups" {
			t.Errorf("control: %s of this process is %q as well", k, v)
		}
	}
	for _, ns := range []string{"mnt", "net", "ipc", "uts"} {
		a, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
		if ours, _ := os.Readlink("/proc/self/ns/" + ns); err != nil || a == ours {
			t.Errorf("namespace %s = %s, %v, want one of its own", ns, a, err)
		}
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil || strings.Count(string(mounts), "\n") != 4 { // /, /code, /tmp, /dev/shm
		t.Errorf("mounts = %s, %v, want 4 of them", mounts, err)
	}
	for file, want := range wasm.LimitsOf(task()) {
		if os.Geteuid() != 0 {
			break // see limitWithoutGroup
		}
		got, err := os.ReadFile(file)
		if strings.Contains(file, "sw") && os.IsNotExist(err) {
			continue // swap is not accounted on this kernel
		}
		if strings.TrimSpace(string(got)) != want {
			t.Errorf("%s = %q, %v, want %s", file, got, err, want)
		}
		procs, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cgroup.procs"))
		if err != nil || !bytes.Contains(procs, fmt.Append(nil, pid)) {
			t.Errorf("the group of %s holds %q, %v, want process %d", file, procs, err, pid)
		}
	}
	if err := b.ex.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for file := range wasm.LimitsOf(task()) {
		if _, err := os.Stat(file); err == nil {
			t.Errorf("control group of %s is left", file)
		}
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
		t.Errorf("the runner outlives Remove")
	}
}

func TestOpenFilesAreBounded(t *testing.T) {
	b := newBench(t)
	_, sink := b.run(task("open"))
	var n int
	if _, err := fmt.Sscan(sink.Out.String(), &n); err != nil || n < 32 || n > 64+32 {
		t.Errorf("a module opened %d files, %v; its limit is 64 and some of our own", n, err)
	}
}

// A process that was killed while it probed leaves a directory to the next one.
func TestOldProbesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, ".probe-1", "inputs"), 0o700); err != nil {
		t.Fatal(err)
	}
	ex, err := wasm.Open(t.Context(), wasm.Config{Dir: dir, Program: []string{host, "__wasm"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ex.Close() })
	if left, err := filepath.Glob(filepath.Join(dir, ".probe-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
