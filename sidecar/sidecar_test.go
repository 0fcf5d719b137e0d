package sidecar_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/faultfs"
	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// What tests write lies in memory where it can, as each fsync would take a
// disk's time; those that are about disks mount their own.
func TestMain(m *testing.M) {
	faultfs.Serve()
	testenv.InMemory()
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

func TestJobToResult(t *testing.T) {
	b := newBench(t)
	id := b.submit(spec("DUMMY_WRITE=/outputs/a/b:text", "DUMMY_STDOUT=hello"))
	j := b.final(id)
	if j.State != jobspec.JobSucceeded {
		t.Fatalf("job = %s %+v", j.State, j.Failure)
	}
	if got := b.outputs(j.Result); len(got) != 1 || got["a/b"] != "text" {
		t.Errorf("result = %v", got)
	}
	if err := jobspec.VerifyReceipt(*j.Attempts[0].Receipt); err != nil {
		t.Errorf("receipt: %v", err)
	}
	if log := b.log(id, true); log != "hello" && log != "hello\n" {
		t.Errorf("log = %q", log)
	}
	b.nothingLeft(id)
}

func TestFailures(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	tooLong := spec("DUMMY_SLEEP=1h")
	tooLong.Timeouts.Run = jobspec.Duration(time.Second)
	neverFits := spec("DUMMY_SLEEP=1h")
	neverFits.Timeouts = jobspec.Timeouts{Run: jobspec.Duration(time.Second), Total: jobspec.Duration(time.Second)}
	for _, c := range []struct {
		name string
		spec jobspec.Spec
		want jobspec.Kind
	}{
		{"exit", spec("DUMMY_EXIT=19", "DUMMY_WRITE=/outputs/p:partial"), jobspec.KindExit},
		{"signal", spec("DUMMY_SIGNAL=11"), jobspec.KindSignal},
		{"oom", spec("DUMMY_OOM=1"), jobspec.KindOOM},
		{"R14 timeout", tooLong, jobspec.KindTimeout},
		{"total timeout", neverFits, jobspec.KindTimeout},
		{"create", spec("DUMMY_FAIL_CREATE=E_IMAGE_GONE:no image"), jobspec.KindImageGone},
		{"start", spec("DUMMY_FAIL_START=E_IMAGE_RUN:exec format error"), jobspec.KindImageRun},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := b.submit(c.spec)
			j := b.final(id)
			if j.State != jobspec.JobFailed || j.Failure == nil || j.Failure.Kind != c.want {
				t.Fatalf("job = %s %+v, want failed by %s", j.State, j.Failure, c.want)
			}
			if c.want == jobspec.KindExit && b.outputs(j.Partial)["p"] != "partial" {
				t.Errorf("partial outputs = %v", b.outputs(j.Partial))
			}
			b.nothingLeft(id)
		})
	}
}

func TestMissingImage(t *testing.T) {
	b := newBench(t)
	s := spec()
	s.Run.Image = "missing"
	if j := b.final(b.submit(s)); j.Failure == nil || j.Failure.Kind != jobspec.KindImageRef || j.Failure.Where != "run.image" {
		t.Errorf("failure = %+v, want E_IMAGE_REF at run.image", j.Failure)
	}
}

// A container that vanished is tried again, another failure is not.
func TestRetriesLost(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	id := b.submit(spec("DUMMY_SLEEP=1h", "DUMMY_WRITE=/outputs/a:x"))
	b.until(id, jobspec.AttemptRunning)
	b.state.Vanish(sidecar.ObjectPrefix(b.key.ID()) + id + "-0-1")
	b.triedAgain(id)
	j := b.final(id)
	if j.State != jobspec.JobSucceeded || len(j.Attempts) != 2 {
		t.Errorf("job = %s after %d attempts, want success in the second", j.State, len(j.Attempts))
	}
	j = b.final(b.submit(spec("DUMMY_FAIL_WAIT=lost:gone")))
	if j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindLost || len(j.Attempts) != 3 {
		t.Errorf("job = %s %+v after %d attempts, want lost after 3", j.State, j.Failure, len(j.Attempts))
	}
	if j = b.final(b.submit(spec("DUMMY_EXIT=1"))); len(j.Attempts) != 1 {
		t.Errorf("a failed program was tried %d times", len(j.Attempts))
	}
}

// An engine that is down for a while fails no job.
func TestEngineTroubleIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := b.final(b.submit(spec("DUMMY_FAIL_CREATE=2*connection refused", "DUMMY_FAIL_START=1*timeout", "DUMMY_WRITE=/outputs/a:x")))
	if j.State != jobspec.JobSucceeded || len(j.Attempts) != 1 {
		t.Errorf("job = %s %+v after %d attempts, want success in one", j.State, j.Failure, len(j.Attempts))
	}
}

