package wasm_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire/guest"
)

// A stopped process does not take SIGTERM: only the kill after the grace ends it.
func TestStopKillsAfterGrace(t *testing.T) {
	b := newBench(t)
	id, pid := b.spinning()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	const grace = time.Second
	begin := time.Now()
	if err := b.ex.Stop(t.Context(), id, grace); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < grace {
		t.Errorf("killed after %v, want a grace of %v", took, grace)
	}
	if exit, err := b.ex.Wait(t.Context(), id); err != nil || exit.Code != 137 || exit.OOM {
		t.Errorf("Wait = %+v, %v, want code 137", exit, err)
	}
}

func TestKilledSupervisorTakesTheRunnerWithIt(t *testing.T) {
	b := newBench(t)
	id, pid := b.spinning()
	supervisor, err := b.ex.SupervisorOf(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ex.Wait(t.Context(), id); !errors.Is(err, jobspec.KindLost.Error()) {
		t.Errorf("Wait = %v, want lost", err)
	}
	for deadline := time.Now().Add(time.Minute); syscall.Kill(pid, 0) == nil; {
		if stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); strings.Contains(string(stat), ") Z ") {
			break // its new parent has not buried it yet
		}
		if time.Now().After(deadline) {
			t.Fatal("the runner outlives its supervisor")
		}
		<-time.After(10 * time.Millisecond)
	}
	// It may have run: it is never started again.
	if err := b.ex.Start(t.Context(), id); err != nil {
		t.Errorf("Start = %v, want nothing done", err)
	}
	if list, err := b.ex.List(t.Context(), "wasmtest"); err != nil || len(list) != 1 || list[0].Running {
		t.Errorf("List = %+v, %v, want one that does not run", list, err)
	}
}

// A pid that another process has by now is not taken for the supervisor.
func TestReusedPID(t *testing.T) {
	b := newBench(t)
	id, err := b.ex.Create(t.Context(), task("spin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.ex.SetProcess(id, os.Getpid(), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ex.Wait(t.Context(), id); !errors.Is(err, jobspec.KindLost.Error()) {
		t.Errorf("Wait = %v, want lost", err)
	}
	if err := b.ex.Stop(t.Context(), id, 0); err != nil { // and this process goes on
		t.Errorf("Stop = %v", err)
	}
}

func TestLogIsBounded(t *testing.T) {
	b := newBench(t)
	tk := task("flood")
	tk.LogSize = 64 * jobspec.KiB
	exit, sink := b.run(tk)
	out := sink.Out.String()
	if exit.Code != 0 || len(out) > 64<<10 || !strings.HasSuffix(out, "039999\n") {
		t.Errorf("exit %+v, %d bytes of log that end in %q; want at most 64 KiB with the end of the output", exit, len(out), out[max(0, len(out)-20):])
	}
}

func TestS25Trap(t *testing.T) {
	b := newBench(t)
	if exit, sink := b.run(task("trap")); exit.Code != 2 || !strings.Contains(sink.Err.String(), "nil pointer") {
		t.Errorf("Go's own panic = %+v %s", exit, &sink.Err)
	}
	// (module (func (export "_start") unreachable) (memory (export "memory") 1))
	wat := "\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x05\x03\x01\x00\x01\x07\x13\x02\x06_start\x00\x00\x06memory\x02\x00\x0a\x05\x01\x03\x00\x00\x0b"
	tk := task()
	tk.Command, tk.Mounts[0].Source = []string{"m.wasm"}, b.dir(map[string]string{"m.wasm": wat})
	if exit, sink := b.run(tk); exit.Code != 134 || !strings.Contains(sink.Err.String(), "unreachable") {
		t.Errorf("a trap = %+v %q, want code 134 and the reason", exit, &sink.Err)
	}
}

func TestS25WhatIsNoModule(t *testing.T) {
	b := newBench(t)
	dir := b.dir(map[string]string{
		"text":      "hello",
		"component": "\x00asm\x0d\x00\x01\x00",
		"cut":       "\x00asm\x01\x00\x00\x00\x01",
		"library":   "\x00asm\x01\x00\x00\x00",
		// (module (import "env" "f" (func)))
		"foreign": "\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x02\x09\x01\x03env\x01f\x00\x00",
	})
	for name, want := range map[string]string{
		"text": "no WebAssembly module", "component": "preview 1", "cut": "compile", "library": "_start", "foreign": "env", "none": "no such file",
	} {
		tk := task()
		tk.Command, tk.Mounts[0].Source = []string{name}, dir
		id := b.start(tk)
		_, err := b.ex.Wait(t.Context(), id)
		if !errors.Is(err, jobspec.KindImageRun.Error()) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Wait = %v, want E_IMAGE_RUN that says %q", name, err, want)
		}
	}
}

// The guest's protocol holds: the report and the outputs are those of
// cmd/ipdc-guest.
func TestItems(t *testing.T) {
	b := newBench(t)
	guestTask := `{"command": ["probe.wasm", "count"], "feed": "stdin", "keep_going": true,
		"items": [{"path": "a"}, {"path": "d/b"}, {"path": "long"}]}`
	run := b.dir(map[string]string{"task.json": guestTask})
	in := b.dir(map[string]string{"a": "one", "d/b": "one two", "long": "one two three"})
	out, report := b.dir(nil), b.dir(nil)
	tk := task()
	tk.Command, tk.Env, tk.WorkDir = []string{guest.Binary}, []string{"FAIL_OVER=2"}, guest.Inputs
	tk.Mounts = append(tk.Mounts,
		executor.Mount{Source: filepath.Join(run, "task.json"), Target: guest.TaskFile, ReadOnly: true},
		executor.Mount{Source: report, Target: guest.ReportDir},
		executor.Mount{Source: in, Target: guest.Inputs, ReadOnly: true},
		executor.Mount{Source: out, Target: guest.Outputs})
	defer syscall.Umask(syscall.Umask(0o077)) // as in a node
	if exit, sink := b.run(tk); exit.Code != 0 {
		t.Fatalf("exit %+v: %s", exit, &sink.Err)
	}
	for name, want := range map[string]string{"a": "1\n", "d/b": "2\n"} {
		if got, err := os.ReadFile(filepath.Join(out, name)); string(got) != want {
			t.Errorf("output %s = %q, %v, want %q", name, got, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(out, "long")); err == nil {
		t.Error("a failed item left an output")
	}
	batch, err := guest.Tail(filepath.Join(report, guest.Report), 0, guest.Limits{})
	if err != nil || len(batch.Lines) != 4 {
		t.Fatalf("report = %+v, %v, want three items and an end", batch, err)
	}
	end := batch.Lines[3]
	if end.Type != guest.LineEnd || end.CPU == 0 || end.MaxRSS == 0 {
		t.Errorf("end = %+v, want what was used", end)
	}
	want := []guest.Line{
		{Type: guest.LineItem, Path: "a", Outputs: []string{"a"}},
		{Type: guest.LineItem, Path: "d/b", Outputs: []string{"d/b"}},
		{Type: guest.LineItem, Path: "long", Error: "exit code 3", ExitCode: 3},
	}
	if diff := cmp.Diff(want, batch.Lines[:3]); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}
