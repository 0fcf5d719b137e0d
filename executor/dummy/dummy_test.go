package dummy_test

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/executor/dummy"
	"github.com/ipdc/ipdc/executor/executortest"
	"github.com/ipdc/ipdc/jobspec"
)

const (
	image   = jobspec.ImageID("sha256:1111111111111111111111111111111111111111111111111111111111111111")
	missing = jobspec.ImageID("sha256:2222222222222222222222222222222222222222222222222222222222222222")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestExecutor(t *testing.T) {
	state := dummy.NewState(image)
	defer state.Close()
	executortest.Test(t, executortest.Harness{
		Open:    func(*testing.T) executor.Executor { return dummy.New(state) },
		Image:   image,
		Missing: missing,
		Command: []string{"/probe", "script"},
	})
	for _, text := range state.Misuse() {
		if !strings.HasPrefix(text, "create container") { // the subtest of invalid tasks
			t.Errorf("the suite broke the contract: %s", text)
		}
	}
}

func task(env ...string) executor.Task {
	return executor.Task{
		Name: "ipdctest-a", Image: image, Command: []string{"/x"}, Env: env, WorkDir: "/", UID: 7, GID: 7,
		CPU: 100, Memory: 64 * jobspec.MiB, Pids: 64, NoFile: 64, Tmp: jobspec.MiB, Shm: jobspec.MiB, LogSize: jobspec.MiB,
	}
}

func TestMisuseIsRecorded(t *testing.T) {
	state := dummy.NewState()
	defer state.Close()
	ex := dummy.New(state)
	id, err := ex.Create(t.Context(), task())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ex.Wait(t.Context(), id); err == nil {
		t.Error("Wait before Start = nil, want an error")
	}
	ex.Close()
	if err := ex.Start(t.Context(), id); err == nil {
		t.Error("Start after Close = nil, want an error")
	}
	want := []string{"wait before start", "start after Close"}
	got := state.Misuse()
	if len(got) != len(want) || !strings.HasPrefix(got[0], want[0]) || got[1] != want[1] {
		t.Errorf("Misuse() = %q, want %q", got, want)
	}
}

func TestFaults(t *testing.T) {
	state := dummy.NewState()
	defer state.Close()
	ex := dummy.New(state)
	faulty := task("DUMMY_FAIL_CREATE=2*the engine is busy", "DUMMY_FAIL_START=E_IMAGE_RUN: no python3")
	for try := range 2 {
		if _, err := ex.Create(t.Context(), faulty); err == nil || !strings.HasSuffix(err.Error(), "the engine is busy") {
			t.Errorf("Create, try %d = %v, want the fault", try, err)
		}
	}
	id, err := ex.Create(t.Context(), faulty)
	if err != nil {
		t.Fatalf("Create, try 3 = %v, want none", err)
	}
	if err := ex.Start(t.Context(), id); !errors.Is(err, jobspec.KindImageRun.Error()) {
		t.Errorf("Start = %v, want %s", err, jobspec.KindImageRun)
	}
	if got := state.Count("create"); got != 3 {
		t.Errorf("Count(create) = %d, want 3", got)
	}
}

func TestEngineTrouble(t *testing.T) {
	state := dummy.NewState()
	defer state.Close()
	ex := dummy.New(state)
	id, err := ex.Create(t.Context(), task("DUMMY_SLEEP=1h"))
	if err != nil {
		t.Fatal(err)
	}
	down := errors.New("connection refused")
	state.SetDown(down)
	if err := ex.Start(t.Context(), id); !errors.Is(err, down) {
		t.Errorf("Start while down = %v, want %v", err, down)
	}
	state.SetDown(nil)
	if err := ex.Start(t.Context(), id); err != nil {
		t.Errorf("Start = %v", err)
	}
	state.Vanish("ipdctest-a")
	if _, err := ex.Wait(t.Context(), id); !errors.Is(err, jobspec.KindLost.Error()) {
		t.Errorf("Wait for a vanished container = %v, want %s", err, jobspec.KindLost)
	}
}

func TestScriptTypo(t *testing.T) {
	for _, env := range []string{"DUMMY_EXITT=1", "DUMMY_EXIT=x", "DUMMY_WRITE=/a", "DUMMY_SLEEP=1"} {
		if _, err := dummy.ParseScript([]string{env}); err == nil {
			t.Errorf("ParseScript(%s) = nil, want an error", env)
		}
	}
}