func TestRestartReattaches(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	id := b.submit(spec("DUMMY_SLEEP=1h", "DUMMY_WRITE=/outputs/a:x", "DUMMY_STDOUT=once"))
	b.until(id, jobspec.AttemptRunning)
	for range 3 {
		b.restart()
	}
	b.state.Release()
	j := b.final(id)
	if j.State != jobspec.JobSucceeded || len(j.Attempts) != 1 || b.state.Count("create") != 1 {
		t.Errorf("job = %s, %d attempts, %d containers made; want one", j.State, len(j.Attempts), b.state.Count("create"))
	}
	if log := b.log(id, false); strings.Count(log, "once") != 1 {
		t.Errorf("log = %q", log)
	}
	b.nothingLeft(id)
}

// A container that vanished while the node was down is lost and tried again.
func TestVanishedWhileDown(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	id := b.submit(spec("DUMMY_SLEEP=1h", "DUMMY_WRITE=/outputs/a:x"))
	b.until(id, jobspec.AttemptRunning)
	b.stop()
	b.state.Vanish(sidecar.ObjectPrefix(b.key.ID()) + id + "-0-1")
	b.start()
	b.triedAgain(id)
	if j := b.final(id); j.State != jobspec.JobSucceeded || len(j.Attempts) != 2 {
		t.Errorf("job = %s %+v after %d attempts, want success in the second", j.State, j.Failure, len(j.Attempts))
	}
}

func TestStop(t *testing.T) {
	refusal.Produces(t, jobspec.KindConflict, jobspec.KindStopped)
	b := newBench(t)
	b.cap.CPU = 1000
	b.restart()
	running := b.submit(spec("DUMMY_SLEEP=1h", "DUMMY_IGNORE_TERM=1", "DUMMY_WRITE=/outputs/a:begun"))
	b.until(running, jobspec.AttemptRunning)
	queued := b.submit(spec("DUMMY_SLEEP=1h"))
	if err := b.Remove(t.Context(), "t", running); !refusal.Is(t, err, jobspec.KindConflict) {
		t.Errorf("remove of a running job = %v, want E_CONFLICT", err)
	}
	for _, id := range []string{queued, running} {
		if _, err := b.Stop(t.Context(), "t", id); err != nil {
			t.Fatal(err)
		}
		if j := b.final(id); j.State != jobspec.JobStopped || !refusal.Is(t, j.Failure.Error(), jobspec.KindStopped) {
			t.Errorf("job = %s %+v, want stopped", j.State, j.Failure)
		}
	}
	j, err := b.Job(t.Context(), "t", running)
	if err != nil || b.outputs(j.Partial)["a"] != "begun" {
		t.Errorf("partial outputs of the stopped job = %v, %v", b.outputs(j.Partial), err)
	}
	b.nothingLeft(running)
	if err := b.Remove(t.Context(), "t", running); err != nil {
		t.Error(err)
	}
	if _, err := b.Job(t.Context(), "t", running); !errors.Is(err, jobspec.KindNotFound.Error()) {
		t.Errorf("a removed job = %v, want E_NOT_FOUND", err)
	}
}

// slowCreate is an engine that makes the container of a Create whose caller
// may have left.
type slowCreate struct {
	executor.Executor
	entered chan struct{}
	finish  chan struct{}
}

func (e slowCreate) Create(ctx context.Context, t executor.Task) (executor.ID, error) {
	e.entered <- struct{}{}
	select {
	case <-e.finish:
	case <-ctx.Done():
	}
	id, err := e.Executor.Create(context.WithoutCancel(ctx), t)
	return id, errors.Join(err, ctx.Err())
}

