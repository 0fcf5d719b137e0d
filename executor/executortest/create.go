package executortest

import (
	"strings"
	"testing"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
)

func testInfo(t *testing.T, b *bench) {
	info, err := b.ex.Info(bounded(t))
	if err != nil || info.Name == "" || info.Version == "" || info.Arch == "" {
		t.Errorf("Info() = %+v, %v, want a name, a version and an architecture", info, err)
	}
}

func testCreate(t *testing.T, b *bench) {
	id := b.create(t, b.task("a"))
	c, ok := b.list(t, b.prefix)["a"]
	if !ok || c.ID != id || c.Running {
		t.Errorf("List after Create = %+v, want container %s, not running", c, id)
	}
}

func testAdopt(t *testing.T, b *bench) {
	task := b.task("a", "DUMMY_SLEEP=1h")
	id := b.create(t, task)
	second := b.open(t)
	adopt := func(state string) {
		t.Helper()
		got, err := second.Create(bounded(t), task)
		if err != nil || got != id {
			t.Fatalf("Create of an equal task while %s = %s, %v, want %s", state, got, err, id)
		}
	}
	adopt("created")
	if err := second.Start(bounded(t), id); err != nil {
		t.Fatalf("Start of the adopted container: %v", err)
	}
	adopt("running")
	if !b.list(t, b.prefix)["a"].Running {
		t.Error("the program does not run after it was adopted")
	}
	if err := second.Stop(bounded(t), id, 0); err != nil {
		t.Fatalf("Stop: %v", err)
	}
	adopt("ended")
	// By who stopped it: for all others it was ended from outside.
	if exit, err := second.Wait(bounded(t), id); err != nil || exit.Code == 0 {
		t.Errorf("Wait after the adoption of an ended container = %+v, %v, want its first end", exit, err)
	}
}

func testReplace(t *testing.T, b *bench) {
	old := b.start(t, b.task("a", "DUMMY_SLEEP=1h"))
	changes := map[string]func(*executor.Task){
		"environment": func(t *executor.Task) { t.Env = append(t.Env, "X=1") },
		"memory":      func(t *executor.Task) { t.Memory *= 2 },
		"user":        func(t *executor.Task) { t.UID++ },
		"command":     func(t *executor.Task) { t.Command = append(t.Command[:1:1], "other") },
	}
	for name, change := range changes {
		task := b.task("a", "DUMMY_SLEEP=1h")
		change(&task)
		id := b.create(t, task)
		if id == old {
			t.Errorf("Create with another %s adopted the container", name)
		}
		if _, err := b.ex.Wait(bounded(t), old); err == nil {
			t.Errorf("Wait for the replaced container = nil, want an error")
		}
		if list := b.list(t, b.prefix); len(list) != 1 || list["a"].Running {
			t.Errorf("List after a replacement = %+v, want one container, not running", list)
		}
		old = id
	}
}

func testInvalid(t *testing.T, b *bench) {
	for name, spoil := range map[string]func(*executor.Task){
		"uid 0":           func(t *executor.Task) { t.UID = 0 },
		"gid 0":           func(t *executor.Task) { t.GID = 0 },
		"no command":      func(t *executor.Task) { t.Command = nil },
		"no memory limit": func(t *executor.Task) { t.Memory = 0 },
		"no pids limit":   func(t *executor.Task) { t.Pids = 0 },
		"no cpu limit":    func(t *executor.Task) { t.CPU = 0 },
		"no log limit":    func(t *executor.Task) { t.LogSize = 0 },
		"unbounded tmp":   func(t *executor.Task) { t.Tmp = 0 },
		"relative workdir": func(t *executor.Task) {
			t.WorkDir = "x"
		},
		"image by tag": func(t *executor.Task) { t.Image = "python:latest" },
		"mount of /":   func(t *executor.Task) { t.Mounts = []executor.Mount{{Source: "/", Target: "/host"}} },
		"mount over /proc": func(t *executor.Task) {
			t.Mounts = []executor.Mount{{Source: "/srv", Target: "/proc/sys"}}
		},
	} {
		// A connection of its own: the dummy counts these calls as misuse.
		task := b.task("bad")
		spoil(&task)
		if id, err := b.ex.Create(bounded(t), task); err == nil {
			t.Errorf("Create with %s = %s, want an error", name, id)
		}
	}
	if list := b.list(t, b.prefix); len(list) != 0 {
		t.Errorf("List = %+v, want no container", list)
	}
}

func testMissingImage(t *testing.T, b *bench) {
	task := b.task("a")
	task.Image = b.h.Missing
	_, err := b.ex.Create(bounded(t), task)
	wantKind(t, "Create", err, jobspec.KindImageGone, jobspec.KindImageRef)
}

// testCannotStart lets either Start or Wait tell: some engines find out only
// later.
func testCannotStart(t *testing.T, b *bench) {
	task := b.task("a", "DUMMY_FAIL_START=E_IMAGE_RUN: exec /no/such/program failed")
	task.Command, task.First = []string{"/no/such/program", "x"}, true
	id := b.create(t, task)
	err := b.ex.Start(bounded(t), id)
	if err == nil {
		_, err = b.ex.Wait(bounded(t), id)
	}
	wantKind(t, "Start, Wait", err, jobspec.KindImageRun)
	if err != nil && !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("error %q does not name the program", err)
	}
}

func testStartTwice(t *testing.T, b *bench) {
	task := b.task("a", "DUMMY_STDOUT=once\n", "DUMMY_SLEEP=200ms", "DUMMY_EXIT=3")
	id := b.start(t, task)
	if err := b.ex.Start(bounded(t), id); err != nil {
		t.Errorf("Start of a running container: %v", err)
	}
	first := b.wait(t, id)
	if err := b.ex.Start(bounded(t), id); err != nil {
		t.Errorf("Start of an ended container: %v", err)
	}
	if again := b.wait(t, id); again != first {
		t.Errorf("Wait after a second Start = %+v, want %+v", again, first)
	}
	if got := b.logs(t, id).Out.String(); got != "once\n" {
		t.Errorf("output = %q, want %q", got, "once\n")
	}
}

func testRemoveTwice(t *testing.T, b *bench) {
	created := b.create(t, b.task("a"))
	runs := b.start(t, b.task("b", "DUMMY_SLEEP=1h"))
	for _, id := range []executor.ID{created, runs} {
		for range 2 {
			if err := b.ex.Remove(bounded(t), id); err != nil {
				t.Errorf("Remove: %v", err)
			}
		}
	}
	if list := b.list(t, b.prefix); len(list) != 0 {
		t.Errorf("List after Remove = %+v, want none", list)
	}
}

func testMissingContainer(t *testing.T, b *bench) {
	id := b.start(t, b.task("a"))
	if err := b.ex.Remove(bounded(t), id); err != nil {
		t.Fatalf("Remove: %v", err)
	}
	wantKind(t, "Start", b.ex.Start(bounded(t), id), jobspec.KindLost)
	wantKind(t, "Stop", b.ex.Stop(bounded(t), id, 0), jobspec.KindLost)
	wantKind(t, "Logs", b.ex.Logs(bounded(t), id, &Sink{}), jobspec.KindLost)
	_, err := b.ex.Wait(bounded(t), id)
	wantKind(t, "Wait", err, jobspec.KindLost)
}
