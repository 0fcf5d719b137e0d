package sidecar_test

import (
	"bufio"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// A member that restarts goes on with the job, and who waits for it here
// notices no more than a pause.
func TestHandedJobSurvivesItsMember(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := newFleet(t, 2)
	here, there := f.serve(0), f.serve(1)
	j, err := here.SubmitTo(ctx, "any", spec("DUMMY_SLEEP=1h", "DUMMY_WRITE_OUT=/outputs/a:b"), "")
	if err != nil {
		t.Fatal(err)
	}
	started, ended := make(chan struct{}), make(chan wire.Job, 1)
	go func() {
		var once sync.Once
		_ = here.Client.Events(ctx, j.ID.String(), 0, true, func(jobspec.Event) error { once.Do(func() { close(started) }); return nil })
		done, err := here.Wait(ctx, j.ID.String())
		if err != nil {
			t.Error(err)
		}
		ended <- done
	}()
	<-started
	there.end()
	there.stop()
	_, err = here.Client.Job(ctx, j.ID.String())
	wantKind(t, "Job of a member that is gone", err, jobspec.KindLost, there.key.ID().String(), "ipdc peers")
	if list, err := here.Client.Jobs(ctx, client.JobFilter{}); err != nil || len(list) != 1 || list[0].State.Final() {
		t.Errorf("Jobs = %+v, %v, want the job that has not ended", list, err)
	}
	there.start()
	f.serve(1)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(2 * time.Minute); ; {
		select {
		case done := <-ended:
			if done.State != jobspec.JobSucceeded {
				t.Errorf("job is %s: %+v", done.State, done.Failure)
			}
			return
		case <-tick.C:
			for _, b := range f.nodes { // once it runs, wherever that is
				b.state.Release()
			}
		case <-late:
			t.Fatal("who waits is not told")
		}
	}
}

// Stop reaches the member, and what is known here follows without being asked.
func TestStopHandedJob(t *testing.T) {
	ctx := t.Context()
	f := newFleet(t, 2)
	f.nodes[0].sweepEvery = 50 * time.Millisecond
	f.nodes[0].restart()
	here, there := f.serve(0), f.serve(1)
	j, err := here.SubmitTo(ctx, "any", spec("DUMMY_SLEEP=1h"), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := there.bench.Stop(ctx, api.MemberTenant(here.key.ID()), j.ID.String()); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); ; <-tick.C {
		list, err := here.Client.Jobs(ctx, client.JobFilter{})
		if err != nil || len(list) != 1 || time.Now().After(deadline) {
			t.Fatalf("Jobs = %+v, %v", list, err)
		}
		if list[0].State == jobspec.JobStopped {
			break
		}
	}
	k, err := here.SubmitTo(ctx, "any", spec("DUMMY_SLEEP=1h"), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := here.Client.Stop(ctx, k.ID.String()); err != nil {
		t.Fatal(err)
	}
	if done, err := here.Wait(ctx, k.ID.String()); err != nil || done.State != jobspec.JobStopped {
		t.Errorf("job is %s, %v, want stopped", done.State, err)
	}
	there.idle()
}

// A job whose member is gone can be given up, by who says so; one whose member is
// there ends and goes as any other.
func TestForgetHandedJob(t *testing.T) {
	ctx := t.Context()
	f := newFleet(t, 2)
	here, there := f.serve(0), f.serve(1)
	var jobs []string
	for range 2 {
		j, err := here.SubmitTo(ctx, "any", spec("DUMMY_SLEEP=1h"), "")
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, j.ID.String())
	}
	gone, stays := jobs[0], jobs[1]
	wantKind(t, "Forget of a job that its member runs", here.Forget(ctx, gone), jobspec.KindConflict, "ipdc job stop")
	if _, err := here.Client.Job(ctx, gone); err != nil { // the control: it is known still
		t.Error(err)
	}
	there.end()
	there.stop()
	wantKind(t, "Remove of a job whose member is gone", here.Client.Remove(ctx, gone), jobspec.KindLost, there.key.ID().String(), "ipdc job rm --force "+gone)
	if err := here.Forget(ctx, gone); err != nil {
		t.Error(err)
	}
	_, err := here.Client.Job(ctx, gone)
	wantKind(t, "Job of one that was given up", err, jobspec.KindNotFound)
	if list, err := here.Client.Jobs(ctx, client.JobFilter{}); err != nil || len(list) != 1 || list[0].ID.String() != stays {
		t.Errorf("Jobs = %+v, %v, want the other one only", list, err)
	}
	there.start()
	f.serve(1)
	if j, err := there.bench.Job(ctx, api.MemberTenant(here.key.ID()), gone); err != nil || j.State.Final() {
		t.Errorf("the member has it %s, %v, want it as it was", j.State, err)
	}
	wantKind(t, "Forget of a job here that is none", here.Forget(ctx, gone), jobspec.KindNotFound)
	local, _, err := here.bench.Submit(ctx, api.Submission{Tenant: api.TenantLocal, Spec: spec("DUMMY_SLEEP=1h")})
	if err != nil {
		t.Fatal(err)
	}
	wantKind(t, "Forget of a job here that runs", here.Forget(ctx, local.ID.String()), jobspec.KindConflict, "ipdc job stop")
}

// A member sees the jobs that it handed over and no other, and no other
// endpoint.
func TestMemberSeesItsJobsOnly(t *testing.T) {
	ctx := t.Context()
	f := newFleet(t, 3)
	here, _ := f.serve(0), f.serve(1)
	other := f.serve(2)
	j, err := here.SubmitTo(ctx, f.nodes[1].key.ID().String(), spec("DUMMY_SLEEP=1h"), "")
	if err != nil {
		t.Fatal(err)
	}
	local := f.nodes[1].submit(spec())
	ask := func(s *served, method, path string) (int, string) {
		return f.ask(s.key.ID(), f.nodes[1].key.ID(), method, path)
	}

	if status, body := ask(here, "GET", "/v1/jobs/"+j.ID.String()); status != 200 {
		t.Errorf("the job's own member gets %d: %s", status, body) // the positive control
	}
	for _, x := range []struct {
		by           *served
		method, path string
		status       int
	}{
		{other, "GET", "/v1/jobs/" + j.ID.String(), 404},
		{other, "GET", "/v1/jobs/" + j.ID.String() + "/events", 404},
		{other, "GET", "/v1/jobs/" + j.ID.String() + "/logs", 404},
		{other, "POST", "/v1/jobs/" + j.ID.String() + "/stop", 404},
		{other, "DELETE", "/v1/jobs/" + j.ID.String(), 404},
		{here, "GET", "/v1/jobs/" + local, 404},
		{here, "GET", "/v1/jobs/@last", 404},
		{here, "GET", "/v1/jobs/" + j.ID.String() + "?tenant=t", 403},
		{here, "GET", "/v1/jobs/" + j.ID.String() + "?tenant=local", 403},
		{here, "GET", "/v1/jobs", 403},
		{here, "POST", "/v1/jobs", 403},
		{here, "POST", "/v1/node/stop", 403},
		{here, "GET", "/v1/pins?all=true", 403},
		{here, "GET", "/v1/tokens", 403},
		{here, "GET", "/metrics", 403},
		{here, "GET", "/", 403},
	} {
		if status, body := ask(x.by, x.method, x.path); status != x.status {
			t.Errorf("%s %s = %d %s, want %d", x.method, x.path, status, body, x.status)
		}
	}
	if got, err := here.Client.Job(ctx, j.ID.String()); err != nil || got.State.Final() {
		t.Errorf("job is %s, %v, want one that goes on", got.State, err)
	}
}

// ask sends one request as a member does.
func (f *fleet) ask(from, to identity.ID, method, path string) (int, string) {
	f.t.Helper()
	s, err := f.streams[from].Stream(f.t.Context(), to, "jobs/1")
	if err != nil {
		f.t.Fatal(err)
	}
	defer s.Close()
	if _, err := io.WriteString(s, method+" "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); err != nil {
		f.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(s), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		f.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// A job that another member has is merged there.
func TestMergeHandedJob(t *testing.T) {
	ctx := t.Context()
	f := newFleet(t, 2)
	here, there := f.serve(0), f.serve(1)
	j, err := here.SubmitTo(ctx, "any", inShards(there.input("a", "b"), 2, "DUMMY_COPY=/inputs:/outputs"), "")
	if err != nil {
		t.Fatal(err)
	}
	if done, err := here.Wait(ctx, j.ID.String()); err != nil || done.State != jobspec.JobSucceeded {
		t.Fatalf("job is %s, %v", done.State, err)
	}
	m, err := here.Client.Merge(ctx, j.ID.String(), jobspec.MergeShards)
	if err != nil || m.Parts != 2 || !m.CID.Defined() {
		t.Fatalf("Merge = %+v, %v", m, err)
	}
	if got := there.outputs(m.CID); len(got) != 2 || got["0/a"]+got["1/a"] != "a" {
		t.Errorf("merged = %v", got)
	}
}