// A job that is stopped while its container is made leaves none, also when the
// node ends right after.
func TestStopWhileContainerIsMade(t *testing.T) {
	b := newBench(t)
	slow := slowCreate{entered: make(chan struct{}), finish: make(chan struct{})}
	b.wrap = func(ex executor.Executor) executor.Executor { slow.Executor = ex; return slow }
	b.restart()
	id := b.submit(spec("DUMMY_SLEEP=1h"))
	<-slow.entered
	if _, err := b.Stop(t.Context(), "t", id); err != nil {
		t.Fatal(err)
	}
	close(slow.finish)
	if j := b.final(id); j.State != jobspec.JobStopped {
		t.Errorf("job = %s, want stopped", j.State)
	}
	b.stop()
	if left := b.leftovers(id); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A wish to stop that was acknowledged holds after a crash.
func TestStopSurvivesRestart(t *testing.T) {
	b := newBench(t)
	id := b.submit(spec("DUMMY_SLEEP=1h"))
	b.until(id, jobspec.AttemptRunning)
	err := b.store.Update(t.Context(), func(tx *store.Tx) error { // Stop, killed before it cancels
		j, err := tx.Job(jobspec.JobID(id))
		j.Stopping = true
		return errors.Join(err, tx.PutJob(j))
	})
	if err != nil {
		t.Fatal(err)
	}
	b.restart()
	if j := b.final(id); j.State != jobspec.JobStopped {
		t.Errorf("job = %s, want stopped", j.State)
	}
}

func TestIdempotencyKey(t *testing.T) {
	refusal.Produces(t, jobspec.KindDupKey)
	b := newBench(t)
	send := func(s jobspec.Spec, tenant string) (wire.Job, bool, error) {
		return b.Submit(t.Context(), api.Submission{Tenant: tenant, Spec: s, IdempotencyKey: "k"})
	}
	first, created, err := send(spec(), "t")
	if err != nil || !created {
		t.Fatalf("first submit: %v, %v", created, err)
	}
	if again, created, err := send(spec(), "t"); err != nil || created || again.ID != first.ID {
		t.Errorf("the same again = %s, %v, %v; want %s", again.ID, created, err, first.ID)
	}
	if _, _, err := send(spec("DUMMY_EXIT=1"), "t"); !refusal.Is(t, err, jobspec.KindDupKey) {
		t.Errorf("another spec = %v, want E_DUP_KEY", err)
	}
	if other, created, err := send(spec(), "other"); err != nil || !created || other.ID == first.ID {
		t.Errorf("another tenant = %s, %v, %v; want a job of its own", other.ID, created, err)
	}
	b.final(first.ID.String())
}

func TestTooLargeIsRefused(t *testing.T) {
	refusal.Produces(t, jobspec.KindPolicy)
	b := newBench(t)
	s := spec()
	s.Resources.CPU = 4000
	_, _, err := b.Submit(t.Context(), api.Submission{Tenant: "t", Spec: s})
	if !refusal.Is(t, err, jobspec.KindPolicy) || !strings.Contains(err.Error(), "4") || !strings.Contains(err.Error(), "2") {
		t.Errorf("submit = %v, want E_POLICY with both numbers", err)
	}
}

// Two tasks that write one name with different contents clash before anything
// is published; each task's output is kept.
func TestClashKeepsParts(t *testing.T) {
	b := newBench(t)
	s := spec("DUMMY_COPY=/inputs:/outputs/copy", "DUMMY_WRITE=/outputs/same:x",
		"DUMMY_WRITE_REPORT=/ipdc/report/report.jsonl:"+`{"type":"item","path":"a"}`+"\n"+`{"type":"item","path":"b/c"}`+"\n")
	s.Run.Per, s.Run.Feed = jobspec.PerItem, jobspec.FeedStdin
	s.Inputs = []jobspec.Input{{CID: b.input("a", "b/c")}}
	j := b.final(b.submit(s))
	if j.State != jobspec.JobSucceeded || len(j.Attempts) != 2 {
		t.Fatalf("equal outputs of two tasks = %s %+v, want no clash", j.State, j.Failure)
	}
	if got := b.outputs(j.Result); got["copy/b/c"] != "b/c" || got["same"] != "x" {
		t.Errorf("result = %v", got)
	}
}

// A resolved sub-path, and a lone file that is wrapped under its name.
func TestInputPath(t *testing.T) {
	refusal.Produces(t, jobspec.KindNotFound)
	b := newBench(t)
	root := b.input("a", "b/c")
	for path, want := range map[string]string{root + "/b": "c", root + "/b/c": "c", root + "/a": "a"} {
		s := spec("DUMMY_COPY=/inputs:/outputs")
		s.Inputs = []jobspec.Input{{CID: path}}
		j := b.final(b.submit(s))
		if j.State != jobspec.JobSucceeded {
			t.Fatalf("%s: %s %+v", path, j.State, j.Failure)
		}
		if _, ok := b.outputs(j.Result)[want]; !ok {
			t.Errorf("%s: outputs %v, want %s", path, b.outputs(j.Result), want)
		}
	}
	s := spec()
	s.Inputs = []jobspec.Input{{CID: root + "/nope"}}
	if j := b.final(b.submit(s)); j.Failure == nil || !refusal.Is(t, j.Failure.Error(), jobspec.KindNotFound) || j.Failure.Where != "inputs[0].cid" {
		t.Errorf("failure = %+v, want E_NOT_FOUND at inputs[0].cid", j.Failure)
	}
}
